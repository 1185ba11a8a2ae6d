"""What one pass over a comparison adds up: sums, maxima and histograms of errors that are finite.

This is the definition, in numpy; `accuracy.totals` says what usually does it. Elements are taken in blocks that fit
the processor's cache, since here a comparison is a few dozen simple operations on each, and memory is what they would
wait for.
"""

import math
import operator
from collections.abc import Sequence
from functools import reduce
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accuracy import histogram
from accuracy.histogram import Counts
from accuracy.oracles.rounding import ulp

Array = NDArray[np.float64]

BLOCK: Final = 1 << 14
"""Elements in a block: ten arrays of so many are a bit more than a megabyte."""

KEPT: Final = 8
"""How many of the worst elements are kept."""

LANES: Final = 8
"""Partial sums of which a sum is made: its order, and so its last digits, are the same on every processor."""

SHARES: Final = (0.5, 0.99)
"""Which quantiles are told."""

GROUP: Final = 64
"""Elements of which the largest is looked at first, where the worst are looked for."""


def array(values: Tensor | Array) -> Array:
    """The elements of a tensor on the CPU, in its shape, in row-major order and without gaps."""
    return np.ascontiguousarray(values.numpy() if isinstance(values, Tensor) else values)


class Tally(NamedTuple):
    """Of errors e = actual - expected, with expected values y, bounds b and scales s, elementwise.

    Sums: `magnitude` Σ|e|, `total` Σe, `energy` Σe², `cross` Σe·y, `signal` Σy², `spread` Σ(e·y)². Maxima:
    `largest` |e|, `relative` |e| / max(|y|, s), `ratio` |e| / b, `kappa` |e| / s, and `ulps`, |e| in spacings of the
    dtype at y; NaN exceeds every number, and 0 / 0 is 0. `errors` and `ratios` are histograms of |e| and |e| / b;
    `quantiles` those of |e|, then of |e| / max(|y|, s), at `SHARES`, told from histograms. `worst` are ratio and place
    of the elements with the largest ratios above 0, the first of equal ones first.
    """

    errors: Counts
    ratios: Counts
    quantiles: tuple[float, ...] = ()
    worst: tuple[tuple[float, int], ...] = ()
    magnitude: float = 0.0
    total: float = 0.0
    energy: float = 0.0
    cross: float = 0.0
    signal: float = 0.0
    spread: float = 0.0
    largest: float = 0.0
    relative: float = 0.0
    ratio: float = 0.0
    kappa: float = 0.0
    ulps: float = 0.0


class Part(NamedTuple):
    """The tally of one block, without quantiles, and the histogram of |e| / max(|y|, s)."""

    told: Tally
    relatives: Counts


_HISTOGRAMS: Final = ("errors", "ratios")
_SUMS: Final = ("magnitude", "total", "energy", "cross", "signal", "spread")
_MAXIMA: Final = ("largest", "relative", "ratio", "kappa", "ulps")


def of(actual: Array, expected: Array, bound: Array, scale: Array, *, below: float, dtype: torch.dtype) -> Tally | None:
    """The tally of arrays of one dimension and the same, positive length; bounds and scales are not negative.

    Nothing where a value is not finite, or an expected one not smaller than `below`: then classes come first.
    """
    parts = []
    for begin in range(0, actual.size, BLOCK):
        seen, wanted, most, noise = (array[begin : begin + BLOCK] for array in (actual, expected, bound, scale))
        # An infinity less an infinity is not ordinary, and told below.
        with np.errstate(over="ignore", invalid="ignore"):
            exactly = (seen == wanted).all()
            part = (
                exact(wanted, below=below)
                if exactly
                else block(seen - wanted, wanted, most, noise, below=below, dtype=dtype, begin=begin)
            )
        if part is None:
            return None
        parts.append(part)
    told = _added([part.told for part in parts])
    relatives = histogram.merge([part.relatives for part in parts])
    quantiles = (*histogram.quantiles(told.errors, SHARES), *histogram.quantiles(relatives, SHARES))
    return told._replace(quantiles=quantiles)


