"""One measurement made by several runs on one kind of device: which of its rows count, and whether they agree.

Two devices may differ by the larger of their bounds (`accuracy.paired`), and so may two hosts. What is farther apart
is a finding, a row of its own that fails. Of several rows of one measurement one that failed counts.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accuracy import paired
from accuracy.case import BROKEN, Stage, Status
from accuracy.paired import Agreement
from accuracy.rows import DEFAULTS, Row

PAIR: Final = ("id", "device")
KEY: Final = (*PAIR, "stage", "quantity")

SHARED: Final = ("case", "config", "seed", "origin", "device_name", "dtype", "mode", "strata", "path")
"""What the row of a finding has of the measurement that it is about."""

NEEDED: Final = (*KEY, *SHARED, "status", "reason", "digest", "sample_values", "sample_bounds")

REFUSED, MEASURED = 1, 2
"""What an outcome weighs; one that did not run weighs nothing. Of a pair only what weighs most is kept."""

_WEIGHTS: Final = {Status.NOT_RUN.value: 0, Status.NOT_SUPPORTED.value: REFUSED}


def in_several(rows: pd.DataFrame, run: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows belong to an (id, device) that more than one run has; `run` is the number of each row's run."""
    pair = rows.groupby(list(PAIR), sort=False).ngroup().to_numpy()
    lowest, highest = np.full(len(rows), len(rows)), np.full(len(rows), -1)
    np.minimum.at(lowest, pair, run)
    np.maximum.at(highest, pair, run)
    return np.asarray(lowest[pair] != highest[pair])


def settle(rows: pd.DataFrame, run: NDArray[np.int64]) -> tuple[NDArray[np.bool_], list[Row]]:
    """Which rows of what several runs measured are kept, and a row for each disagreement.

    Args:
        rows: the columns `NEEDED`.
        run: for each row the number of its run. Of equals that of the lowest number counts.

    Returns:
        For each row whether it is kept, and the findings.
    """
    frame = rows.assign(
        run=run,
        weight=rows["status"].map(_WEIGHTS).fillna(MEASURED),
        good=~rows["status"].isin(BROKEN),
        place=np.arange(len(rows)),
    ).sort_values(["run", "place"])
    by_run = frame.groupby([*PAIR, "run"], sort=False)["weight"].transform("max")
    heaviest = by_run.groupby([frame[name] for name in PAIR], sort=False).transform("max")
    heavy = frame[by_run == heaviest]
    first = heavy.drop_duplicates(list(KEY))
    kept = heavy.sort_values(["good", "run", "place"]).drop_duplicates(list(KEY))["place"]
    refused = frame[(by_run == REFUSED) & (heaviest == MEASURED)].drop_duplicates(list(PAIR))
    findings = [_finding(row, "completion", np.inf, f"one run measured it, another: {row['reason']}")
                for row in refused.to_dict("records")]  # fmt: skip
    for _, later in heavy.drop(first.index).groupby("run"):
        findings += _apart(first, later)
    return np.isin(frame["place"].sort_values(), kept), findings


def _apart(first: pd.DataFrame, later: pd.DataFrame) -> list[Row]:
    """A finding for each row of `later` that is farther from its fellow in `first` than a bound allows."""
    ours, theirs = (rows[paired.comparable(rows)].set_index(list(KEY), drop=False) for rows in (first, later))
    both = theirs.index.intersection(ours.index, sort=False)
    ours, theirs = ours.loc[both].reset_index(drop=True), theirs.loc[both].reset_index(drop=True)
    found = paired.compared(ours, theirs, "first", "later")
    return [
        _finding(
            row,
            f"{row['stage']} {row['quantity']}",
            float(distance),
            f"two runs differ by {distance:.3g} × the larger of their bounds: {mine} and {row['device_name']}",
        )
        for row, mine, distance, agreement in zip(
            theirs.to_dict("records"), ours["device_name"], found["distance"], found["agreement"], strict=True
        )
        if agreement == Agreement.APART.value
    ]


def _finding(of: Mapping[Hashable, Any], what: str, distance: float, words: str) -> Row:
    """A row of stage `invariant` that breaks its limit, 1, so that the judge fails it."""
    return DEFAULTS | {name: of[name] for name in (*PAIR, *SHARED)} | {
        "stage": Stage.INVARIANT.value,
        "quantity": f"{what} between runs",
        "count": 1,
        "ratio": distance,
        "limit": 1.0,
        "basis": "agreement",
        "observed": words,
    }  # fmt: skip
