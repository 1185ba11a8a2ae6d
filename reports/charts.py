"""Geometry of the charts: from histograms and numbers to places and paths, which the macros only draw.

Strips are placed in per cent of their width, so that they stretch with the page and nothing is
distorted; the other charts have a fixed drawing of `WIDTH` by `HEIGHT` units.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accuracy import histogram
from accuracy.histogram import Counts
from reports.axes import LinearAxis, LogAxis, Tick, compact, covering, fitted
from reports.words import count, number

WIDTH, HEIGHT = 320.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 308.0, 14.0, 134.0

PEN = 0.7
"""What is nearer to a line than this, in units of the drawing, does not show beside it."""

MOST_POINTS = 8
"""Places on an axis of names that can still be told apart."""

RATIO = "error ÷ limit"

QUANTILES = {"p1": 0.01, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One distribution on a shared axis; places in per cent. Empty `note` where there is a drawing."""

    note: str
    description: str
    p1: str = ""
    p25: str = ""
    p50: str = ""
    largest: str = ""
    whisker: str = ""
    box: str = ""
    beyond: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart: an SVG path and its class."""

    path: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point or a line of a chart, with a sentence for the pointer."""

    x: str
    y: str
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One axis of a chart as it is drawn: its label and its ticks."""

    label: str
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A small chart with two axes. Places are numbers as text; `limit_x` and `limit_y` may be empty.

    `rules` are vertical lines, each with a sentence for the pointer.
    """

    title: str
    description: str
    x: Scale
    y: Scale
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()
    rules: tuple[Mark, ...] = ()
    limit_x: str = ""
    limit_y: str = ""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The different axes of all charts of a page, each with its name: they are drawn once, and charts refer to them."""

    x: Mapping[Scale, str]
    y: Mapping[Scale, str]


def shared(charts: Sequence[Chart]) -> Shared:
    """Names for the axes of some charts, in the order in which they occur."""
    return Shared(
        x={scale: f"x{number}" for number, scale in enumerate(dict.fromkeys(chart.x for chart in charts))},
        y={scale: f"y{number}" for number, scale in enumerate(dict.fromkeys(chart.y for chart in charts))},
    )


def strip_axis(histograms: Sequence[Counts]) -> LogAxis:
    """The axis that all strips share: error ÷ limit from the smallest 1 % to the largest, with 1 on it."""
    ends = [value for counts in histograms for value in histogram.quantiles(counts, (0.01, 1.0))]
    axis = covering(ends, start=3, end=97, always=(0.1, 2.0))
    return LogAxis(low=max(axis.low, 1e-6), high=min(axis.high, 1e6), start=axis.start, end=axis.end)


def strip(counts: Counts, axis: LogAxis) -> Strip:
    """The quantile strip of error ÷ limit: whisker p1 to p99, box p25 to p75, median, maximum, limit."""
    total = int(counts[1].sum())
    if total == 0:
        return Strip(note="no elements compared", description="no distribution")
    values = dict(zip(QUANTILES, histogram.quantiles(counts, list(QUANTILES.values())), strict=True))
    if values["max"] == 0:
        return Strip(
            note=f"all {count(total)} elements exact",
            description=f"all {count(total)} elements are exact",
        )
    places = {name: axis.place(value) for name, value in values.items()}
    spoken = ", ".join(f"{name} {number(values[name])}" for name in ("p50", "p99", "max"))
    return Strip(
        note="",
        description=f"{count(total)} elements, error ÷ limit: {spoken}",
        p1=compact(places["p1"]),
        p25=compact(places["p25"]),
        p50=compact(places["p50"]),
        largest=compact(places["max"]),
        whisker=compact(places["p99"] - places["p1"]),
        box=compact(max(0.4, places["p75"] - places["p25"])),
        beyond=not values["max"] <= 1,
    )


def distribution(counts: Counts, name: str) -> tuple[Chart, Chart]:
    """ECDF and tail of error ÷ limit: F on a linear scale, and 1 − F on a log scale against the same axis."""
    bins, number_in_bin = counts
    total = int(number_in_bin.sum())
    edges = np.array([histogram.centre(int(index)) for index in bins])
    below = np.cumsum(number_in_bin) / total
    x_axis = covering(_between(edges), start=LEFT, end=RIGHT, always=(0.5, 2.0))
    x_axis = LogAxis(low=max(x_axis.low, 1e-6), high=min(x_axis.high, 1e6), start=LEFT, end=RIGHT)
    rising = LinearAxis(low=0, high=1, start=BOTTOM, end=TOP)
    falling = LogAxis(low=10.0 ** math.floor(math.log10(1 / total)), high=1.0, start=BOTTOM, end=TOP)
    exceed = np.concatenate([[total], total - np.cumsum(number_in_bin)[:-1]]) / total
    limit_x = compact(x_axis.place(1.0))
    ratio = Scale(label=RATIO, ticks=_whole(x_axis.ticks(6)))
    over = float(exceed[np.searchsorted(edges, 1.0)]) if not edges[-1] <= 1 else 0.0
    said = f"{number(100 * over)} % of {count(total)} elements lie beyond the limit"
    return (
        Chart(
            title=f"{name}, cumulative",
            description=f"share of elements with at most this error ÷ limit; {said}",
            x=ratio,
            y=Scale(
                label="share of elements",
                ticks=tuple(Tick(place=f"{rising.place(share):.0f}", label=f"{share:g}") for share in (0, 0.5, 1)),
            ),
            lines=(Line(path=_steps(edges, below, x_axis, rising), kind="candidate"),),
            limit_x=limit_x,
        ),
        Chart(
            title=f"{name}, tail",
            description=f"share of elements with a larger error ÷ limit, log scale; {said}",
            x=ratio,
            y=Scale(label="share beyond", ticks=_whole(falling.ticks(5))),
            lines=(Line(path=_steps(edges, exceed, x_axis, falling), kind="candidate"),),
            limit_x=limit_x,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Binned:
    """Per-case worst error ÷ limit in one bin of an input."""

    label: str
    n: int
    median: float
    p99: float
    largest: float
    failing: int


def against_input(bins: Sequence[Binned], quantity: str, name: str) -> Chart:
    """Median, p99 and maximum over cases of the worst error of a quantity, by an input, with the limit."""
    values = [value for entry in bins for value in (entry.median, entry.largest)]
    y_axis = covering(values, start=BOTTOM, end=TOP, always=(0.5, 2.0))
    y_axis = LogAxis(low=max(y_axis.low, 1e-6), high=min(y_axis.high, 1e6), start=BOTTOM, end=TOP)
    step = (RIGHT - LEFT) / len(bins)
    places = [LEFT + step * (index + 1 / 2) for index in range(len(bins))]
    curves = {
        field: path([(x, y_axis.place(getattr(entry, field))) for x, entry in zip(places, bins, strict=True)])
        for field in ("median", "p99", "largest")
    }
    if curves["p99"] == curves["largest"]:
        del curves["p99"]
    marks = tuple(
        Mark(
            x=compact(x),
            y=compact(y_axis.place(entry.largest)),
            kind="fail",
            text=f"{entry.label}: {entry.failing} of {entry.n} fail, max {number(entry.largest)}",
        )
        for x, entry in zip(places, bins, strict=True)
        if entry.failing
    )
    return Chart(
        title=f"{quantity} against {name}",
        description=f"worst error ÷ limit of the cases by {name}, at most {number(_largest(bins))}",
        x=_named(name, [entry.label for entry in bins], places, step),
        y=Scale(label=RATIO, ticks=_whole(y_axis.ticks(5))),
        lines=tuple(Line(path=curve, kind=f"{kind} over-cases") for kind, curve in curves.items()),
        marks=marks,
        limit_y=compact(y_axis.place(1.0)),
    )


def _largest(bins: Sequence[Binned]) -> float:
    return max(entry.largest for entry in bins)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Relative errors of the weights in one bin, over the cases, and what theory expects of them."""

    label: str
    n: int
    median: float
    least: float
    largest: float
    theory: float


