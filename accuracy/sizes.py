"""Sizes of errors in two runs: what a test of them says of a cell, and how tests of many cells are adjusted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from accuracy.change import Outcome
from accuracy.limits import Change

Numbers: TypeAlias = NDArray[np.float64]

NEVER_BOTH = 50.0
"""Log ratio that stands for a change from or to an exact zero: larger than that of any two floats that occur."""


@dataclass(frozen=True, kw_only=True)
class Test:
    """One two-sided test of one size in one cell; `p` is NaN where there were too few of them.

    `words` says what was seen where that is no change of a size; `worse` is what a sure change for the worse is.
    """

    metric: str
    effect: float
    floor: float
    p: float
    worst_id: str = ""
    words: str = ""
    worse: Outcome = Outcome.REGRESSED


def adjusted(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """p-values adjusted by Holm (1979) and by Benjamini and Hochberg (1995), over those that are numbers.

    A test that was not made has p = 1.
    """
    p = np.array([1.0 if math.isnan(value) else value for value in values])
    made = int(sum(not math.isnan(value) for value in values))
    if made == 0:
        return p.tolist(), p.tolist()
    order = np.argsort(p, kind="stable")
    holm = np.empty_like(p)
    holm[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.maximum(made - np.arange(len(p)), 1)))
    hochberg = np.ones_like(p)
    hochberg[order[:made]] = stats.false_discovery_control(p[order[:made]])
    return holm.tolist(), hochberg.tolist()


def outcomes(found: Sequence[Sequence[Test]], by: Change) -> list[tuple[Outcome, Test | None, float]]:
    """For each cell, from its tests, what `_outcome` says once all tests of all cells are adjusted together."""
    holm, hochberg = adjusted([test.p for tests in found for test in tests])
    said, position = [], 0
    for tests in found:
        p = slice(position, position + len(tests))
        said.append(_outcome(tests, holm[p], hochberg[p], by))
        position += len(tests)
    return said


def _outcome(
    tests: Sequence[Test], holm: Sequence[float], hochberg: Sequence[float], by: Change
) -> tuple[Outcome, Test | None, float]:
    """The most telling of a cell's tests: what it says, itself, and its adjusted p."""
    said: list[tuple[Outcome, Test, float]] = []
    for test, strict, loose in zip(tests, holm, hochberg, strict=True):
        beyond = abs(test.effect) > math.log1p(test.floor)
        if beyond and strict < by.holm:
            said.append((test.worse if test.effect > 0 else Outcome.IMPROVED, test, strict))
        elif beyond and loose < by.benjamini_hochberg:
            said.append((Outcome.CHANGED, test, loose))
    order = (Outcome.REGRESSED, Outcome.GONE, Outcome.CHANGED, Outcome.IMPROVED)
    if said:
        return min(said, key=lambda each: order.index(each[0]))
    if tests:
        return Outcome.WITHIN_NOISE, tests[0], holm[0]
    return Outcome.WITHIN_NOISE, None, math.nan


def reason_of(outcome: Outcome, test: Test | None, p: float) -> str:
    """What was seen, in words; nothing where it is noise."""
    if test is None or outcome is Outcome.WITHIN_NOISE:
        return ""
    if test.words:
        return f"{test.words}, adjusted p = {p:.1e}"
    if abs(test.effect) > NEVER_BOTH / 2:
        return f"{test.metric} was 0 in one of the runs, adjusted p = {p:.1e}"
    direction = "larger" if test.effect > 0 else "smaller"
    return f"{test.metric} is {abs(math.expm1(test.effect)):.1%} {direction} in the median, adjusted p = {p:.1e}"


def log_change(after: Numbers, before: Numbers) -> Numbers:
    """log(after ÷ before), elementwise; 0 where both are 0 or one was not measured, and never beyond `NEVER_BOTH`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log(after) - np.log(before)
    limited: Numbers = np.clip(np.nan_to_num(change, nan=0.0), -NEVER_BOTH, NEVER_BOTH)
    return limited
