"""One task in a worker: draw the tensors, run the layer, compare stage by stage, return rows."""

import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch

from accuracy import inputs, limits, metrics
from accuracy.adapter import Arithmetic
from accuracy.case import Case, Status, canonical_json
from accuracy.cases import CASES
from accuracy.checks import contract
from accuracy.checks.setting import Setting
from accuracy.comparison import Comparison
from accuracy.environment import device_name
from accuracy.worker import is_out_of_memory, resolve

# Split sums in 16 bits are torch's choice for its own products, not the library's; without them a product is
# accumulated in float32 on every device, as the bounds assume.
torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def measure(task: Mapping[str, Any], device: str) -> list[dict[str, Any]]:
    """The observations of one planned case on one device, as dictionaries with fields of `Observation`.

    What is at its default is left out.

    A layer that raises is a result: a `contract` row says so, and what was built before is still
    compared. A check of ours that raises is not: its row is `not_run`, which is never green.
    """
    case = CASES[task["case"]]
    config = parse_config(case, task["config"])
    target = torch.device(task["torch_device"])
    seed = int(task["seed"])
    drawn = inputs.drawn(config, seed)
    started = time.perf_counter()
    parts, failure = _run(case, config, drawn, target)
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
    identity = {
        "id": task["id"],
        "case": case.name,
        "config": canonical_json(task["config"]),
        "seed": str(seed),
        "origin": task["origin"],
        "device": device,
        "device_name": hardware(task["torch_device"]),
        "dtype": config.dtype,
        "mode": config.mode,
        "seconds": seconds,
        "strata": [stratum.name for stratum in case.strata if stratum.holds(config)],
    }
    rows = [*contract.rows(case, setting, failure), *_compared(case, setting)]
    return [identity | row for row in rows]


def parse_config(case: Case, values: Mapping[str, Any]) -> Any:
    """The config of `case` from its JSON object: lists become the tuples that configs hold."""
    return case.config(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


@cache
def hardware(device: str) -> str:
    """The name of the hardware behind a device, by torch's name of it."""
    return device_name(device)


def _run(case: Case, config: Any, drawn: Any, device: torch.device) -> tuple[dict[str, Any], Exception | None]:
    """What the layer did, part by part, up to its end or to the exception that ended it."""
    parts: dict[str, Any] = {}
    try:
        for name, value in resolve(case.subject)(config, drawn, device):
            parts[name] = value  # noqa: PERF403 - the parts before an exception are kept
    except Exception as failure:  # whatever the library raises is what was measured
        if is_out_of_memory(failure):
            raise  # the machine's limit, not the library's answer
        return parts, failure
    return parts, None


def _compared(case: Case, setting: Setting) -> Iterator[dict[str, Any]]:
    for reference in case.checks:
        try:
            comparisons: list[Comparison] = list(resolve(reference)(setting))
            rows = [
                {"stage": each.stage.value, "quantity": each.quantity} | metrics.describe(each) for each in comparisons
            ]
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
