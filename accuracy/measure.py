"""One task in a worker: draw the tensors, run the layer, compare stage by stage, return rows."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch

from accuracy import dispatch, inputs, limits, metrics, unwritten
from accuracy.adapter import Arithmetic
from accuracy.case import Case, Status
from accuracy.cases import CASES
from accuracy.checks import contract
from accuracy.checks.setting import Setting
from accuracy.comparison import Comparison
from accuracy.environment import device_name
from accuracy.path import TORCH, merged
from accuracy.rows import Measured
from accuracy.worker import is_out_of_memory, resolve

# Split sums in 16 bits are torch's choice for its own products, not the library's; without them a product is
# accumulated in float32 on every device, as the bounds assume.
torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False

MADE_WITH: Final = {"stored": "output", "grad_weight": "grad_input", "grad_bias": "grad_input"}
"""Parts that one call of the library makes together, by the one that is yielded first."""

JUDGED_PARTS: Final = {"encode": "stored", "decode": "weight", "invariant": "relation", "output_form": "output"}
"""The part that a stage or a quantity judges, where it has another name than the quantity."""

REST: Final = "rest"
"""Stands for what ran after the last part, which an exception may have kept from being one."""


# A fork server imports this module: what cases name is then there before the fork, and not imported by each worker.
# Where the library cannot be imported, its cases say so one by one.
with suppress(Exception):
    for named in {reference for case in CASES.values() for reference in (case.subject, *case.checks)}:
        resolve(named)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A case that was drawn and run: all that its checks see, what ended it early, and how long the layer took.

    `paths` says by which path of the library each part was made.
    """

    case: Case
    setting: Setting
    paths: Mapping[str, str]
    failure: Exception | None
    seconds: float


def measure(task: Mapping[str, Any], device: str) -> Measured:
    """The observations of one planned case on one device.

    What is at its default is left out. A layer that raises is a result: a `contract` row says so, and what was
    built before is still compared. A check of ours that raises is not: its row is `not_run`, which is never green.
    """
    ran = run(task)
    case, config = ran.case, ran.setting.config
    shared = {
        "id": task["id"],
        "case": case.name,
        "config": task["text"],
        "seed": str(task["seed"]),
        "origin": task["origin"],
        "device": device,
        "device_name": hardware(task["torch_device"]),
        "dtype": config.dtype,
        "mode": config.mode,
        "seconds": ran.seconds,
        "strata": [stratum.name for stratum in case.strata if stratum.holds(config)],
    }
    rows = [*contract.rows(case, ran.setting, ran.failure), *_compared(case, ran.setting, str(task["origin"]))]
    all_paths = merged(*ran.paths.values())
    for row in rows:
        row["path"] = _path(row, ran.paths, all_paths)
    return Measured(shared, rows)


def run(task: Mapping[str, Any]) -> Ran:
    """Draws the tensors of a task and runs its layer."""
    case = CASES[task["case"]]
    config = parse_config(case, task["config"])
    target = torch.device(task["torch_device"])
    drawn = inputs.drawn(config, int(task["seed"]))
    started = time.perf_counter()
    with unwritten.filled_for(target.type):
        parts, paths, failure = _run(case, config, drawn, target)
    seconds = time.perf_counter() - started
    bounds, published = limits.measuring(task["bounds"])
    setting = Setting(
        config=config,
        inputs=drawn,
        parts=parts,
        device_type=target.type,
        arithmetic=Arithmetic(**task["arithmetic"]),
        bounds=bounds,
        published=tuple(each for each in published if each.covers(case.row, case.layer, config.dtype, task["origin"])),
    )
    return Ran(case=case, setting=setting, paths=paths, failure=failure, seconds=seconds)


def parse_config(case: Case, values: Mapping[str, Any]) -> Any:
    """The config of `case` from its JSON object: lists become the tuples that configs hold."""
    return case.config(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


@cache
def hardware(device: str) -> str:
    """The name of the hardware behind a device, by torch's name of it."""
    return device_name(device)


def _run(
    case: Case, config: Any, drawn: Any, device: torch.device
) -> tuple[dict[str, Any], dict[str, str], Exception | None]:
    """What the layer did, part by part, up to its end or to the exception that ended it; and by which path.

    What ran since the part before has made a part; where the library did nothing since then, the call that
    `MADE_WITH` names. A fact, which is a text, is seen and not made.
    """
    parts: dict[str, Any] = {}
    paths: dict[str, str] = {}
    failure = None
    dispatch.taken()
    try:
        for name, value in resolve(case.subject)(config, drawn, device):
            parts[name] = value
            if not isinstance(value, str):
                paths[name] = dispatch.taken() or paths.get(MADE_WITH.get(name, ""), "")
    except Exception as raised:  # whatever the library raises is what was measured
        if is_out_of_memory(raised):
            raise  # the machine's limit, not the library's answer
        failure = raised
    paths[REST] = dispatch.taken()
    return parts, paths, failure


def _path(row: Mapping[str, Any], paths: Mapping[str, str], all_paths: str) -> str:
    """The path of the part that a row judges; of a row that judges none in particular, all of them."""
    part = JUDGED_PARTS.get(row["stage"]) or JUDGED_PARTS.get(row["quantity"], row["quantity"])
    return paths[part] or TORCH if part in paths else all_paths


def _compared(case: Case, setting: Setting, origin: str) -> Iterator[dict[str, Any]]:
    for reference in case.checks_at(origin):
        try:
            comparisons: list[Comparison] = list(resolve(reference)(setting))
            rows = [metrics.describe(each) for each in comparisons]
        except Exception as error:  # noqa: BLE001 - a fault of a check must not pass for a fault of the library
            reason = f"the check {reference} raised {type(error).__name__}: {error}"[:300]
            rows = [
                {
                    "stage": reference.rpartition(":")[2].partition("_")[0],
                    "quantity": "check",
                    "status": Status.NOT_RUN.value,
                    "observed": reason,
                }
            ]
        yield from rows
