"""What the error of a cell depends on: charts against its inputs, and the values whose cases fail."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accuracy.case import Stage
from reports import charts, features, theory, words
from reports.charts import Binned, Chart
from reports.features import Value
from reports.frames import Cell, Frames, planned

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
    inputs = [frames.features[identity] for identity in frames.columns["id"][places]]
    ratio = frames.columns["ratio"][places].astype(np.float64)
    ratio[np.isnan(ratio)] = np.inf
    failing = frames.columns["failing"][places].astype(bool)
    drawn = []
    for name in SHOWN:
        present = np.array([name in known for known in inputs])
        size = np.array([known[name] for known in inputs if name in known], dtype=np.float64)
        if len(np.unique(size)) > 1:
            bins = _bins(size, ratio[present], failing[present])
            drawn.append(charts.against_input(bins, quantity, features.label(name)))
    return tuple(drawn)


def against_theory(frames: Frames) -> dict[Cell, Chart]:
    """The error that quantization made of Gaussian weights, beside what theory expects of the format.

    One chart a case and device, over all dtypes, which a stored weight does not depend on; it belongs to the
    first of its cells.
    """
    rows = frames.observations
    of_weights = (rows["stage"] == Stage.QUANTIZATION.value) & (rows["quantity"] == "weight")
    weights = planned(rows[of_weights & (rows["rel_fro"] > 0)])
    drawn: dict[Cell, Chart] = {}
    for (case, device), group in weights.groupby(["case", "device"], sort=True):
        chart = _against_theory(frames, group)
        if chart is not None:
            first = min(set(group["dtype"]), key=words.dtype_rank)
            drawn[Cell(str(case), str(device), first)] = chart
    return drawn


def _against_theory(frames: Frames, weights: pd.DataFrame) -> Chart | None:
    """Against what the expectation depends on: the blocksize, or for int8 the length of a row."""
    once = {config: theory.expected(json.loads(config)) for config in set(weights["config"])}
    expected = [once[config] for config in weights["config"]]
    there = [value is not None for value in expected]
    kept = weights[there]
    if kept.empty:
        return None
    inputs = frames.inputs.loc[kept["id"]]
    name = next((name for name in BLOCKS if name in inputs.columns and inputs[name].notna().all()), "")
    size = inputs[name].to_numpy(dtype=np.float64) if name else np.full(len(kept), features.EMBEDDING_BLOCK)
    measured = pd.DataFrame(
        {
            "size": size,
            "error": kept["rel_fro"].to_numpy(),
            "expected": [value for value in expected if value is not None],
        }
    ).groupby("size")
    points = [
        charts.Expected(
            label=f"{edge:g}",
            n=len(part),
            median=float(part["error"].median()),
            least=float(part["error"].min()),
            largest=float(part["error"].max()),
            theory=float(part["expected"].median()),
        )
        for edge, part in measured
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


def strata(frames: Frames, worst: Sequence[Mapping[str, Any]]) -> tuple[StratumRow, ...]:
    """Strata and values of the inputs whose cases fail, the most telling first; none where nothing fails.

    The most telling is the one whose share of failing cases is surely largest: 8 of 8 stands before 1 of 1.
    """
    if not any(row["failing"] for row in worst):
        return ()
    found = _named([row["strata"] for row in worst], [row["failing"] for row in worst])
    inputs = [frames.features[row["id"]] for row in worst]
    number = Counter(pair for known in inputs for pair in known.items())
    bad = Counter(pair for known, row in zip(inputs, worst, strict=True) if row["failing"] for pair in known.items())
    levels = Counter(name for name, _ in number)
    found += [
        (bad[name, value], number[name, value], _said(name, value))
        for name, value in bad
        if 1 < levels[name] <= 2 * MOST_BINS
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


def _named(strata_of: Sequence[Sequence[str]], failing: Sequence[bool]) -> list[tuple[int, int, str]]:
    """Failing and all cases of each stratum of the plan."""
    number = Counter(name for names in strata_of for name in names)
    bad = Counter(name for names, hit in zip(strata_of, failing, strict=True) if hit for name in names)
    return [(bad[name], number[name], f"stratum {name}") for name in bad]


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
