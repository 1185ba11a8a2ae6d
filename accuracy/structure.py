"""Structured residual tests: faults below one ulp of an element, found in what many elements have in common.

Rounding errors are symmetric and independent, so their projection on the signal, over the root of
its squared terms, is sub-Gaussian with unit variance whatever the dtype (a self-normalized sum; de la
Peña, Lai, Shao 2009, theorem 2.14). A common scale fault, a shift, a bad scale of one row, column or
block of the inner dimension adds up instead. At n elements |z| cannot exceed √n, so small tensors
raise no alarm.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from accuracy.compiled import function
from accuracy.roundoff import DOUBLE, UNIT, gamma
from accuracy.tally import LANES, Array, total

compiled = function("strongest")
compiled_projected = function("projected")

BLOCKS = 8
"""Into how many runs the inner dimension is cut."""

AT_ONCE = 1 << 16
"""Elements of the contributions of several blocks that are made together; of more, one block at a time."""

CHEAP, CHEAP_OF_NARROW = 0.3, 60
"""Up to which share of the product of the operands, in elements, their products with themselves are made first: a
constant one, and another divided by the inner dimension K. *Measured* on one CPU with AVX-512: 0.05 ns a term of those
narrow products, and of the contributions 0.03·K + 6 ns an element, since each is looked through; half of that."""

SMALL = 2.0**-60
"""The mean square of a column of an operand above which float32 loses next to nothing to underflow, at most 2**-150 an
operation: squares are 2**-60 then, and products with both operands of errors as small as 2**-60, 2**-120."""

RUN = 4096
"""Rows that are summed in float32. γ of them is 2.4e-4; of 65,600 in one sum it is 3.9e-3, where float32 may lose more
than the least effect of a result in float16 (`_out_of_reach`)."""

SELDOM = 4
"""How many of its standard deviations a slope seldom is."""

LEAST_INNER = 8
"""Inner dimension below which few distinct products exist, so that rounding errors repeat."""


class Structure(NamedTuple):
    """The strongest structure: its z, its relative effect, and where ("all", "row 3", "column 17", "block 2 of 8").

    `mean` is put before the place for a shift instead of a scale. z is 0 where nothing has the
    size of an effect.
    """

    z: float
    effect: float
    at: str


Single = NDArray[np.float32]

NONE = Structure(z=0.0, effect=0.0, at="")


def strongest(error: Array, expected: Array, factors: tuple[Tensor, Tensor] | None, least: float) -> Structure:
    """The largest |z| over the whole residual, its rows, its columns, and blocks of the inner dimension.

    `error` and `expected` are float64 [R, C]; `factors` are the operands [R, K] and [C, K] whose
    product `expected` is, or None. Non-finite elements must have been set to zero in both. Effects
    of a relative size up to `least` do not count.
    """
    if not error.size:
        return NONE
    blocks = np.empty((0, 3)) if factors is None else _blocks(error, expected, factors, least)
    z, effect, at = (compiled or strongest_in_numpy)(error, expected, blocks, least)
    return Structure(z=z, effect=effect, at=_place(at, error.shape[0], error.shape[1], len(blocks))) if z else NONE


def strongest_in_numpy(error: Array, expected: Array, blocks: Array, least: float) -> tuple[float, float, int]:
    """z, effect and number of the strongest structure, given `projected` of the blocks; 0 where there is none."""
    rows, columns = error.shape
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        (*by_column, totals, energies), by_row = sums(error, expected)
        cross, spread, signal = (
            np.concatenate([[total(of)], of, others]) for of, others in zip(by_column, by_row, strict=True)
        )
        total_of, energy, power = (np.concatenate([[total(of)], of]) for of in (totals, energies, by_column[2]))
        number = np.full(1 + columns, rows)
        number[0] = error.size
        slopes = _slopes(cross, spread, signal), _slopes(*blocks.T)
        means = total_of / np.sqrt(energy), total_of / number / np.sqrt(power / number)
    z, effect = (np.concatenate(each) for each in zip(slopes[0], means, slopes[1], strict=True))
    counts = np.where((np.abs(effect) > least) & np.isfinite(z), np.abs(z), 0.0)
    at = int(counts.argmax())
    return (z.item(at), effect.item(at), at) if counts[at] else (0.0, 0.0, 0)


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


def _blocks(error: Array, expected: Array, factors: tuple[Tensor, Tensor], least: float) -> Array:
    """`projected` on what each block of the inner dimension contributes: runs of ⌈K / BLOCKS⌉ elements.

    Contributions are made in float32, which takes half the time: what is lost of e·p is at most γ_k·|e|·|l||r|ᵀ, k the
    block's columns. Where it costs less, it is looked first whether any block can have an effect.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        left, right = (factor.numpy().astype(np.float32) for factor in factors)
        lefts, rights = _cut(left), _cut(right)
        if _out_of_reach(error, expected, (left, right), (lefts, rights), least):
            return np.empty((0, 3))
        at_once = max(1, AT_ONCE // error.size)
        rights = rights.transpose(0, 2, 1)
        found = [
            projected(error, np.matmul(lefts[begin : begin + at_once], rights[begin : begin + at_once]))
            for begin in range(0, len(lefts), at_once)
        ]
    return found[0] if len(found) == 1 else np.concatenate(found)


def projected(error: Array, parts: NDArray[np.float32]) -> Array:
    """Σe·p, Σ(e·p)² and Σp² for each of the parts [P, R, C] of an error [R, C], as [P, 3].

    An element of a part that is not finite counts as 0. Each is summed as `accuracy.tally.total` sums.
    """
    if compiled_projected is None or not error.size:
        return projected_in_numpy(error, parts)
    return np.frombuffer(compiled_projected(error, parts)).reshape(len(parts), 3)


def projected_in_numpy(error: Array, parts: NDArray[np.float32]) -> Array:
    """What `projected` are."""
    found = np.zeros((len(parts), 3))
    for place, part in enumerate(np.where(np.isfinite(parts), parts, 0.0).astype(np.float64)):
        product = error * part
        found[place] = [total(each.ravel()) for each in (product, product * product, part * part)]
    return found


def _cut(factor: Single) -> Single:
    """A matrix [R, K] as blocks [⌈K / k⌉, R, k] of k = ⌈K / BLOCKS⌉ columns, the last filled up with zeros."""
    rows, inner = factor.shape
    size = -(-inner // BLOCKS)
    count = -(-inner // size)
    if inner < count * size:
        factor = np.concatenate([factor, np.zeros((rows, count * size - inner), np.float32)], axis=1)
    return factor.reshape(rows, count, size).transpose(1, 0, 2)


def _out_of_reach(
    error: Array, expected: Array, factors: tuple[Single, Single], blocks: tuple[Single, Single], least: float
) -> bool:
    """Whether no slope on a block can exceed `least`, told without its contributions p = l·rᵀ, which cost most.

    Σp² is the trace of (lᵀl)(rᵀr), and |Σe·p| at most ‖e‖·‖p‖ by Cauchy-Schwarz, which is enough where errors are those
    of float32; or it is told from the trace of lᵀ·e·r. In whatever order and by whichever of both formulas they are
    summed, two results differ by at most 2γ·‖e‖·m and 4γ·m², where m = Σ‖l_k‖·‖r_k‖ over the columns k of the block,
    and γ that of as many terms as float32 sums, RUN rows at most (Higham 2002, sections 3.1 and 3.5), where nothing is
    so small that it has fewer digits there; twice that is granted, for what is computed of these bounds. False where
    something is not finite, too.

    It is not tried where it costs more than half of the contributions (CHEAP, as measured); nor where errors are so
    large that slopes exceed `least` by chance: where errors have nothing to do with the contributions, and these share
    the energy of the product evenly, the standard deviation of a slope of n elements is ‖e‖ / (‖p‖·√n).
    `factors` and, as `_cut` cuts them, `blocks` are those of the product, rounded to float32.
    """
    left, right = factors
    count, _, size = blocks[0].shape
    if size * sum(error.shape) > (CHEAP + CHEAP_OF_NARROW / left.shape[1]) * error.size:
        return False
    energy = np.vdot(error, error)
    if not SELDOM**2 * count * energy <= least**2 * np.vdot(expected, expected) * error.size:
        return False
    one, other = (_over_rows(cut, cut).astype(np.float64) for cut in blocks)
    lengths = [np.einsum("bkk->bk", each) for each in (one, other)]
    least_length = min(each.ravel()[: left.shape[1]].min() for each in lengths)  # without columns filled up with zeros
    if not (energy > SMALL**2 * error.size and least_length > SMALL * max(error.shape)):
        return False
    squares = np.einsum("bkl,bkl->b", one, other)
    most = np.sqrt(lengths[0] * lengths[1]).sum(axis=1)
    terms = sum(min(each, RUN) for each in error.shape) + 2 * size + 6
    apart = gamma(error.size, DOUBLE) + gamma(terms, UNIT["float32"])
    norm, unsure = (1 + apart) * np.sqrt(energy), 8 * apart * most * most
    reach = least * (1 - apart) * (squares - unsure) - 4 * apart * norm * most
    if (norm * np.sqrt(squares + unsure) <= reach).all():
        return True
    # By whichever order of the three factors has the smaller product of two.
    inner, outer = (left, right) if len(left) > len(right) else (right, left)
    narrow = (error if inner is left else error.T).astype(np.float32)
    slopes = np.add.reduceat(
        np.einsum("ko,ok->k", _over_rows(inner, narrow), outer), np.arange(0, inner.shape[1], size)
    )
    return bool((np.abs(slopes) <= reach).all())


def _over_rows(one: Single, other: Single) -> Single | Array:
    """oneᵀ·other, [..., R, K] and [..., R, N] to [..., K, N]: of RUN rows in float32 at a time, added in float64."""
    transposed, rows = one.swapaxes(-2, -1), one.shape[-2]
    found = transposed[..., :RUN] @ other[..., :RUN, :]
    if rows <= RUN:
        return found
    wide = found.astype(np.float64)
    for begin in range(RUN, rows, RUN):
        wide += transposed[..., begin : begin + RUN] @ other[..., begin : begin + RUN, :]
    return wide
