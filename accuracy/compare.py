"""Release against release: two runs of one plan, pair by pair, to one word a cell.

The first gate is bit equality: the same digest is no change, and no test is needed. Then come the events that
need no statistics: a crash, a wrong special value, a failure that was not there. What is left are differences of
size, tested pair by pair (docs/method.md, "Release against release").
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from accuracy.case import BROKEN, CELL, MEASURED, Status
from accuracy.change import CellChange, Outcome
from accuracy.limits import Change
from accuracy.sizes import Numbers, Test, log_change, outcomes, reason_of

PAIR = ("id", "device", "stage", "quantity")
"""What names a measurement in both runs."""

METRICS = {"rel_fro": "rel_fro_floor", "abs_p99": "abs_p99_floor"}
"""The sizes that are compared, each with the field of `Change` below which a change of it does not count."""

COLUMNS = (
    *PAIR, "case", "dtype", "origin", "status", "digest", "special_mismatch", "rel_fro", "abs_p99", "reason",
)  # fmt: skip


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
    said = outcomes([_tests(group, by) for _, group in groups], by)
    return [_entry(cell, group, each) for (cell, group), each in zip(groups, said, strict=True)]


def _paired(baseline: pd.DataFrame, candidate: pd.DataFrame) -> pd.DataFrame:
    """Both runs side by side, `_b` and `_c`; a row that only one has is empty on the other side."""
    sides = [frame[frame["origin"] != "explored"][list(COLUMNS)] for frame in (baseline, candidate)]
    both = sides[0].merge(sides[1], on=list(PAIR), how="outer", suffixes=("_b", "_c"), sort=False)
    for name in ("case", "dtype", "origin"):
        both[name] = both[f"{name}_c"].fillna(both[f"{name}_b"])
    for side in ("_b", "_c"):
        both[f"status{side}"] = both[f"status{side}"].fillna("")
        both[f"digest{side}"] = both[f"digest{side}"].fillna("")
        both[f"measured{side}"] = both[f"status{side}"].isin(MEASURED)
    both["identical"] = both["measured_b"] & both["measured_c"] & (both["digest_b"] == both["digest_c"])
    both["identical"] &= (both["digest_b"] != "") | (both["status_b"] == both["status_c"])
    # What a case that newly breaks off does not come to is told once, where it breaks off.
    ends = (both["quantity"] == "completes") & both["status_c"].isin(BROKEN) & ~both["status_b"].isin(BROKEN)
    broken_off = set(zip(both.loc[ends, "id"], both.loc[ends, "device"], strict=True))
    both["ended"] = [pair in broken_off for pair in zip(both["id"], both["device"], strict=True)]
    return both.assign(**_events(both))


def _events(both: pd.DataFrame) -> dict[str, "pd.Series[bool]"]:
    """Which pairs newly fail, fail no more, are measured no more or for the first time, or differ.

    Told of all cells at once, since most have none of them.
    """
    before, after = both["measured_b"], both["measured_c"]
    failed, fails = (both[f"status{side}"].isin(BROKEN) for side in ("_b", "_c"))
    return {
        "broken": fails & both["status_b"].isin([Status.OK, Status.NOT_SUPPORTED]),
        "mended": failed & (both["status_c"] == Status.OK),
        "gone": before & ~after & ~fails & ~both["ended"],
        "new": ~before & after & ~failed,
        "differs": before & after & ~both["identical"],
    }


def _entry(cell: dict[str, Any], group: pd.DataFrame, said: tuple[Outcome, Test | None, float]) -> CellChange:
    broken, mended, gone, new = (_having(group, event) for event in ("broken", "mended", "gone", "new"))
    differing = _having(group, "differs")
    outcome, test, p = said
    reason, shown = reason_of(outcome, test, p), test.worst_id if test else ""
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


def _having(group: pd.DataFrame, event: str) -> pd.DataFrame:
    """The pairs to which that happened. Where there are none, nothing is looked through to find them."""
    return group[group[event]] if group[event].to_numpy().any() else group.iloc[:0]


def _broken_reason(broken: pd.DataFrame) -> str:
    row = broken.iloc[0]
    if row["status_c"] in {Status.CRASH, Status.TIMEOUT}:
        what = f"new {row['status_c']}"
    elif row["special_mismatch_c"] > 0 and not row["special_mismatch_b"] > 0:
        what = "new wrong special value"
    else:
        what = "new failure"
    return f"{what} in {len(broken)} case{'' if len(broken) == 1 else 's'}; {row['reason_c']}"


def _tests(group: pd.DataFrame, by: Change) -> list[Test]:
    """Wilcoxon's signed-rank test of each metric over the pairs that differ; identical pairs say nothing of size."""
    differing = _having(group, "differs")
    tests = []
    for metric, floor in METRICS.items():
        change = _log_ratio(differing, metric)
        moved = change[change != 0]
        if len(moved) == 0:
            continue
        p = float(stats.wilcoxon(moved).pvalue) if len(moved) >= by.least_pairs else math.nan
        worst = str(differing["id"].to_numpy()[int(np.argmax(np.abs(change)))])
        tests.append(Test(metric=metric, effect=float(np.median(moved)), floor=getattr(by, floor), p=p, worst_id=worst))
    return tests


def _log_ratio(pairs: pd.DataFrame, metric: str) -> Numbers:
    """log(candidate ÷ baseline) of each pair; 0 where either was not measured."""
    return log_change(pairs[f"{metric}_c"].to_numpy(dtype=float), pairs[f"{metric}_b"].to_numpy(dtype=float))
