"""Structured residual tests: faults below one ulp of an element, found in what many elements have in common.

Rounding errors are symmetric and independent, so their projection on the signal, over the root of
its squared terms, is sub-Gaussian with unit variance whatever the dtype (a self-normalized sum; de la
Peña, Lai, Shao 2009, theorem 2.14). A common scale fault, a shift, a bad scale of one row, column or
block of the inner dimension adds up instead. At n elements |z| cannot exceed √n, so small tensors
raise no alarm.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCKS = 8
"""Into how many runs the inner dimension is cut."""

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
    found = [
        *_slopes(error, expected, least, "all", (0, 1)),
        *_slopes(error, expected, least, "column", (0,)),
        *_slopes(error, expected, least, "row", (1,)),
        *_means(error, expected, least, "all", (0, 1)),
        *_means(error, expected, least, "column", (0,)),
    ]
    if factors is not None:
        found += _blocks(error, factors, least)
    return max(found, key=lambda structure: abs(structure.z), default=Structure(z=0.0, effect=0.0, at=""))


def _slopes(error: Tensor, signal: Tensor, least: float, name: str, over: tuple[int, ...]) -> list[Structure]:
    """Slope of the error on the signal, Σe·y / Σy², and its z, summed over the given dimensions."""
    product = error * signal
    projected = product.sum(dim=over)
    effect = projected / signal.square().sum(dim=over)
    z = projected / product.square().sum(dim=over).sqrt()
    return _largest(z, effect, least, name)


def _means(error: Tensor, signal: Tensor, least: float, name: str, over: tuple[int, ...]) -> list[Structure]:
    """Mean of the error, relative to the root mean square of the signal, and its z."""
    z = error.sum(dim=over) / error.square().sum(dim=over).sqrt()
    effect = error.mean(dim=over) / signal.square().mean(dim=over).sqrt()
    return _largest(z, effect, least, f"mean of {name}")


def _blocks(error: Tensor, factors: tuple[Tensor, Tensor], least: float) -> list[Structure]:
    """Slope of the error on what each block of the inner dimension contributes."""
    left, right = factors
    size = -(-left.shape[1] // BLOCKS)
    pairs = zip(torch.split(left, size, dim=1), torch.split(right, size, dim=1), strict=True)
    found = [
        (number, structure)
        for number, (a, b) in enumerate(pairs)
        for structure in _slopes(error, (a @ b.T).nan_to_num(0.0, 0.0, 0.0), least, "block", (0, 1))
    ]
    count = -(-left.shape[1] // size)
    return [
        Structure(z=structure.z, effect=structure.effect, at=f"block {number} of {count} of the inner dimension")
        for number, structure in found
    ]


def _largest(z: Tensor, effect: Tensor, least: float, name: str) -> list[Structure]:
    """The group with the largest |z| among those whose effect counts; none where no group has one."""
    z, effect = z.reshape(-1), effect.reshape(-1)
    counts = torch.where(effect.abs() > least, z.abs(), 0.0).nan_to_num(0.0, 0.0, 0.0)
    if counts.numel() == 0 or not counts.any():
        return []
    at = int(counts.argmax().item())
    return [Structure(z=z[at].item(), effect=effect[at].item(), at=name if z.numel() == 1 else f"{name} {at}")]
