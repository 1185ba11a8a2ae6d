"""Run-level limits from runs that are held to be good: what the worst of n runs reached, times a margin.

A hard bound says what arithmetic allows; a good kernel stays well below it, and a change for the worse
shows first as a larger maximum. The maximum of n runs covers the share p of all runs with confidence
1 - pⁿ (Wilks 1941); the margin makes a new maximum rare (docs/method.md, "calibrated limits").
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from accuracy.case import CELL, EXPLORED, Status
from accuracy.limits import Calibration

METRICS = ("ratio", "kappa")
"""What is calibrated: both are normalized by their bound, so their run maxima are light-tailed."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a calibration comes from: the rows of one run, and the versions and the day it was measured with."""

    observations: pd.DataFrame
    versions: str
    day: str


def coverage(runs: int, confidence: float) -> float:
    """The share of all runs that the maximum of so many covers with this confidence, (1 - γ)^(1/n)."""
    return math.exp(math.log1p(-confidence) / runs)


def maxima(sources: Sequence[Source]) -> pd.DataFrame:
    """The largest `ratio` and `kappa` of each cell over all runs, and in how many runs the cell occurred.

    Only rows that passed count: a failing row is a finding and no yardstick. Nor is an explored one, since
    how far a search gets is a matter of its budget.
    """
    passed = [
        rows[(rows["status"] == Status.OK.value) & (rows["origin"] != EXPLORED)].assign(run=number)
        for number, rows in enumerate(source.observations for source in sources)
    ]
    groups = pd.concat(passed).groupby(list(CELL), sort=True)
    return groups.agg(ratio=("ratio", "max"), kappa=("kappa", "max"), runs=("run", "nunique")).reset_index()


def as_toml(sources: Sequence[Source], by: Calibration) -> str:
    """`[[limit]]` tables, a warning and a failure for each cell and metric, to be appended to a limits file.

    Cells whose maximum is zero are exact and need no calibrated limit.
    """
    versions = ", ".join(sorted({source.versions for source in sources}))
    days = sorted(source.day for source in sources)
    lines = []
    for cell in maxima(sources).to_dict("records"):
        for metric in METRICS:
            largest = float(cell[metric])
            if not largest > 0 or math.isinf(largest):
                continue
            runs = int(cell["runs"])
            basis = (
                f"calibrated: largest of n = {runs} runs, covers {coverage(runs, by.confidence):.3f} of runs "
                f"with confidence {by.confidence:g}; "
                f"{versions}; {days[0]} to {days[-1]}"
            )
            for verdict, margin in (("warn", by.warn_margin), ("fail", by.fail_margin)):
                lines.append(_table(cell, metric, margin * largest, verdict, basis))
    return "\n".join(lines)


def _table(cell: Mapping[Any, Any], metric: str, at_most: float, verdict: str, basis: str) -> str:
    name = "/".join(str(cell[key]) for key in CELL)
    fields = {
        "id": f"calibrated {metric} {verdict} {name}",
        **{key: str(cell[key]) for key in CELL},
        "metric": metric,
        "verdict": verdict,
        "basis": basis,
        "method": "calibrated-limits",
    }
    body = "\n".join(f'{key} = "{value}"' for key, value in fields.items())
    return f"[[limit]]\n{body}\nat_most = {at_most!r}\n"
