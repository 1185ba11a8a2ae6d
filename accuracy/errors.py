"""The errors of a comparison against one model, special values apart, and how far beyond its bound they are."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from msgspec.msgpack import Ext
from numpy.typing import NDArray
from torch import Tensor

from accuracy import classes, fingerprint, tally, totals
from accuracy.comparison import Model
from accuracy.oracles.rounding import overflow_threshold
from accuracy.totals import Parts, Totals


class Errors(NamedTuple):
    """The elements of a comparison, and the totals of those that are finite, None if nothing is.

    `parts` are values seen, expected ones, bounds and scales. `places` says which elements are finite and `wrong`
    which are of the wrong class, in row-major order; both are None in the ordinary case that all is finite, as it
    should be.
    """

    parts: Parts
    told: Totals | None
    places: NDArray[np.int64] | None = None
    wrong: NDArray[np.int64] | None = None

    @property
    def ratio(self) -> float:
        """The worst error over its bound: infinite where an element is of the wrong class, NaN if there is none."""
        if self.wrong is not None and self.wrong.size:
            return math.inf
        if self.told is not None:
            return self.told.ratio
        return 0.0 if self.parts[0].numel() else math.nan

    @property
    def samples(self) -> tuple[Ext, Ext]:
        """Some of the values seen, and how far each may be off."""
        if self.told is not None and self.places is None:
            return self.told.samples
        seen, _, bound, _ = self.parts
        return fingerprint.sample(tally.array(seen)), fingerprint.sample(tally.array(bound))


def against(actual: Tensor, model: Model, dtype: torch.dtype) -> Errors:
    """The errors of `actual`, float64 and of the model's shape, against it."""
    parts = actual, model.expected, model.bound, model.scale
    # Where all is finite and |expected| stays below the threshold, an end of every interval around it does, too.
    below = min(overflow_threshold(dtype), model.overflow)
    told = totals.of(parts, actual.shape, below=below, dtype=dtype) if actual.numel() else None
    return Errors(parts, told) if told is not None else _with_special_values(parts, actual.shape, below, dtype)


def _with_special_values(parts: Parts, shape: Sequence[int], below: float, dtype: torch.dtype) -> Errors:
    """The errors where some are not finite, or beyond a threshold, or where there are none."""
    wrong, places, finite = classes.of(parts, below)
    if not places.size:
        return Errors(parts, None, places, wrong)
    told = totals.of(finite, places.shape, below=math.inf, dtype=dtype)
    if told is not None:
        for element in told.worst:
            element["index"] = totals.index_of(int(places[element["index"][0]]), shape)
    return Errors(parts, told, places, wrong)


def ratio_beyond(found: Errors, entries: int, outliers: int) -> float:
    """The largest ratio once the `outliers` largest of each of so many entries of the first dimension are left out.

    An entry that has no more elements than that has none left; a special value as it should be is no outlier.
    """
    if found.told is not None and found.places is None:
        among = _beyond(found.told, outliers)
        if among is not None:
            return among
    actual, expected, bound, _ = (each.ravel() for each in totals.arrays(found.parts))
    finite = slice(None) if found.places is None else found.places
    ratios = np.zeros(actual.size)
    ratios[finite] = tally.quotients(np.abs(actual[finite] - expected[finite]), bound[finite])
    if np.isnan(ratios).any():
        return math.nan
    table = ratios.reshape(entries, -1)
    if table.shape[1] <= outliers:
        return 0.0
    # Sorted, not partitioned, which takes ten times as long where most are equal, as where most have no error; and
    # first the entry with the largest, since few others then have so many elements beyond that.
    least = np.sort(table[table.max(axis=1).argmax()])[-1 - outliers]
    others = np.count_nonzero(table > least, axis=1) > outliers
    return float(np.sort(table[others], axis=1)[:, -1 - outliers].max(initial=least))


def _beyond(told: Totals, outliers: int) -> float | None:
    """What `ratio_beyond` is, told from the worst elements; None if these do not tell."""
    if math.isnan(told.ratio):
        return math.nan
    met: dict[int, int] = {}
    for element in told.worst:
        entry = element["index"][0]
        met[entry] = met.get(entry, 0) + 1
        if met[entry] > outliers:
            ratio: float = element["ratio"]
            return ratio  # they are in order, and every element that is not there is smaller
    return 0.0 if len(told.worst) < tally.KEPT else None
