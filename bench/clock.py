"""Times of things that take turns, so that whatever else the machine does falls on all of them alike."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Seconds of one thing, one number a turn."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median; 0 for a single turn."""
        if len(self.seconds) < 2 or not self.median:  # noqa: PLR2004  a quartile takes two
            return 0.0
        lower, _, upper = statistics.quantiles(self.seconds, n=4)
        return (upper - lower) / 2 / self.median


def in_turn(
    things: Mapping[str, Callable[[], object]], *, turns: int, now: Callable[[], float] = time.perf_counter
) -> dict[str, Sample]:
    """Times each of `things` once a turn, after one turn that does not count, in an order that goes round."""
    names = list(things)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for thing in things.values():
        thing()
    # What a process of the benchmark holds besides, a night's plan for one, is not looked through in the middle of a
    # case: workers freeze what they were forked with, too.
    gc.collect()
    gc.freeze()
    for turn in range(turns):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            began = now()
            things[name]()
            seconds[name].append(now() - began)
    return {name: Sample(seconds=tuple(values)) for name, values in seconds.items()}


def ratio(one: Sample, other: Sample) -> Sample:
    """The quotients turn by turn: what disturbs a turn disturbs both."""
    return Sample(seconds=tuple(a / b for a, b in zip(one.seconds, other.seconds, strict=True)))


def difference(one: Sample, other: Sample) -> Sample:
    """The differences turn by turn."""
    return Sample(seconds=tuple(a - b for a, b in zip(one.seconds, other.seconds, strict=True)))


def total(samples: Sequence[Sample]) -> Sample:
    """The sums turn by turn."""
    return Sample(seconds=tuple(map(sum, zip(*(sample.seconds for sample in samples), strict=True))))
