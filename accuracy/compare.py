"""Release against release: two runs of one plan, pair by pair, to one word a cell.

The first gate is bit equality: the same digest is no change, and no test is needed. Then come the events that
need no statistics: a crash, a wrong special value, a failure that was not there. What is left are differences of
size, tested pair by pair (docs/method.md, "Release against release").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from accuracy.case import CELL, Status
from accuracy.change import CellChange, Outcome
from accuracy.limits import Change

Numbers: TypeAlias = NDArray[np.float64]

PAIR = ("id", "device", "stage", "quantity")
"""What names a measurement in both runs."""

BAD = (Status.FAIL, Status.CRASH, Status.TIMEOUT)
SAMPLE = ("sample",)
METRICS = {"rel_fro": "rel_fro_floor", "abs_p99": "abs_p99_floor"}
"""The sizes that are compared, each with the field of `Change` below which a change of it does not count."""

NEVER_BOTH = 50.0
"""Log ratio that stands for a change from or to an exact zero: larger than that of any two floats that occur."""

COLUMNS = (
    *PAIR, "case", "dtype", "origin", "status", "digest", "special_mismatch", "rel_fro", "abs_p99", "reason",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Test:
    """One two-sided test of one metric in one cell; `p` is NaN where there were too few pairs."""

    metric: str
    effect: float
    floor: float
    p: float
    worst_id: str


def compare(baseline: pd.DataFrame, candidate: pd.DataFrame, by: Change) -> list[CellChange]:
    """One entry for each cell of either run, from their judged observations (columns `COLUMNS`).

    A cell REGRESSED if a pair that did not fail now fails, crashes or has a wrong special value, or if its
    errors have grown: Holm's adjusted p < `by.holm` and the median change beyond the floor. Grown or shrunk
    beyond the floor with a Benjamini-Hochberg p < `by.benjamini_hochberg` only is CHANGED, in either direction.
    """
    both = _paired(baseline, candidate)
    groups = [
        ({name: str(part) for name, part in zip(CELL, key, strict=True)}, group)
        for key, group in both.groupby(list(CELL), sort=False)
    ]
    tests = [_tests(group, by) for _, group in groups]
    holm, hochberg = _adjusted([test.p for found in tests for test in found])
    entries, position = [], 0
    for (cell, group), found in zip(groups, tests, strict=True):
        p = slice(position, position + len(found))
        entries.append(_entry(cell, group, _size_outcome(found, holm[p], hochberg[p], by)))
        position += len(found)
    return entries


def unpaired(baseline: pd.DataFrame, candidate: pd.DataFrame, by: Change) -> list[CellChange]:
    """The same for runs of different plans, from one number a case: Mann and Whitney's test instead of pairs.

    Only cases of the sample at large are exchangeable, and no pair says what failed before: two runs whose cells
    fail are compared by their sizes alone.
    """
    one, two = (_measured(frame[frame["origin"].isin(SAMPLE)]) for frame in (baseline, candidate))
    cells = list(dict.fromkeys([*_cells(one), *_cells(two)]))
    by_cell = [dict(iter(frame.groupby(list(CELL), sort=False))) for frame in (one, two)]
    tests = [_unpaired_tests(by_cell[0].get(cell), by_cell[1].get(cell), by) for cell in cells]
    holm, hochberg = _adjusted([test.p for found in tests for test in found])
    entries, position = [], 0
    for cell, found in zip(cells, tests, strict=True):
        p = slice(position, position + len(found))
        place: dict[str, Any] = dict(zip(CELL, cell, strict=True))
        n = min(len(group.get(cell, ())) for group in by_cell)
        outcome, test, adjusted = _size_outcome(found, holm[p], hochberg[p], by)
        entries.append(
            CellChange(
                **place,
                outcome=outcome if n else Outcome.NOT_COMPARED,
                n=n,
                identical=0,
                worse=0,
                better=0,
                broken=0,
                metric=test.metric if test else "",
                effect=test.effect if test else math.nan,
                p=adjusted,
                worst_id="",
                reason=_size_reason(outcome, test, adjusted),
            )
        )
        position += len(found)
    return entries


def _paired(baseline: pd.DataFrame, candidate: pd.DataFrame) -> pd.DataFrame:
    """Both runs side by side, `_b` and `_c`; a row that only one has is empty on the other side."""
    sides = [frame[frame["origin"] != "explored"][list(COLUMNS)] for frame in (baseline, candidate)]
    both = sides[0].merge(sides[1], on=list(PAIR), how="outer", suffixes=("_b", "_c"), sort=False)
    for name in ("case", "dtype", "origin"):
        both[name] = both[f"{name}_c"].fillna(both[f"{name}_b"])
    for side in ("_b", "_c"):
        both[f"status{side}"] = both[f"status{side}"].fillna("")
        both[f"digest{side}"] = both[f"digest{side}"].fillna("")
        both[f"measured{side}"] = both[f"status{side}"].isin([Status.OK, Status.FAIL])
    both["identical"] = both["measured_b"] & both["measured_c"] & (both["digest_b"] == both["digest_c"])
    both["identical"] &= (both["digest_b"] != "") | (both["status_b"] == both["status_c"])
    # What a case that newly breaks off does not come to is told once, where it breaks off.
    ends = (both["quantity"] == "completes") & both["status_c"].isin(BAD) & ~both["status_b"].isin(BAD)
    broken_off = set(zip(both.loc[ends, "id"], both.loc[ends, "device"], strict=True))
    both["ended"] = [pair in broken_off for pair in zip(both["id"], both["device"], strict=True)]
    return both


def _entry(cell: dict[str, Any], group: pd.DataFrame, said: tuple[Outcome, _Test | None, float]) -> CellChange:
    broken = group[group["status_c"].isin(BAD) & group["status_b"].isin([Status.OK, Status.NOT_SUPPORTED])]
    mended = group[group["status_b"].isin(BAD) & (group["status_c"] == Status.OK)]
    gone = group[group["measured_b"] & ~group["measured_c"] & ~group["status_c"].isin(BAD) & ~group["ended"]]
    new = group[~group["measured_b"] & group["measured_c"] & ~group["status_b"].isin(BAD)]
    differing = group[group["measured_b"] & group["measured_c"] & ~group["identical"]]
    outcome, test, p = said
    reason, shown = _size_reason(outcome, test, p), test.worst_id if test else ""
    if len(broken):
        outcome, reason, shown = Outcome.REGRESSED, _broken_reason(broken), str(broken["id"].iloc[0])
    elif outcome is not Outcome.REGRESSED and len(gone):
        words = str(gone["reason_c"].iloc[0] or "not in the candidate's run")
        outcome, reason, shown = Outcome.GONE, f"{len(gone)} not measured any more: {words}", str(gone["id"].iloc[0])
    elif outcome is not Outcome.REGRESSED and len(mended):
        outcome, reason = Outcome.IMPROVED, f"{len(mended)} that failed pass now"
        shown = str(mended["id"].iloc[0])
    elif outcome is Outcome.WITHIN_NOISE and len(new):
        outcome, reason, shown = Outcome.NEW, f"{len(new)} measured for the first time", str(new["id"].iloc[0])
    elif outcome is Outcome.WITHIN_NOISE and not len(differing):
        compared = bool(group["identical"].any())
        outcome = Outcome.IDENTICAL if compared else Outcome.NOT_COMPARED
        broke_off = bool((group["ended"] & group["measured_b"]).any())
        reason = "" if compared else "the candidate broke off before it" if broke_off else "neither run measured it"
    grown = _log_ratio(differing, "rel_fro")
    return CellChange(
        **cell,
        outcome=outcome,
        n=int((group["measured_b"] & group["measured_c"]).sum()),
        identical=int(group["identical"].sum()),
        worse=int((grown > 0).sum()),
        better=int((grown < 0).sum()),
        broken=len(broken),
        metric=test.metric if test else "",
        effect=test.effect if test else math.nan,
        p=p,
        worst_id=shown,
        reason=reason,
    )


def _broken_reason(broken: pd.DataFrame) -> str:
    row = broken.iloc[0]
    if row["status_c"] in {Status.CRASH, Status.TIMEOUT}:
        what = f"new {row['status_c']}"
    elif row["special_mismatch_c"] > 0 and not row["special_mismatch_b"] > 0:
        what = "new wrong special value"
    else:
        what = "new failure"
    return f"{what} in {len(broken)} case{'' if len(broken) == 1 else 's'}; {row['reason_c']}"


def _tests(group: pd.DataFrame, by: Change) -> list[_Test]:
    """Wilcoxon's signed-rank test of each metric over the pairs that differ; identical pairs say nothing of size."""
    differing = group[group["measured_b"] & group["measured_c"] & ~group["identical"]]
    tests = []
    for metric, floor in METRICS.items():
        change = _log_ratio(differing, metric)
        moved = change[change != 0]
        if len(moved) == 0:
            continue
        p = float(stats.wilcoxon(moved).pvalue) if len(moved) >= by.least_pairs else math.nan
        worst = str(differing["id"].to_numpy()[int(np.argmax(np.abs(change)))])
        tests.append(
            _Test(metric=metric, effect=float(np.median(moved)), floor=getattr(by, floor), p=p, worst_id=worst)
        )
    return tests