def against_theory(points: Sequence[Expected], name: str, far: float) -> Chart:
    """Median, least and largest quantization error of Gaussian weights by an input, with the theory.

    `far` is the largest distance from the expectation, in standard deviations.
    """
    shown = (
        points
        if len(points) <= MOST_POINTS
        else [points[round(at)] for at in np.linspace(0, len(points) - 1, MOST_POINTS)]
    )
    axis = LogAxis(
        low=min(min(point.least, point.theory) for point in shown) / 1.2,
        high=max(max(point.largest, point.theory) for point in shown) * 1.2,
        start=BOTTOM,
        end=TOP,
    )
    step = (RIGHT - LEFT) / len(shown)
    places = [LEFT + step * (index + 1 / 2) for index in range(len(shown))]
    curves = {
        kind: path([(x, axis.place(getattr(point, kind))) for x, point in zip(places, shown, strict=True)])
        for kind in ("theory", "median")
    }
    reach = "".join(
        f"M{x:.0f} {axis.place(point.least):.0f}V{axis.place(point.largest) - 1:.0f}"
        for x, point in zip(places, shown, strict=True)
    )
    return Chart(
        title=f"Quantization error of the weight against {name}, with theory",
        description=f"relative error of normal weights by {name}, at most {number(far)} standard deviations off theory",
        x=_named(name, [point.label for point in shown], places, step),
        y=Scale(label="‖error‖ ÷ ‖weight‖; dotted: theory", ticks=_whole(axis.ticks(5))),
        lines=(Line(path=reach, kind="reach"), *(Line(path=curve, kind=kind) for kind, curve in curves.items())),
    )


