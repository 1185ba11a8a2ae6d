"""Release against release where no pairs are: runs of different plans, of which only the sample is exchangeable.

A case gives one number a size, as elements of one layer are not independent. Sizes are taken in units of the bound
of each element, which follows shape, dtype and scale of the layer, so that other draws differ less than releases do
(docs/method.md, "Release against release").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import stats

from accuracy import histogram, lists
from accuracy.case import BROKEN, CELL, MEASURED
from accuracy.change import CellChange, Outcome
from accuracy.limits import Change
from accuracy.sizes import Numbers, Test, log_change, outcomes, reason_of

ORIGIN: Final = "sample"
SIZES: Final = {"ratio_mean": "rel_fro_floor", "ratio_p99": "abs_p99_floor", "rel_fro": "rel_fro_floor"}
"""The sizes that are compared, each with the field of `Change` below which a change of it does not count.

`ratio_mean` and `ratio_p99` are mean and 99th percentile over a layer of |e| ÷ bound.
"""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a run says of a cell: how many cases were told of, failed and were measured, one that failed, and sizes."""

    total: int = 0
    bad: int = 0
    measured: int = 0
    worst_id: str = ""
    sizes: Mapping[str, Numbers] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One run: what it says of its cells, and how many cases were drawn for each case, device and dtype."""

    cells: Mapping[tuple[str, ...], Told]
    drawn: Mapping[tuple[str, ...], int]

    def cell(self, name: tuple[str, ...]) -> Told:
        """What it says of this one; nothing if it has none."""
        return self.cells.get(name, Told())

    def cases(self, cell: tuple[str, ...]) -> int:
        """How many cases could have had this cell."""
        return self.drawn.get(cell[:3], 0)


def compare(baseline: pd.DataFrame, candidate: pd.DataFrame, by: Change) -> list[CellChange]:
    """One entry for each cell of either run, from their judged observations.

    Sizes are tested by Mann and Whitney (1947), and by Fisher's exact test how many cases fail and how many are
    measured at all. What is said follows `accuracy.sizes`. No pair says what failed before: where both runs fail, it
    is by how many and by what sizes that they differ. A cell with fewer than `by.least_pairs` cases in one of the
    runs, all of which were measured, is not compared.
    """
    return changes((side(baseline), side(candidate)), by)


def changes(sides: tuple[Side, Side], by: Change) -> list[CellChange]:
    """The same for runs whose sizes have been taken, the baseline first."""
    cells = list(dict.fromkeys([*sides[0].cells, *sides[1].cells]))
    said = outcomes([_tests(sides, cell, by) for cell in cells], by)
    entries = []
    for cell, told in zip(cells, said, strict=True):
        outcome, test, p = told
        place: dict[str, Any] = dict(zip(CELL, cell, strict=True))
        n = min(each.cell(cell).measured for each in sides)
        reason = reason_of(outcome, test, p)
        if outcome is Outcome.WITHIN_NOISE and n < by.least_pairs:
            outcome, reason = Outcome.NOT_COMPARED, f"{n} cases in one of the runs, {by.least_pairs:.0f} make a test"
        entries.append(
            CellChange(
                **place,
                outcome=outcome,
                n=n,
                identical=0,
                worse=0,
                better=0,
                broken=0,
                metric=test.metric if test else "",
                effect=test.effect if test else float("nan"),
                p=p,
                worst_id=test.worst_id if test else "",
                reason=reason,
            )
        )
    return entries


def side(observations: pd.DataFrame) -> Side:
    """What is compared of a run, from its judged observations."""
    rows = observations[observations["origin"] == ORIGIN]
    drawn = rows.groupby(list(CELL[:3]), sort=False)["id"].nunique()
    told = _sized(rows[rows["status"].isin({*MEASURED, *BROKEN})])
    return Side(
        cells={_name(key): _told(group) for key, group in told.groupby(list(CELL), sort=False)},
        drawn={_name(key): int(count) for key, count in drawn.items()},
    )


def _name(key: Any) -> tuple[str, ...]:
    return tuple(str(part) for part in key)


def _told(rows: pd.DataFrame) -> Told:
    """One cell, from its rows with their sizes."""
    bad, measured = (rows["status"].isin(statuses) for statuses in (BROKEN, MEASURED))
    there = rows[measured]
    return Told(
        total=len(rows),
        bad=int(bad.sum()),
        measured=len(there),
        worst_id=str(rows.loc[bad, "id"].iloc[0]) if bad.any() else "",
        sizes={size: there[size].dropna().to_numpy(dtype=float) for size in SIZES},
    )


def _tests(sides: tuple[Side, Side], cell: tuple[str, ...], by: Change) -> list[Test]:
    """Those for which there are cases enough."""
    before, after = (each.cell(cell) for each in sides)
    tests = []
    if min(before.total, after.total) >= by.least_pairs:
        tests += _failing(before, after)
    if before.measured >= by.least_pairs and not after.measured:
        tests += _gone([before.measured, 0], [each.cases(cell) for each in sides])
    for size, floor in SIZES.items():
        if min(before.measured, after.measured) >= by.least_pairs:
            tests += _shifted(size, [before.sizes[size], after.sizes[size]], floor, by)
    return tests


def _failing(before: Told, after: Told) -> list[Test]:
    """Whether more of a cell's cases fail, crash or hang; no test where none does in either run."""
    numbers, totals = [before.bad, after.bad], [before.total, after.total]
    if not any(numbers):
        return []
    return [
        Test(
            metric="failing",
            effect=_of_shares(numbers, totals),
            floor=0.0,
            p=_fisher(numbers, totals),
            worst_id=after.worst_id,
            words=f"{numbers[1]} of {totals[1]} cases fail, {numbers[0]} of {totals[0]} before",
        )
    ]


def _gone(numbers: list[int], totals: list[int]) -> list[Test]:
    return [
        Test(
            metric="measured",
            effect=-_of_shares(numbers, totals),
            floor=0.0,
            p=_fisher(numbers, totals),
            words=f"measured in none of {totals[1]} cases, in {numbers[0]} of {totals[0]} before",
            worse=Outcome.GONE,
        )
    ]


def _of_shares(numbers: list[int], totals: list[int]) -> float:
    before, after = (np.array([number / max(1, total)]) for number, total in zip(numbers, totals, strict=True))
    return float(log_change(after, before)[0])


def _fisher(numbers: list[int], totals: list[int]) -> float:
    table = np.array([[number, total - number] for number, total in zip(numbers, totals, strict=True)])
    return float(stats.fisher_exact(table).pvalue)


def _sized(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their sizes."""
    counts = list(zip(*(lists.parts(rows[name], pa.int64()) for name in ("ratio_bins", "ratio_counts")), strict=True))
    return rows[[*CELL, "id", "status", "rel_fro"]].assign(
        ratio_mean=[histogram.mean(each) for each in counts],
        ratio_p99=[histogram.quantiles(each, (0.99,))[0] for each in counts],
    )


def _shifted(size: str, values: list[Numbers], floor: str, by: Change) -> list[Test]:
    """Mann and Whitney's test of one size; none where all are zero, or too few have a number."""
    if min(map(len, values)) < by.least_pairs or not any(each.any() for each in values):
        return []
    before, after = (np.array([np.median(each)]) for each in values)
    return [
        Test(
            metric=size,
            effect=float(log_change(after, before)[0]),
            floor=float(getattr(by, floor)),
            p=float(stats.mannwhitneyu(values[0], values[1]).pvalue),
        )
    ]