def _unpaired_tests(one: pd.DataFrame | None, two: pd.DataFrame | None, by: Change) -> list[_Test]:
    if one is None or two is None or min(len(one), len(two)) < by.least_pairs:
        return []
    tests = []
    for metric, floor in METRICS.items():
        before, after = (group[metric].dropna().to_numpy(dtype=float) for group in (one, two))
        if min(len(before), len(after)) < by.least_pairs or not (before.any() or after.any()):
            continue
        median = [float(np.median(values)) for values in (before, after)]
        effect = float(_log(np.array([median[1]]), np.array([median[0]]))[0])
        p = float(stats.mannwhitneyu(before, after).pvalue)
        tests.append(_Test(metric=metric, effect=effect, floor=getattr(by, floor), p=p, worst_id=""))
    return tests


def _size_outcome(
    tests: Sequence[_Test], holm: Sequence[float], hochberg: Sequence[float], by: Change
) -> tuple[Outcome, _Test | None, float]:
    """The most telling of a cell's tests: what it says, itself, and its adjusted p."""
    said: list[tuple[Outcome, _Test, float]] = []
    for test, strict, loose in zip(tests, holm, hochberg, strict=True):
        beyond = abs(test.effect) > math.log1p(test.floor)
        if beyond and strict < by.holm:
            said.append((Outcome.REGRESSED if test.effect > 0 else Outcome.IMPROVED, test, strict))
        elif beyond and loose < by.benjamini_hochberg:
            said.append((Outcome.CHANGED, test, loose))
    order = (Outcome.REGRESSED, Outcome.CHANGED, Outcome.IMPROVED)
    if said:
        return min(said, key=lambda each: order.index(each[0]))
    if tests:
        return Outcome.WITHIN_NOISE, tests[0], holm[0]
    return Outcome.WITHIN_NOISE, None, math.nan


