"""How the failing rows of a cause are wrong, or how they ended, in words."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accuracy.case import Stage, Status
from reports import words

SCALE_FAULT = 0.5
"""Share of the error's energy from which a constant factor describes it: "2 % too large"."""

ENDS = {Status.CRASH.value: "crashes", Status.TIMEOUT.value: "does not end in time"}
"""What is said of a layer that gave no answer."""

CODES = "codes"

LONGEST_REASON = 110


def of(members: Mapping[str, NDArray[Any]]) -> str:
    """What the failing rows have in common, in words: how they are wrong, or how they ended."""
    status, stage = str(members["status"][0]), str(members["stage"][0])
    reason = words.clipped(next(filter(None, members["reason"]), "no reason given"), LONGEST_REASON)
    if status != Status.FAIL.value:
        return f"{ENDS[status]} ({reason})"
    if stage == Stage.CONTRACT.value:
        return f"raises {reason}" if members["quantity"][0] == "completes" else f"is wrong ({reason})"
    return _off(members, reason)


def _off(members: Mapping[str, NDArray[Any]], reason: str) -> str:
    """How numbers are wrong that have a bound."""
    ratios = members["ratio"]
    if (unknown := np.isnan(ratios)).any():
        return "is not a number" if unknown.all() else "is not a number in part"
    if math.isinf(_median(ratios)):
        return f"is not exact{_extent(members)}"
    factor = _median(members["slope"])
    with np.errstate(all="ignore"):
        energy = members["slope"] ** 2 / members["rel_fro"] ** 2
    if _median(energy) >= SCALE_FAULT:
        return f"is {words.percent(abs(factor))} too {'large' if factor > 0 else 'small'}"
    largest = float(ratios[ratios < math.inf].max())
    if largest <= 1:  # another limit than that of the size was broken
        return f"is wrong though within its bound ({reason})"
    return f"exceeds its limit up to {words.number(largest)}-fold"


def _median(values: NDArray[np.float64]) -> float:
    """The median of those that are numbers; NaN where none is."""
    numbers = values[~np.isnan(values)]
    return float(np.median(numbers)) if numbers.size else math.nan


def _extent(members: Mapping[str, NDArray[Any]]) -> str:
    """How far off what should be exact is, by the norm; nothing of codes, whose numbers are names of values."""
    if any(str(name).endswith(CODES) for name in members["quantity"]):
        return ""
    off = members["rel_fro"]
    off = off[(off > 0) & (off < math.inf)]
    return f" (up to {words.percent(float(off.max()))} off)" if len(off) else ""
