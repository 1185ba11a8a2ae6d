"""Geometry of distributions of error ÷ limit, from their histograms: strip, ECDF and tail, with the baseline beside.

Strips are placed in per cent of their width, so that they stretch with the page and nothing is
distorted; ECDF and tail are charts as in `reports.charts`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accuracy import histogram
from accuracy.histogram import Counts
from reports.axes import LinearAxis, LogAxis, Tick, compact, covering
from reports.charts import BOTTOM, LEFT, PEN, RATIO, RIGHT, TOP, Chart, Line, Scale, path, simplified, whole
from reports.words import count, number

QUANTILES = {"p1": 0.01, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, kw_only=True)
class Was:
    """The same distribution in the baseline, below on the same axis: whisker, median, maximum; places in per cent."""

    p1: str
    p50: str
    largest: str
    whisker: str


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One distribution on a shared axis; places in per cent. Empty `note` where there is a drawing.

    `was` is None without a baseline, and where all of the baseline's elements are exact.
    """

    note: str
    description: str
    p1: str = ""
    p25: str = ""
    p50: str = ""
    largest: str = ""
    whisker: str = ""
    box: str = ""
    beyond: bool = False
    was: Was | None = None


@dataclass(frozen=True, kw_only=True)
class _Shares:
    """A histogram as shares of its elements: at most, and above or at, the value of each edge."""

    edges: NDArray[np.float64]
    at_most: NDArray[np.float64]
    from_on: NDArray[np.float64]
    total: int

    def said(self) -> str:
        """How much of it lies beyond the limit."""
        over = float(self.from_on[np.searchsorted(self.edges, 1.0)]) if not self.edges[-1] <= 1 else 0.0
        return f"{number(100 * over)} % of {count(self.total)} elements"


def strip_axis(histograms: Sequence[Counts]) -> LogAxis:
    """The axis that all strips share: error ÷ limit from the smallest 1 % to the largest, with 1 on it."""
    ends = [value for counts in histograms for value in histogram.quantiles(counts, (0.01, 1.0))]
    axis = covering(ends, start=3, end=97, always=(0.1, 2.0))
    return LogAxis(low=max(axis.low, 1e-6), high=min(axis.high, 1e6), start=axis.start, end=axis.end)


def strip(counts: Counts, axis: LogAxis, before: Counts | None = None) -> Strip:
    """The quantile strip of error ÷ limit: whisker p1 to p99, box p25 to p75, median, maximum, limit.

    `before` is the histogram of the baseline, if there is one with elements.
    """
    total = int(counts[1].sum())
    if total == 0:
        return Strip(note="no elements compared", description="no distribution")
    values = _quantiles(counts)
    if values["max"] == 0:
        return Strip(
            note=f"all {count(total)} elements exact",
            description=f"all {count(total)} elements are exact",
        )
    was = None if before is None else _quantiles(before)
    places = {name: axis.place(value) for name, value in values.items()}
    return Strip(
        note="",
        description=f"{count(total)} elements, error ÷ limit: {_spoken(values)}"
        + (f"; baseline: {_spoken(was)}" if was else ""),
        p1=compact(places["p1"]),
        p25=compact(places["p25"]),
        p50=compact(places["p50"]),
        largest=compact(places["max"]),
        whisker=compact(places["p99"] - places["p1"]),
        box=compact(max(0.4, places["p75"] - places["p25"])),
        beyond=not values["max"] <= 1,
        was=_was(was, axis) if was and was["max"] != 0 else None,
    )


def distribution(counts: Counts, name: str, before: Counts | None = None) -> tuple[Chart, Chart]:
    """ECDF and tail of error ÷ limit: F on a linear scale, and 1 − F on a log scale against the same axis.

    `before` is the histogram of the baseline, if there is one with elements: a second line in both.
    """
    drawn = [_shares(counts), *([] if before is None else [_shares(before)])]
    x_axis = covering([end for one in drawn for end in _ends(one.edges)], start=LEFT, end=RIGHT, always=(0.5, 2.0))
    x_axis = LogAxis(low=max(x_axis.low, 1e-6), high=min(x_axis.high, 1e6), start=LEFT, end=RIGHT)
    rising = LinearAxis(low=0, high=1, start=BOTTOM, end=TOP)
    rarest = 1 / max(one.total for one in drawn)
    falling = LogAxis(low=10.0 ** math.floor(math.log10(rarest)), high=1.0, start=BOTTOM, end=TOP)
    limit_x = compact(x_axis.place(1.0))
    ratio = Scale(label=RATIO, ticks=whole(x_axis.ticks(6)))
    said = f"{drawn[0].said()} lie beyond the limit" + (f", {drawn[1].said()} in the baseline" if drawn[1:] else "")
    dashed = "; dashed: baseline" if drawn[1:] else ""
    kinds = ("candidate", "baseline")
    across = [x_axis.places(one.edges.tolist()) for one in drawn]
    return (
        Chart(
            title=f"{name}, cumulative",
            description=f"share of elements with at most this error ÷ limit; {said}",
            x=ratio,
            y=Scale(
                label=f"share of elements{dashed}",
                ticks=tuple(Tick(place=f"{rising.place(share):.0f}", label=f"{share:g}") for share in (0, 0.5, 1)),
            ),
            lines=tuple(
                Line(path=_steps(x, one.at_most, rising), kind=kind)
                for x, one, kind in zip(across, drawn, kinds, strict=False)
            ),
            limit_x=limit_x,
        ),
        Chart(
            title=f"{name}, tail",
            description=f"share of elements with a larger error ÷ limit, log scale; {said}",
            x=ratio,
            y=Scale(label=f"share beyond{dashed}", ticks=whole(falling.ticks(5))),
            lines=tuple(
                Line(path=_steps(x, one.from_on, falling), kind=kind)
                for x, one, kind in zip(across, drawn, kinds, strict=False)
            ),
            limit_x=limit_x,
        ),
    )


def _quantiles(counts: Counts) -> dict[str, float]:
    return dict(zip(QUANTILES, histogram.quantiles(counts, list(QUANTILES.values())), strict=True))


def _spoken(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number(values[name])}" for name in ("p50", "p99", "max"))


def _was(values: Mapping[str, float], axis: LogAxis) -> Was:
    p1, p50, p99, largest = (axis.place(values[name]) for name in ("p1", "p50", "p99", "max"))
    return Was(p1=compact(p1), p50=compact(p50), largest=compact(largest), whisker=compact(p99 - p1))


def _shares(counts: Counts) -> _Shares:
    bins, number_in_bin = counts
    total = int(number_in_bin.sum())
    reached = np.cumsum(number_in_bin)
    return _Shares(
        edges=histogram.centres(bins),
        at_most=reached / total,
        from_on=np.concatenate([[total], total - reached[:-1]]) / total,
        total=total,
    )


def _ends(edges: NDArray[np.float64]) -> list[float]:
    return [float(edge) for edge in (edges[0], edges[-1], *edges[edges > 0][:1])]


def _steps(across: Sequence[float], heights: NDArray[np.float64], y_axis: LinearAxis | LogAxis) -> str:
    points = list(zip(across, y_axis.places(heights.tolist()), strict=True))
    return path(simplified(points, PEN))
