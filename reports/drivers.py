"""What the error of a cell depends on: charts against its inputs, and the values whose cases fail."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from accuracy import lists
from accuracy.case import EXPLORED, Stage
from reports import charts, features, theory, words
from reports.charts import Binned, Chart
from reports.features import Value
from reports.frames import Cell, Frames

BLOCKS = ("blocksize", "in_features", "embedding_dim")
"""What the expected quantization error depends on; the first that a layer has."""

SHOWN = ("in_features", "blocksize", "rows", "threshold", "embedding_dim")
"""Inputs that the error is drawn against, where the cell has at least two values of them."""

MOST_BINS = 8
MOST_STRATA = 6

DEVIATIONS = 1.96
"""Of the normal distribution, for the lower end of a 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class StratumRow:
    """How many cases with one value of an input fail. `width` is the share as a whole per cent."""

    text: str
    failing: int
    n: int
    share: str
    width: str


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term of the error against the fp32 layer, as share of the output's norm, over the cases."""

    name: str
    median: str
    largest: str


def charts_of(frames: Frames, places: NDArray[np.int64], quantity: str) -> tuple[Chart, ...]:
    """A chart for each input that varies over the observations of one quantity of a cell."""
    ratio = frames.columns["ratio"][places].astype(np.float64)
    ratio[np.isnan(ratio)] = np.inf
    failing = frames.columns["failing"][places].astype(bool)
    drawn = []
    for name in SHOWN:
        size = _sizes(frames, name, frames.columns["place"][places])
        present = ~np.isnan(size)
        if len(np.unique(size[present])) > 1:
            bins = _bins(size[present], ratio[present], failing[present])
            drawn.append(charts.against_input(bins, quantity, features.label(name)))
    return tuple(drawn)


def _sizes(frames: Frames, name: str, place: NDArray[np.int64]) -> NDArray[np.float64]:
    """An input of some cases, given as rows of `inputs`, as numbers; NaN where a case has none."""
    if name not in frames.inputs:
        return np.full(len(place), np.nan)
    column = frames.inputs[name]
    numbers = [float(level) if isinstance(level, int | float) else math.nan for level in column.levels]
    return np.array([*numbers, math.nan])[column.codes[place]]


def against_theory(frames: Frames) -> dict[Cell, Chart]:
    """The error that quantization made of Gaussian weights, beside what theory expects of the format.

    One chart a case and device, over all dtypes, which a stored weight does not depend on; it belongs to the
    first of its cells.
    """
    stage, quantity, origin = (frames.coded[name] for name in ("stage", "quantity", "origin"))
    of_weights = (stage.codes == stage.code(Stage.QUANTIZATION.value)) & (quantity.codes == quantity.code("weight"))
    planned = origin.codes != origin.code(EXPLORED)
    weights = frames.rows(of_weights & planned & (frames.columns["rel_fro"] > 0))
    drawn: dict[Cell, Chart] = {}
    for (case, device), group in weights.groupby(["case", "device"], sort=True):
        chart = _against_theory(frames, _normal(frames, group))
        if chart is not None:
            first = min(set(group["dtype"]), key=words.dtype_rank)
            drawn[Cell(str(case), str(device), first)] = chart
    return drawn


def _normal(frames: Frames, weights: pd.DataFrame) -> pd.DataFrame:
    """Of some observations those of weights that theory speaks of: to parse the configs of all would be in vain."""
    if "weight" not in frames.inputs:
        return weights[:0]
    weight = frames.inputs["weight"].at(weights["place"].to_numpy())
    normal: NDArray[np.bool_] = weight.codes == weight.code(theory.WEIGHT)
    return weights[normal]


def _against_theory(frames: Frames, weights: pd.DataFrame) -> Chart | None:
    """Against what the expectation depends on: the blocksize, or for int8 the length of a row."""
    once = {config: theory.expected(json.loads(config)) for config in set(weights["config"])}
    expected = [once[config] for config in weights["config"]]
    there = [value is not None for value in expected]
    kept = weights[there]
    if kept.empty:
        return None
    sizes = {name: _sizes(frames, name, kept["place"].to_numpy()) for name in BLOCKS}
    name = next((name for name, size in sizes.items() if not np.isnan(size).any()), "")
    size = sizes.get(name, np.full(len(kept), features.EMBEDDING_BLOCK))
    error = kept["rel_fro"].to_numpy()
    known = np.array([value for value in expected if value is not None])
    points = [
        charts.Expected(
            label=f"{edge:g}",
            n=int(mine.sum()),
            median=float(np.median(error[mine])),
            least=float(error[mine].min()),
            largest=float(error[mine].max()),
            theory=float(np.median(known[mine])),
        )
        for edge in np.unique(size)
        for mine in (size == edge,)
    ]
    far = float(kept["theory_z"].abs().max())
    return charts.against_theory(points, features.label(name) if name else "blocksize", far)


