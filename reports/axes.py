"""Axes of the charts: where a value lies, which ticks are drawn and which labels fit."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports.words import number

CHARACTER = 0.58
"""Width of a character of the page's font, in units of its size: the mean over digits and letters."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """One tick: its place in the units of the drawing, as text, and its label."""

    place: str
    label: str


@dataclass(frozen=True, kw_only=True)
class LogAxis:
    """A logarithmic axis from `low` to `high` (both positive), drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a value lies; zero and what is below the axis at its start, beyond it and NaN at its end."""
        return self.places((value,))[0]

    def places(self, values: Iterable[float]) -> list[float]:
        """Where each value lies."""
        low, high, start, end = self.low, self.high, self.start, self.end
        length, span = math.log(high / low), end - start
        return [
            end if not value < high
            else start if value <= low
            else round(start + math.log(value / low) / length * span, 2)
            for value in values
        ]  # fmt: skip

    def ticks(self, room: int) -> tuple[Tick, ...]:
        """At most `room` labelled ticks: whole decades where two or more fit, else 1, 2, 5 of each."""
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        decades = [10.0**power for power in range(first, last + 1)]
        if len(decades) < 2:  # noqa: PLR2004  # one tick is no scale
            decades = [
                step * 10.0**power
                for power in range(first - 1, last + 1)
                for step in (1, 2, 5)
                if self.low <= step * 10.0**power <= self.high
            ]
        every = max(1, math.ceil(len(decades) / room))
        kept = [value for value in decades if _from_one(value) % every == 0] if every > 1 else decades
        return tuple(Tick(place=compact(self.place(value)), label=number(value)) for value in kept)


@dataclass(frozen=True, kw_only=True)
class LinearAxis:
    """A linear axis from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def places(self, values: Iterable[float]) -> list[float]:
        """Where each value lies, held within the axis; NaN at its end."""
        low, high, start, end = self.low, self.high, self.start, self.end
        length, span = high - low, end - start
        return [
            end if not value < high else round(start + max(0.0, (value - low) / length) * span, 2) for value in values
        ]

    def place(self, value: float) -> float:
        """Where a value lies."""
        return self.places((value,))[0]


def covering(values: Sequence[float], *, start: float, end: float, always: Sequence[float] = ()) -> LogAxis:
    """A log axis of whole decades around the positive finite values and around `always`."""
    positive = [value for value in (*values, *always) if 0 < value < math.inf]
    if not positive:
        positive = [1.0]
    first, last = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return LogAxis(low=10.0**first, high=10.0 ** max(last, first + 1), start=start, end=end)


def compact(value: float) -> str:
    """A place as short text: tenths of a unit are finer than any pen."""
    return f"{value:.1f}".removesuffix(".0")


def fitted(text: str, *, width: float, size: float) -> str:
    """A label cut to a width, both in the units of the drawing, with an ellipsis where it was cut."""
    longest = max(1, math.floor(width / (CHARACTER * size)))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _from_one(value: float) -> int:
    """How many decades a power of ten lies from 1, so that thinned ticks always keep the limit."""
    return round(math.log10(value))
