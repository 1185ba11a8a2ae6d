"""Functions that a worker calls in place of the measurement; the config's `weight` names the one that misbehaves."""

import ctypes
import json
import os
import time
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]


def row(task: dict[str, Any], **values: object) -> Row:
    """A good row of `task`, whose numbers depend on its seed and on nothing else."""
    return {
        "id": task["id"],
        "case": task["case"],
        "config": json.dumps(task["config"], sort_keys=True, separators=(",", ":")),
        "seed": str(task["seed"]),
        "origin": task["origin"],
        "device": task["device"],
        "device_name": "planted",
        "dtype": task["config"]["dtype"],
        "mode": task["config"]["mode"],
        "stage": "compute",
        "quantity": "output",
        "count": 1,
        "abs_max": (task["seed"] * 2654435761 % 2**32) / 2**32,
        "status": "ok",
        **values,
    }


def healthy(task: dict[str, Any], _device: str) -> list[Row]:
    """Two rows of every task."""
    return [row(task), row(task, quantity="grad_input", ratio=float("nan"), abs_bins=[1, 2])]


def segfault() -> None:
    ctypes.string_at(0)


def abort() -> None:
    os.abort()


def exit_zero() -> None:
    os._exit(0)


def hang() -> None:
    while True:
        time.sleep(60)


FAULTS: dict[str, Callable[[], None]] = {
    "segfault": segfault,
    "abort": abort,
    "exit_zero": exit_zero,
    "hang": hang,
}


def faulty(task: dict[str, Any], device: str) -> list[Row]:
    """Does what the config's weight distribution names, and is healthy otherwise."""
    FAULTS.get(task["config"]["weight"], lambda: None)()
    return healthy(task, device)
