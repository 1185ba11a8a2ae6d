"""Structured residual tests: faults below one ulp of an element, found in what many elements have in common.

Rounding errors are symmetric and independent, so their projection on the signal, over the root of
its squared terms, is sub-Gaussian with unit variance whatever the dtype (a self-normalized sum; de la
Peña, Lai, Shao 2009, theorem 2.14). A common scale fault, a shift, a bad scale of one row, column or
block of the inner dimension adds up instead. At n elements |z| cannot exceed √n, so small tensors
raise no alarm.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from accuracy.compiled import function
from accuracy.roundoff import DOUBLE, gamma
from accuracy.tally import LANES, Array

compiled = function("sums")

Sums = Any
"""One sum, or an array of one a group."""

BLOCKS = 8
"""Into how many runs the inner dimension is cut."""

AT_ONCE = 1 << 16
"""Elements of the contributions of several blocks that are made together; of more, one block at a time."""

LEAST_INNER = 8
"""Inner dimension below which few distinct products exist, so that rounding errors repeat."""


@dataclass(frozen=True, kw_only=True)
class Structure:
    """The strongest structure: its z, its relative effect, and where ("all", "row 3", "column 17", "block 2 of 8").

    `mean` is put before the place for a shift instead of a scale. z is 0 where nothing has the
    size of an effect.
    """

    z: float
    effect: float
    at: str


def strongest(error: Tensor, expected: Tensor, factors: tuple[Tensor, Tensor] | None, least: float) -> Structure:
    """The largest |z| over the whole residual, its rows, its columns, and blocks of the inner dimension.

    `error` and `expected` are float64 [R, C]; `factors` are the operands [R, K] and [C, K] whose
    product `expected` is, or None. Non-finite elements must have been set to zero in both. Effects
    of a relative size up to `least` do not count.
    """
    e, y = error.numpy(), expected.numpy()
    (*by_column, totals, energies), by_row = sums(e, y)
    found = [
        *_slopes(*(each.sum() for each in by_column), least=least, name="all"),
        *_slopes(*by_column, least=least, name="column"),
        *_slopes(*by_row, least=least, name="row"),
        *_means(totals.sum(), energies.sum(), by_column[2].sum(), number=e.size, least=least, name="all"),
        *_means(totals, energies, by_column[2], number=e.shape[0], least=least, name="column"),
    ]
    if factors is not None:
        found += _blocks(e, factors, least)
    return max(found, key=lambda structure: abs(structure.z), default=Structure(z=0.0, effect=0.0, at=""))


def sums(error: Array, expected: Array) -> tuple[Array, Array]:
    """Σe·y, Σ(e·y)², Σy², Σe and Σe² by column, [5, C], in the order of the rows; the first three by row, [3, R].

    A row is summed as `accuracy.tally.total` sums. Both arrays are [R, C].
    """
    rows, columns = error.shape
    if compiled is None or not error.size:
        return sums_in_numpy(error, expected)
    found = np.frombuffer(compiled(error.ravel(), expected.ravel(), columns))
    return found[: 5 * columns].reshape(5, columns), found[5 * columns :].reshape(3, rows)


def sums_in_numpy(error: Array, expected: Array) -> tuple[Array, Array]:
    """What `sums` are."""
    rows, columns = error.shape
    product = error * expected
    terms = (product, product * product, expected * expected)
    begun = np.zeros((1, columns))
    by_column = [
        # Not reduced, since of a single column numpy adds the halves.
        np.add.accumulate(np.concatenate([begun, each]), axis=0)[-1]
        for each in (*terms, error, error * error)
    ]
    whole = columns // LANES * LANES
    by_row = []
    for each in terms:
        lanes = np.add.reduce(each[:, :whole].reshape(rows, whole // LANES, LANES), axis=1, initial=0.0)
        lanes[:, : columns - whole] += each[:, whole:]
        while lanes.shape[1] > 1:
            lanes = lanes[:, : lanes.shape[1] // 2] + lanes[:, lanes.shape[1] // 2 :]
        by_row.append(lanes[:, 0])
    return np.array(by_column), np.array(by_row)


def _slopes(cross: Sums, spread: Sums, signal: Sums, *, least: float, name: str) -> list[Structure]:
    """Slope of the error on the signal, Σe·y / Σy², and its z = Σe·y / √Σ(e·y)², from the sums of each group."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _largest(cross / np.sqrt(spread), cross / signal, least, name)


def _means(total: Sums, energy: Sums, signal: Sums, *, number: int, least: float, name: str) -> list[Structure]:
    """Mean of the error, relative to the root mean square of the signal, and its z = Σe / √Σe²."""
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = total / number / np.sqrt(signal / number)
        return _largest(total / np.sqrt(energy), effect, least, f"mean of {name}")