def _size_reason(outcome: Outcome, test: _Test | None, p: float) -> str:
    if test is None or outcome is Outcome.WITHIN_NOISE:
        return ""
    if abs(test.effect) > NEVER_BOTH / 2:
        return f"{test.metric} was 0 in one of the runs, adjusted p = {p:.1e}"
    direction = "larger" if test.effect > 0 else "smaller"
    return f"{test.metric} is {abs(math.expm1(test.effect)):.1%} {direction} in the median, adjusted p = {p:.1e}"


def _log_ratio(pairs: pd.DataFrame, metric: str) -> Numbers:
    """log(candidate ÷ baseline) of each pair; 0 where either was not measured."""
    return _log(pairs[f"{metric}_c"].to_numpy(dtype=float), pairs[f"{metric}_b"].to_numpy(dtype=float))


def _log(after: Numbers, before: Numbers) -> Numbers:
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log(after) - np.log(before)
    limited: Numbers = np.clip(np.nan_to_num(change, nan=0.0), -NEVER_BOTH, NEVER_BOTH)
    return limited


def _measured(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"].isin([Status.OK, Status.FAIL])]


def _cells(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(rows[list(CELL)].drop_duplicates().itertuples(index=False, name=None))


def _adjusted(values: Sequence[float]) -> tuple[list[float], list[float]]:
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