def _added(parts: Sequence[Tally]) -> Tally:
    # Not `sum`, which compensates from Python 3.12 on: each block joins those before it.
    added: dict[str, Any] = {name: reduce(operator.add, (getattr(part, name) for part in parts)) for name in _SUMS}
    added |= {name: float(np.max([getattr(part, name) for part in parts])) for name in _MAXIMA}
    added |= {name: histogram.merge([getattr(part, name) for part in parts]) for name in _HISTOGRAMS}
    worst = sorted((each for part in parts for each in part.worst), key=by_rank)
    return Tally(**added, worst=tuple(worst[:KEPT]))


def total(values: Array) -> float:
    """The sum of one block: of every `LANES`-th element in order; then the second half of these on the first."""
    rows, rest = np.split(values, [values.size // LANES * LANES])
    lanes = np.add.reduce(rows.reshape(-1, LANES), axis=0, initial=0.0)
    lanes[: rest.size] += rest
    while lanes.size > 1:
        lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
    return float(lanes[0])


def exact(expected: Array, *, below: float) -> Part | None:
    """One block without an error; nothing as in `of`."""
    if not max(float(expected.max()), -float(expected.min())) < below:
        return None
    none = histogram.zeros(expected.size)
    return Part(Tally(signal=total(expected * expected), errors=none, ratios=none), none)


def block(
    error: Array, expected: Array, bound: Array, scale: Array, *, below: float, dtype: torch.dtype, begin: int = 0
) -> Part | None:
    """One block of errors, not all 0, whose first has the place `begin`; nothing as in `of`."""
    size, magnitude = np.abs(error), np.abs(expected)
    largest = float(size.max())
    if not (largest < np.inf and magnitude.max() < below):
        return None
    product = error * expected
    relatives = quotients(size, np.maximum(magnitude, scale, out=magnitude))
    ratios, kappas = quotients(size, bound), quotients(size, scale)
    spacings = ulp(expected, dtype)
    ratio = float(ratios.max())
    told = Tally(
        magnitude=total(size),
        total=total(error),
        energy=total(error * error),
        cross=total(product),
        signal=total(expected * expected),
        spread=total(product * product),
        largest=largest,
        relative=float(relatives.max()),
        ratio=ratio,
        kappa=float(kappas.max()),
        ulps=float(np.divide(size, spacings, out=spacings).max()),
        errors=histogram.count(size),
        ratios=histogram.count(ratios),
        worst=_worst(ratios, ratio, begin),
    )
    return Part(told, histogram.count(relatives))


def quotients(size: Array, divisor: Array) -> Array:
    """|e| / divisor, elementwise: 0 where the error is 0, +inf where an exact value was missed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = size / divisor
    if np.isnan(found.max(initial=0.0)):
        found[size == 0] = 0.0
    return found


def _worst(ratios: Array, largest: float, begin: int) -> tuple[tuple[float, int], ...]:
    """The largest ratios above 0 with their places, NaN among the infinities; `largest` is their maximum."""
    ranked = np.where(np.isnan(ratios), np.inf, ratios) if math.isnan(largest) else ratios
    least = 0.0
    if ranked.size >= KEPT * GROUP:
        # The eighth largest of the maxima of groups: at least eight elements reach it, and few more.
        groups = ranked[: ranked.size // GROUP * GROUP].reshape(-1, GROUP).max(axis=1)
        least = np.partition(groups, -KEPT)[-KEPT]
    places = np.flatnonzero(ranked >= least if least > 0 else ranked > 0)
    first = places[np.argsort(-ranked[places], kind="stable")[:KEPT]]
    return tuple(zip(ratios[first].tolist(), (first + begin).tolist(), strict=True))


def by_rank(each: tuple[float, int]) -> tuple[float, int]:
    """Key that sorts pairs of ratio and place: the largest ratio first, NaN as +inf, equal ones by their place."""
    ratio, place = each
    return (-np.inf if np.isnan(ratio) else -ratio), place
