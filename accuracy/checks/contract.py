"""The contract stage: whether a layer does what it is asked to, and what it is found to be before and after.

A subject yields *facts* beside its tensors: parts that are words, such as `int8 on cpu`. What they must be is
stated by the case, as a pure function of config and device type, and each fact is a cell of its own.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, Final

from accuracy.case import Case, Embedding8bitConfig, Stage, Status, Wanted
from accuracy.checks.setting import Setting

_LONGEST = 300
_STAGE: Final = Stage.CONTRACT.value

REFUSALS: Final = re.compile(
    # Checks at the head of 0.46.1's kernels for the CPU (backends/cpu/ops.py); later releases do what these refuse.
    r"quant_type must be nf4 on CPU, got \w+"
    r"|Blockwise 4bit dequantization on CPU only supports uint8 storage, got torch\.\w+"
    r"|n must be divisible by blocksize, got \d+ and \d+"
)
"""What releases say on purpose, if not by NotImplementedError, when asked for what they cannot do."""


def rows(case: Case, setting: Setting, failure: Exception | None) -> Iterator[dict[str, Any]]:
    """Rows of the contract stage: the run completed, its output has the right form, and each fact is as wanted.

    `failure` is what ended the run. What the library says it cannot do is not supported, and so is everything
    that could not be seen for that reason; any other exception breaks the contract, and only what was seen
    before it is held against what was wanted.
    """
    relation = getattr(setting.config, "relation", "")
    completes = _completes(failure, relation)
    refused = "status" in completes
    yield completes
    if refused and relation:
        yield {**completes, "stage": Stage.INVARIANT.value, "quantity": relation}
    if setting.has("output"):
        yield _kept("output_form", "output", _form(setting.parts["output"]), _wanted_form(setting.config))
    for name, wanted in case.contract(setting.config, setting.device_type).items():
        if name in setting.parts or failure is None:
            yield _kept(name, name.replace("_", " "), setting.parts.get(name, "never seen"), wanted)
        elif refused:
            yield {**completes, "quantity": name}


def _completes(failure: Exception | None, relation: str) -> dict[str, Any]:
    if failure is None:
        return _row("completes", ratio=0.0)
    lines = str(failure).strip().splitlines()
    said = f"{type(failure).__name__}: {lines[0] if lines else ''}"[:_LONGEST]
    reason = f"{relation}: {said}" if relation else said
    if isinstance(failure, NotImplementedError) or REFUSALS.fullmatch(lines[0] if lines else ""):
        return _row("completes", status=Status.NOT_SUPPORTED.value, observed=reason) | {"count": 0}
    return _row("completes", ratio=math.inf, observed=reason)


def _kept(quantity: str, what: str, seen: str, wanted: Wanted) -> dict[str, Any]:
    allowed = (wanted,) if isinstance(wanted, str) else wanted
    if seen in allowed:
        return _row(quantity, ratio=0.0)
    words = f"{what} is {seen}, expected {' or '.join(allowed)}"
    return _row(quantity, ratio=math.inf, observed=words[:_LONGEST])


def _row(quantity: str, **measured: object) -> dict[str, Any]:
    return {"stage": _STAGE, "quantity": quantity, "count": 1, "basis": "contract", **measured}


def _form(output: Any) -> str:
    return f"{str(output.dtype).removeprefix('torch.')} {tuple(output.shape)}"


def _wanted_form(config: Any) -> str:
    """The dtype of the input and the shape of the layer that was replaced."""
    shape = (
        (*config.index, config.dim) if isinstance(config, Embedding8bitConfig) else (*config.batch, config.out_features)
    )
    return f"{config.dtype} {shape}"
