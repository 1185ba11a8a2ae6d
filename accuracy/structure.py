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
from numpy.typing import NDArray
from torch import Tensor

from accuracy.compiled import function
from accuracy.roundoff import DOUBLE, UNIT, gamma
from accuracy.tally import LANES, Array, total

compiled = function("sums")
compiled_projected = function("projected")

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
    rows, columns = e.shape
    (*by_column, totals, energies), by_row = sums(e, y)
    cross, spread, signal = (
        np.concatenate([[of.sum()], of, others]) for of, others in zip(by_column, by_row, strict=True)
    )
    total_of, energy, power = (np.concatenate([[of.sum()], of]) for of in (totals, energies, by_column[2]))
    number = np.full(1 + columns, rows)
    number[0] = e.size
    blocks = np.empty((0, 3))
    if factors is not None:
        blocks = _blocks(e, factors, least, quiet=bool(energy[0] <= least * least * signal[0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = _slopes(cross, spread, signal), _slopes(*blocks.T)
        means = total_of / np.sqrt(energy), total_of / number / np.sqrt(power / number)
    z, effect = (np.concatenate(each) for each in zip(slopes[0], means, slopes[1], strict=True))
    counts = np.where((np.abs(effect) > least) & np.isfinite(z), np.abs(z), 0.0)
    at = int(counts.argmax())
    if counts[at] == 0:
        return Structure(z=0.0, effect=0.0, at="")
    return Structure(z=float(z[at]), effect=float(effect[at]), at=_place(at, rows, columns, len(blocks)))


def _slopes(cross: Array, spread: Array, signal: Array) -> tuple[Array, Array]:
    """Of each group z = Σe·y / √Σ(e·y)², and the slope of the error on the signal, Σe·y / Σy²."""
    return cross / np.sqrt(spread), cross / signal


def _place(at: int, rows: int, columns: int, blocks: int) -> str:
    """The name of a group by its number: slopes of all, columns and rows, means of all and columns, then blocks."""
    for prefix, group, size in (("", "column", columns), ("", "row", rows), ("mean of ", "column", columns)):
        whole = group == "column"
        if whole and at == 0:
            return f"{prefix}all"
        at -= whole
        if at < size:
            return f"{prefix}{group} {at}"
        at -= size
    return f"block {at} of {blocks} of the inner dimension"


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


def _blocks(error: Array, factors: tuple[Tensor, Tensor], least: float, *, quiet: bool) -> Array:
    """`projected` on what each block of the inner dimension contributes: runs of ⌈K / BLOCKS⌉ elements.

    Where the error is `quiet`, smaller than what counts of the whole product, or larger than what is made at once, it
    is looked first which blocks can have an effect: their contributions need not be made, or be kept.
    """
    left, right = (factor.numpy() for factor in factors)
    inner = left.shape[1]
    size = -(-inner // BLOCKS)
    lefts, rights = _cut(left, size), _cut(right, size)
    count = len(lefts)
    reached = np.arange(count)
    # Products of the operands with themselves must cost less than with each other.
    if (quiet or error.size > AT_ONCE) and size * sum(error.shape) < error.size:
        reached = reached[_can_reach(error, (left, right), (lefts, rights), least)]
    found = np.tile([0.0, 1.0, 1.0], (count, 1))  # no effect at all
    at_once = max(1, AT_ONCE // max(1, error.size))
    for begin in range(0, reached.size, at_once):
        some: Any = reached[begin : begin + at_once]
        if some.size == count:
            some = slice(None)  # which copies nothing
        with np.errstate(invalid="ignore", over="ignore"):
            # Of float32 they take half the time. What is lost of e·p is at most γ_k·|e|·|l||r|ᵀ, k the block's columns.
            one, other = (blocks[some].astype(np.float32) for blocks in (lefts, rights))
            parts = np.matmul(one, other.transpose(0, 2, 1))
        found[some] = projected(error, parts)
    return found


def projected(error: Array, parts: NDArray[np.float32]) -> Array:
    """Σe·p, Σ(e·p)² and Σp² for each of the parts [P, R, C] of an error [R, C], as [P, 3].

    An element of a part that is not finite counts as 0. Each is summed as `accuracy.tally.total` sums.
    """
    if compiled_projected is None or not error.size:
        return projected_in_numpy(error, parts)
    return np.frombuffer(compiled_projected(error.ravel(), parts.ravel())).reshape(len(parts), 3)


def projected_in_numpy(error: Array, parts: NDArray[np.float32]) -> Array:
    """What `projected` are."""
    found = np.zeros((len(parts), 3))
    for place, part in enumerate(np.where(np.isfinite(parts), parts, 0.0).astype(np.float64)):
        product = error * part
        found[place] = [total(each.ravel()) for each in (product, product * product, part * part)]
    return found


def _cut(factor: Array, size: int) -> Array:
    """A matrix [R, K] as blocks [⌈K / size⌉, R, size], the last filled up with zeros."""
    rows, inner = factor.shape
    count = -(-inner // size)
    if inner < count * size:
        factor = np.concatenate([factor, np.zeros((rows, count * size - inner))], axis=1)
    return factor.reshape(rows, count, size).transpose(1, 0, 2)


def _can_reach(
    error: Array, factors: tuple[Array, Array], blocks: tuple[Array, Array], least: float
) -> NDArray[np.bool_]:
    """Whether the slope on each block can exceed `least`, told without its contributions p = l·rᵀ, which cost most.

    Σe·p is the trace of lᵀ·e·r, and Σp² that of (lᵀl)(rᵀr). In whatever order and by whichever of both formulas
    they are summed, two results differ by at most 2γ·‖e‖·m and 4γ·m², where m = Σ‖l_k‖·‖r_k‖ over the columns k of
    the block, and γ that of as many terms (Higham 2002, sections 3.1 and 3.5, and Cauchy-Schwarz); twice that is
    granted, for what is computed of these bounds. That contributions are made in float32 counts as more terms. Where
    something is not finite, anything can be reached. `blocks` are the factors as `_cut` cuts them.
    """
    left, right = factors
    size = blocks[0].shape[2]
    begins = np.arange(0, left.shape[1], size)
    with np.errstate(invalid="ignore", over="ignore"):
        one, other = (np.matmul(cut.transpose(0, 2, 1), cut) for cut in blocks)
        squares = np.einsum("bkl,bkl->b", one, other)
        most = np.sqrt(np.einsum("bkk->bk", one) * np.einsum("bkk->bk", other)).sum(axis=1)
        apart = gamma(error.size + sum(error.shape) + size, DOUBLE) + gamma(size + 2, UNIT["float32"])
        norm, unsure = (1 + apart) * np.sqrt(np.vdot(error, error)), 8 * apart * most * most
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
        within: NDArray[np.bool_] = np.abs(np.add.reduceat(by_inner, begins)) <= reach
    return ~within