def _blocks(error: Sums, factors: tuple[Tensor, Tensor], least: float) -> list[Structure]:
    """Slope of the error on what each block of the inner dimension contributes: runs of ⌈K / BLOCKS⌉ elements."""
    left, right = (factor.numpy() for factor in factors)
    inner = left.shape[1]
    size = -(-inner // BLOCKS)
    count = -(-inner // size)
    reached = np.arange(count)
    if size * sum(error.shape) < error.size:  # products of the operands with themselves cost less than with each other
        reached = reached[_can_reach(error, left, right, size, least)]
    if not reached.size:
        return []
    cross, spread, signal = np.zeros(count), np.ones(count), np.ones(count)  # no effect at all
    lefts, rights = _cut(left, size), _cut(right, size)
    at_once = max(1, AT_ONCE // max(1, error.size))
    for begin in range(0, reached.size, at_once):
        some = reached[begin : begin + at_once]
        cross[some], spread[some], signal[some] = _projected(error, lefts[some], rights[some], least)
    return _slopes(cross, spread, signal, least=least, name=f"block {{}} of {count} of the inner dimension")


def _cut(factor: Sums, size: int) -> Sums:
    """A matrix [R, K] as blocks [⌈K / size⌉, R, size], the last filled up with zeros."""
    rows, inner = factor.shape
    count = -(-inner // size)
    if inner < count * size:
        factor = np.concatenate([factor, np.zeros((rows, count * size - inner))], axis=1)
    return factor.reshape(rows, count, size).transpose(1, 0, 2)


def _can_reach(error: Sums, left: Sums, right: Sums, size: int, least: float) -> Sums:
    """Whether the slope on each block can exceed `least`, told without its contributions p = l·rᵀ, which cost most.

    Σe·p is the trace of lᵀ·e·r, and Σp² that of (lᵀl)(rᵀr). In whatever order and by whichever of both formulas
    they are summed, two results differ by at most 2γ·‖e‖·m and 4γ·m², where m = Σ‖l_k‖·‖r_k‖ over the columns k of
    the block, and γ that of as many terms (Higham 2002, sections 3.1 and 3.5, and Cauchy-Schwarz); twice that is
    granted, for what is computed of these bounds. Where something is not finite, anything can be reached.
    """
    begins = np.arange(0, left.shape[1], size)
    with np.errstate(invalid="ignore", over="ignore"):
        grams = [tuple(cut.T @ cut for cut in (left[:, k : k + size], right[:, k : k + size])) for k in begins]
        squares = np.array([np.vdot(one, other) for one, other in grams])
        most = np.array([np.sqrt(one.diagonal() * other.diagonal()).sum() for one, other in grams])
        apart = gamma(error.size + sum(error.shape) + size, DOUBLE)
        norm, unsure = (1 + apart) * np.sqrt(np.einsum("rc,rc->", error, error)), 8 * apart * most * most
        reach = least * (1 - apart) * (squares - unsure) - 4 * apart * norm * most
        # By Cauchy-Schwarz, which is enough for errors of float32; else from the sums themselves, by whichever order
        # of the three factors has the smaller product of two.
        if (norm * np.sqrt(squares + unsure) <= reach).all():
            return np.zeros(begins.size, dtype=bool)
        by_inner = (
            np.einsum("kc,ck->k", left.T @ error, right)
            if left.shape[0] > right.shape[0]
            else np.einsum("rk,rk->k", error @ right, left)
        )
        within = np.abs(np.add.reduceat(by_inner, begins)) <= reach
    return ~within


def _projected(error: Sums, left: Sums, right: Sums, least: float) -> tuple[Sums, Sums, Sums]:
    """Σe·p, Σ(e·p)² and Σp² of what each block contributes, p; where that is not finite it counts as zero.

    Where no sum can reach `least`, in whatever order it is taken, they are 0, 1 and 1: no effect at all. Two orders
    of Σe·p differ by at most 2·γ_n·‖e‖·‖p‖, and of Σp² by 2·γ_n·Σp² (Higham 2002, section 3.1, and Cauchy-Schwarz).
    """
    parts = np.matmul(left, right.transpose(0, 2, 1))
    flat = error.reshape(-1)
    rough, whole = np.abs(parts.reshape(len(parts), -1) @ flat), np.einsum("brc,brc->b", parts, parts)
    apart = 2 * gamma(flat.size + 2, DOUBLE)  # two more for the products and the root here
    reached = rough + apart * np.sqrt((flat @ flat) * whole)
    if np.isfinite(whole).all() and (reached <= least * (1 - apart) * whole).all():
        return np.zeros(len(parts)), np.ones(len(parts)), np.ones(len(parts))
    if not np.isfinite(parts.sum()):
        parts = np.nan_to_num(parts, nan=0.0, posinf=0.0, neginf=0.0)
    signal = np.square(parts).sum(axis=(1, 2))
    parts *= error
    return parts.sum(axis=(1, 2)), np.square(parts).sum(axis=(1, 2)), signal


def _largest(z: Sums, effect: Sums, least: float, name: str) -> list[Structure]:
    """The group with the largest |z| among those whose effect counts; none where no group has one."""
    z, effect = np.atleast_1d(z), np.atleast_1d(effect)
    counts = np.where((np.abs(effect) > least) & np.isfinite(z), np.abs(z), 0.0)
    at = int(counts.argmax()) if counts.size else 0
    if not counts.size or counts[at] == 0:
        return []
    place = name.format(at) if "{}" in name else name if z.size == 1 else f"{name} {at}"
    return [Structure(z=float(z[at]), effect=float(effect[at]), at=place)]
