"""Log-binned histograms of float32 magnitudes: edges, quantiles and merging, on sparse (bin, count) pairs.

A bin is the upper 14 bits of a non-negative float32 (sign, exponent, five bits of mantissa), so one
bin spans 2**-5 of its binade, merging is adding, and no result depends on the order of the rows.
Bin 0 holds exact zeros (and subnormals below 2**-131); the bins from `INFINITY_BIN` on hold
infinities and NaN.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHIFT = 18
"""Bits of a float32 that a bin drops: 23 bits of mantissa less the 5 that are kept."""

INFINITY_BIN = 0x7F800000 >> SHIFT
"""The bin of +inf; every bin above it is NaN."""

BINS = 1 << (31 - SHIFT)
"""How many bins there are: all upper bits of a float32 without its sign."""

Counts: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]


def count(values: ArrayLike) -> Counts:
    """The histogram of non-negative `values`: each is rounded to float32 and falls into one bin.

    -0.0 counts as zero. Values that float32 cannot hold are infinite, values below its subnormals zero.
    """
    with np.errstate(over="ignore", under="ignore"):
        bins = np.abs(np.asarray(values, dtype=np.float32)).reshape(-1).view(np.uint32)
    if bins.size == 0:
        return zeros(0)
    bins >>= SHIFT  # of a copy, as `abs` makes one
    # Of few values it is the empty bins below the lowest that cost, of many the pass that leaves them out.
    lowest = int(bins.min()) if bins.size < BINS else 0
    counts = np.bincount(bins - lowest if lowest else bins)
    occupied = np.flatnonzero(counts)
    return occupied + lowest, counts[occupied]


def zeros(number: int) -> Counts:
    """The histogram of so many zeros."""
    some = [number] if number else []
    return np.zeros(len(some), dtype=np.int64), np.array(some, dtype=np.int64)


def lower_edge(bin_index: int) -> float:
    """The smallest value that falls into the bin; +inf for `INFINITY_BIN`, NaN above it."""
    return _value_of_bits(bin_index << SHIFT)


def centre(bin_index: int) -> float:
    """The middle of the bin: no value in it is farther away than 2**-6 of itself.

    Bin 0 is 0, `INFINITY_BIN` +inf, and every bin above it NaN.
    """
    return _CENTRES.item(bin_index)


def centres(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """The middle of each bin."""
    return _CENTRES[bins]


def quantile(bins: ArrayLike, counts: ArrayLike, q: float) -> float:
    """The q-quantile: centre of the first bin, in rising order, that at least q of the mass reaches.

    NaN counts as larger than +inf, so a histogram with NaN never has a finite maximum. NaN for a
    histogram without mass.

    Raises:
        ValueError: if q lies outside 0 .. 1, or a count is negative.
    """
    if not 0 <= q <= 1:
        raise ValueError(f"quantile {q!r} asked for; q must lie within 0 .. 1")
    return quantiles(merge([(bins, counts)]), (q,))[0]


def quantiles(counts: Counts, shares: Sequence[float]) -> list[float]:
    """The `quantile` of each share, of one histogram with rising bins."""
    bins, number = counts
    if len(bins) == 0:
        return [math.nan] * len(shares)
    reached = number.cumsum()
    needed = [max(1, math.ceil(share * reached.item(-1))) for share in shares]
    found: list[float] = centres(bins[reached.searchsorted(needed)]).tolist()
    return found


def mean(counts: Counts) -> float:
    """The mean of the centres of the bins, each as often as it counts; within 2**-6 of that of the values.

    NaN for a histogram without mass, or with NaN in it.
    """
    bins, number = (_integers(part) for part in counts)
    total = int(number.sum())
    return float((_CENTRES[bins] * number).sum() / total) if total else math.nan


def merge(histograms: Iterable[tuple[ArrayLike, ArrayLike]]) -> Counts:
    """One histogram with the counts of all: bins rising, no bin twice, no empty bin.

    Raises:
        ValueError: if a histogram has not one count per bin, a negative count, or a bin that is none.
    """
    pairs = [(_integers(bins), _integers(counts)) for bins, counts in histograms]
    for bins, counts in pairs:
        if bins.shape != counts.shape:
            raise ValueError(f"{bins.size} bins but {counts.size} counts; each bin needs one count")
    index, added = _joined([bins for bins, _ in pairs]), _joined([counts for _, counts in pairs])
    if len(index) and not 0 <= index.min() <= index.max() < BINS:
        raise ValueError(f"bins {index.min()} to {index.max()} in a histogram; bins lie within 0 .. {BINS - 1}")
    if (added < 0).any():
        raise ValueError(f"count {int(added.min())} in a histogram; counts are never negative")
    total = np.bincount(index, weights=added)  # sums of integers, exact in float64 up to 2**53
    occupied = np.flatnonzero(total)
    return occupied, total[occupied].astype(np.int64)


def _value_of_bits(bits: int) -> float:
    return float(np.uint32(bits).view(np.float32))


def _integers(values: ArrayLike) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.int64)


def _joined(arrays: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, dtype=np.int64), *arrays])


def _centres() -> NDArray[np.float64]:
    bits = np.arange(BINS, dtype=np.uint32) << SHIFT
    bits[1:INFINITY_BIN] |= 1 << (SHIFT - 1)
    with np.errstate(invalid="ignore"):  # some NaN of float32 are signals
        return bits.view(np.float32).astype(np.float64)


_CENTRES: Final = _centres()
