"""What the error of a cell depends on: charts against its inputs, and the values whose cases fail."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports import charts, features, words
from reports.charts import Binned, Chart
from reports.frames import JUDGED, Frames

SHOWN = ("in_features", "blocksize", "rows", "threshold", "embedding_dim")
"""Inputs that the error is drawn against, where the cell has at least two values of them."""

MOST_BINS = 8
MOST_STRATA = 8


@dataclass(frozen=True, kw_only=True)
class StratumRow:
    """How many cases with one value of an input fail. `width` is the share as a whole per cent."""

    text: str
    failing: int
    n: int
    share: str
    width: str


def per_case(observations: pd.DataFrame) -> pd.DataFrame:
    """Worst ratio and failing of each id, over the quantities that were measured; NaN counts as worst."""
    measured = observations[observations["status"].isin(JUDGED)]
    ratio = measured["ratio"].fillna(math.inf).groupby(measured["id"], sort=True).max()
    failing = measured.groupby("id", sort=True)["failing"].any()
    return pd.DataFrame({"ratio": ratio, "failing": failing})


def drawn(frames: Frames, worst: pd.DataFrame) -> tuple[Chart, ...]:
    """A chart for each input that varies; none where every error is zero."""
    found = []
    for name in SHOWN:
        if name not in frames.inputs.columns:
            continue
        values = frames.inputs.loc[worst.index, name].dropna()
        if values.nunique() < 2 or not (worst["ratio"] > 0).any():  # noqa: PLR2004  # one value shows no trend
            continue
        found.append(charts.against_input(_bins(values, worst.loc[values.index]), features.label(name)))
    return tuple(found)


def _bins(values: pd.Series, worst: pd.DataFrame) -> tuple[Binned, ...]:
    """One bin a value where there are few, else one a power of two."""
    size = values.to_numpy(dtype=np.float64)
    distinct = np.unique(size)
    if len(distinct) > MOST_BINS:
        lower = np.exp2(np.floor(np.log2(np.maximum(size, 1))))
        labels = {edge: f"{edge:g}+" for edge in np.unique(lower)}
    else:
        lower, labels = size, {edge: f"{edge:g}" for edge in distinct}
    ratio, failing = worst["ratio"].to_numpy(), worst["failing"].to_numpy()
    return tuple(
        Binned(
            label=label,
            n=int((lower == edge).sum()),
            median=_at(ratio[lower == edge], 0.5),
            p99=_at(ratio[lower == edge], 0.99),
            largest=float(ratio[lower == edge].max()),
            failing=int(failing[lower == edge].sum()),
        )
        for edge, label in sorted(labels.items())
    )


def _at(values: np.ndarray[tuple[int], np.dtype[np.float64]], q: float) -> float:
    """The inverse empirical distribution; interpolation would make NaN of two infinities."""
    return float(np.quantile(values, q, method="inverted_cdf"))


def strata(frames: Frames, worst: pd.DataFrame) -> tuple[StratumRow, ...]:
    """Values of the inputs whose cases fail, the most telling first; none where nothing fails."""
    if not worst["failing"].any():
        return ()
    table = frames.inputs.loc[worst.index]
    found = []
    for name in table.columns:
        values = table[name].dropna()
        if not 1 < values.map(str).nunique() <= 2 * MOST_BINS:
            continue
        by_value = worst.loc[values.index, "failing"].groupby(
            values.map(lambda value, name=name: features.value_text(name, value))
        )
        for value, failing in by_value:
            if failing.any():
                found.append(
                    (
                        float(failing.mean()),
                        int(failing.sum()),
                        len(failing),
                        features.label(name),
                        str(value),
                    )
                )
    found.sort(key=lambda entry: (-entry[0], -entry[1], entry[3], entry[4]))
    return tuple(
        StratumRow(
            text=f"{name} = {value}",
            failing=failing,
            n=n,
            share=words.percent(share),
            width=f"{100 * share:.0f}",
        )
        for share, failing, n, name, value in found[:MOST_STRATA]
    )
