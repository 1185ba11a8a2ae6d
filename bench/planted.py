"""What a worker does in place of measuring for a case whose `weight` names a fault."""

import ctypes
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from accuracy import measure as real
from accuracy.rows import Measured


def hang() -> None:
    """A C loop that holds the interpreter's lock: a regular expression of exponential cost."""
    re.match(r"(a+)+$", "a" * 64 + "b")


def balloon() -> None:
    """Takes memory in steps of 64 MiB and keeps it."""
    held = []
    while True:
        held.append(bytearray(b"x" * (64 << 20)))


FAULTS: Final[Mapping[str, Callable[[], object]]] = {
    "SIGSEGV": lambda: ctypes.string_at(0),
    "os._exit(0)": lambda: os._exit(0),
    "a C loop that holds the GIL": hang,
    "a memory balloon": balloon,
    "abort()": os.abort,
}


def measure(task: Mapping[str, Any], device: str) -> Measured:
    """The fault that the config's weight names; any other task is measured."""
    fault = FAULTS.get(task["config"]["weight"])
    if fault is not None:
        fault()
    return real.measure(task, device)
