"""Geometry of the small charts: from numbers to places and paths, which the macros only draw.

Every chart has a fixed drawing of `WIDTH` by `HEIGHT` units.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.axes import LogAxis, Tick, compact, covering, fitted
from reports.words import number

WIDTH, HEIGHT = 320.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 308.0, 14.0, 134.0

PEN = 0.7
"""What is nearer to a line than this, in units of the drawing, does not show beside it."""

MOST_POINTS = 8
"""Places on an axis of names that can still be told apart."""

RATIO = "error ÷ limit"


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
        y=Scale(label=RATIO, ticks=whole(y_axis.ticks(5))),
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
        y=Scale(label="‖error‖ ÷ ‖weight‖; dotted: theory", ticks=whole(axis.ticks(5))),
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


def whole(ticks: Sequence[Tick]) -> tuple[Tick, ...]:
    """Ticks at whole units of the drawing, which is finer than their pen."""
    return tuple(Tick(place=f"{float(tick.place):.0f}", label=tick.label) for tick in ticks)


def simplified(points: Sequence[tuple[float, float]], pen: float) -> list[tuple[float, float]]:
    """The fewest of the points whose line stays within `pen` of all (Ramer, Douglas and Peucker)."""
    x, y = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return [points[place] for place in _kept(x, y, 0, len(points) - 1, pen)]


def _kept(x: NDArray[np.float64], y: NDArray[np.float64], first: int, last: int, pen: float) -> list[int]:
    """The places of the points that are kept from `first` to `last`."""
    if last - first < 2:  # noqa: PLR2004  # a line needs its two ends
        return list(range(first, last + 1))
    dx, dy = x[last] - x[first], y[last] - y[first]
    beside_x, beside_y = x[first : last + 1] - x[first], y[first : last + 1] - y[first]
    length = math.hypot(dx, dy)
    distances = np.abs(dx * beside_y - dy * beside_x) / length if length else np.hypot(beside_x, beside_y)
    farthest = int(np.argmax(distances))
    if distances[farthest] <= pen:
        return [first, last]
    return _kept(x, y, first, first + farthest, pen)[:-1] + _kept(x, y, first + farthest, last, pen)


def path(points: Sequence[tuple[float, float]]) -> str:
    """The points as an SVG path, in whole units of the drawing."""
    return "M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in points)
