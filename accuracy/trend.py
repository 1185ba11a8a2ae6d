"""Change points of a series of nights, by ranks: where its level shifted, with a stated rate of false alarms.

Nights of one regime (limits and profile) draw their plans from one distribution with fresh seeds, so while
library and machine stay the same their quantiles are exchangeable. Pettitt's test (Applied Statistics 28, 1979)
needs no more: it takes the split at which the Mann-Whitney statistic of "before" against "after" is largest,
and bounds the chance of that by 2 exp(-6 K² / (n³ + n²)). The bound is shared out over all series that are
looked at (Bonferroni), so the stated rate is that of a whole page. It names a night and decides no verdict.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FALSE_ALARMS = 0.01
"""How often a page names a shift although no series on it has one, at most."""


def change_points(values: Sequence[float] | NDArray[np.float64], *, series: int) -> tuple[int, ...]:
    """Places at which a new level begins, in order: the first value after each shift.

    Args:
        values: one value a night; NaN and infinities rank as larger than any number.
        series: how many series are looked at beside this one, itself included.

    The strongest shift is named first, then what stands on either side of it is looked at again.
    """
    numbers = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=np.inf, posinf=np.inf)
    return tuple(_split(numbers, 0, FALSE_ALARMS / max(1, series)))


def _split(values: NDArray[np.float64], offset: int, allowed: float) -> list[int]:
    if pettitt(values) >= allowed:
        return []
    place = _sharpest(values)
    before = _split(values[:place], offset, allowed)
    return [*before, offset + place, *_split(values[place:], offset + place, allowed)]


def pettitt(values: NDArray[np.float64]) -> float:
    """A bound on the chance of a split that separates the ranks as well as the best does, without any shift.

    At most 1; ties make it larger than it is.
    """
    n = len(values)
    if n < 2:  # noqa: PLR2004  # nothing to split
        return 1.0
    statistic = float(np.abs(_statistic(values)).max())
    return min(1.0, 2 * math.exp(-6 * statistic**2 / (n**3 + n**2)))


def _statistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Mann-Whitney statistic of the first 1, 2, ... values against the rest."""
    _, place, number = np.unique(values, return_inverse=True, return_counts=True)
    midrank = (np.cumsum(number) - (number - 1) / 2)[place]
    size = np.arange(1, len(values))
    return np.asarray(2 * np.cumsum(midrank)[:-1] - size * (len(values) + 1))


def _sharpest(values: NDArray[np.float64]) -> int:
    """How many values come before the split: where two levels fit best, by least squares if all are finite.

    Ranks alone cannot tell a night before the shift that happens to be the highest of its level from one after.
    """
    n, size = len(values), np.arange(1, len(values))
    step = _statistic(values)
    if np.isfinite(values).all():
        step = np.cumsum(values)[:-1] - size * values.mean()
    return int(np.argmax(np.abs(step) / np.sqrt(size * (n - size)))) + 1