def _named(label: str, names: Sequence[str], places: Sequence[float], step: float) -> Scale:
    """An axis of names `step` apart, of which as many are written as there is room for."""
    room = max(1, math.ceil(len(names) * 30 / (RIGHT - LEFT)))
    return Scale(
        label=label,
        ticks=tuple(
            Tick(place=f"{x:.0f}", label=fitted(name, width=step * room, size=10))
            for index, (x, name) in enumerate(zip(places, names, strict=True))
            if index % room == 0
        ),
    )


def _whole(ticks: Sequence[Tick]) -> tuple[Tick, ...]:
    """Ticks at whole units of the drawing, which is finer than their pen."""
    return tuple(Tick(place=f"{float(tick.place):.0f}", label=tick.label) for tick in ticks)


def _between(edges: NDArray[np.float64]) -> list[float]:
    return [float(edge) for edge in (edges[0], edges[-1], *edges[edges > 0][:1])]


def _steps(
    edges: NDArray[np.float64], heights: NDArray[np.float64], x_axis: LogAxis, y_axis: LinearAxis | LogAxis
) -> str:
    points = [
        (x_axis.place(float(edge)), y_axis.place(float(height)) if height < 1 else TOP)
        for edge, height in zip(edges, heights, strict=True)
    ]
    return path(simplified(points, PEN))


def simplified(points: Sequence[tuple[float, float]], pen: float) -> list[tuple[float, float]]:
    """The fewest of the points whose line stays within `pen` of all (Ramer, Douglas and Peucker)."""
    if len(points) < 3:  # noqa: PLR2004  # a line needs its two ends
        return list(points)
    (x0, y0), (x1, y1) = points[0], points[-1]
    length = math.hypot(x1 - x0, y1 - y0)
    distances = [
        abs((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / length if length else math.hypot(x - x0, y - y0)
        for x, y in points
    ]
    farthest = int(np.argmax(distances))
    if distances[farthest] <= pen:
        return [points[0], points[-1]]
    return simplified(points[: farthest + 1], pen)[:-1] + simplified(points[farthest:], pen)


def path(points: Sequence[tuple[float, float]]) -> str:
    """The points as an SVG path, in whole units of the drawing."""
    return "M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in points)
