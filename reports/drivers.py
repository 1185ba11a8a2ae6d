"""What the error of a cell depends on: charts against its inputs, and the values whose cases fail."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports import charts, features, words
from reports.charts import Binned, Chart
from reports.frames import Frames

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


def build(frames: Frames, worst: pd.DataFrame) -> tuple[tuple[Chart, ...], tuple[StratumRow, ...]]:
    """Charts and strata of one cell, from its rows of `Frames.worst`.

    There is a chart for each input that varies, none where every error is zero; strata only where
    something fails.
    """
    inputs = frames.inputs.loc[worst["id"]]
    badness, failing = worst["badness"].to_numpy(dtype=np.float64), worst["failing"].to_numpy(dtype=bool)
    drawn = []
    for name in (name for name in SHOWN if name in inputs.columns and (badness > 0).any()):
        present = inputs[name].notna().to_numpy()
        size = inputs[name].to_numpy()[present].astype(np.float64)
        if len(np.unique(size)) > 1:
            drawn.append(charts.against_input(_bins(size, badness[present], failing[present]), features.label(name)))
    return tuple(drawn), strata(inputs, failing) if failing.any() else ()


def strata(inputs: pd.DataFrame, failing: NDArray[np.bool_]) -> tuple[StratumRow, ...]:
    """Values of the inputs whose cases fail, the most telling first."""
    found = []
    for name in inputs.columns:
        values = [None if pd.isna(value) else features.value_text(name, value) for value in inputs[name]]
        number = Counter(value for value in values if value is not None)
        bad = Counter(value for value, hit in zip(values, failing, strict=True) if hit and value is not None)
        if 1 < len(number) <= 2 * MOST_BINS:
            found += [(bad[value], number[value], f"{features.label(name)} = {value}") for value in bad]
    found.sort(key=lambda entry: (-entry[0] / entry[1], -entry[0], entry[2]))
    return tuple(
        StratumRow(text=text, failing=bad, n=n, share=words.percent(bad / n), width=f"{100 * bad / n:.0f}")
        for bad, n, text in found[:MOST_STRATA]
    )


def _bins(size: NDArray[np.float64], badness: NDArray[np.float64], failing: NDArray[np.bool_]) -> Sequence[Binned]:
    """One bin a value where there are few, else one a power of two."""
    few = len(np.unique(size)) <= MOST_BINS
    lower = size if few else np.exp2(np.floor(np.log2(np.maximum(size, 1))))
    return [
        Binned(
            label=f"{edge:g}" if few else f"{edge:g}+",
            n=int(inside.sum()),
            median=_at(badness[inside], 0.5),
            p99=_at(badness[inside], 0.99),
            largest=float(badness[inside].max()),
            failing=int(failing[inside].sum()),
        )
        for edge in np.unique(lower)
        for inside in (lower == edge,)
    ]


def _at(values: NDArray[np.float64], q: float) -> float:
    """The inverse empirical distribution; interpolation would make NaN of two infinities."""
    return float(np.quantile(values, q, method="inverted_cdf"))