def terms(frames: Frames, cell: Cell) -> tuple[Term, ...]:
    """Total error of the output against the fp32 layer, and its two terms; none where it was not split.

    The terms add up as vectors, not as norms.
    """
    at = frames.places.get((*cell, Stage.QUANTIZATION.value, "output"), np.empty(0, dtype=np.int64))
    at = at[frames.columns["total_fro"][at] > 0]
    if not at.size:
        return ()
    scale = frames.columns["rel_fro"][at] / frames.columns["total_fro"][at]
    sizes = {column: frames.columns[column][at] * scale for column in ("total_fro", "compute_fro", "quantization_fro")}
    return tuple(
        Term(
            name=name,
            median=words.percent(float(np.nanmedian(sizes[column]))),
            largest=words.percent(float(np.nanmax(sizes[column]))),
        )
        for name, column in (
            ("whole", "total_fro"),
            ("kernel", "compute_fro"),
            ("quantization", "quantization_fro"),
        )
    )


def strata(frames: Frames, worst: NDArray[np.int64]) -> tuple[StratumRow, ...]:
    """Strata and values of the inputs whose cases fail, the most telling first; none where nothing fails.

    `worst` are the rows that cases are told by, one each. The most telling is the one whose share of failing cases is
    surely largest: 8 of 8 stands before 1 of 1.
    """
    failing = frames.columns["failing"][worst]
    if not failing.any():
        return ()
    found = _named(frames.strata.take(worst), failing)
    place = frames.columns["place"][worst]
    for name, column in frames.inputs.items():
        mine = column.at(place)
        number, bad = mine.counts(), mine.at(failing).counts()
        if 1 < np.count_nonzero(number) <= 2 * MOST_BINS:
            found += [
                (int(bad[code]), int(number[code]), _said(name, column.levels[code])) for code in np.flatnonzero(bad)
            ]
    found.sort(key=lambda entry: (-_surely(entry[0], entry[1]), entry[2]))
    return tuple(
        StratumRow(text=text, failing=bad, n=n, share=words.percent(bad / n), width=f"{100 * bad / n:.0f}")
        for bad, n, text in found[:MOST_STRATA]
    )


def _said(name: str, value: Value) -> str:
    """How a value is told: `blocksize = 64`, `no bias`."""
    if isinstance(value, bool):
        return features.label(name) if value else features.negation(name)
    return f"{features.label(name)} = {features.value_text(name, value)}"


def _surely(bad: int, n: int) -> float:
    """The lower end of Wilson's interval for the share of `bad` in `n`."""
    share, square = bad / n, DEVIATIONS**2
    spread = DEVIATIONS * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return (share + square / (2 * n) - spread) / (1 + square / n)


def _named(strata: "pa.ListArray[Any]", failing: NDArray[np.bool_]) -> list[tuple[int, int, str]]:
    """Failing and all cases of each stratum of the plan."""
    names = strata.flatten().to_pylist()
    number = Counter(names)
    bad = Counter(itertools.compress(names, np.repeat(failing, lists.lengths(strata)).tolist()))
    return [(hits, number[name], f"stratum {name}") for name, hits in bad.items()]


def _bins(size: NDArray[np.float64], badness: NDArray[np.float64], failing: NDArray[np.bool_]) -> Sequence[Binned]:
    """One bin a value where there are few, else one a power of two."""
    few = len(np.unique(size)) <= MOST_BINS
    lower = size if few else np.exp2(np.floor(np.log2(np.maximum(size, 1))))
    return [
        Binned(
            label=f"{edge:g}" if few else f"{edge:g}+",
            n=int(inside.sum()),
            median=_at(sizes, 0.5),
            p99=_at(sizes, 0.99),
            largest=float(sizes[-1]),
            failing=int(failing[inside].sum()),
        )
        for edge in np.unique(lower)
        for inside in (lower == edge,)
        for sizes in (np.sort(badness[inside]),)
    ]


def _at(rising: NDArray[np.float64], q: float) -> float:
    """The inverse empirical distribution; interpolation would make NaN of two infinities."""
    return float(rising[max(0, math.ceil(q * len(rising)) - 1)])
