"""Dense products in float64 from rounded operands, with bounds on what any summation order may cost.

The model (docs/method.md, "compute"): operands are rounded to the compute dtype c, products are
accumulated in float32 or better, the sum is rounded to c, and to the input dtype where that differs.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from accuracy.comparison import Model
from accuracy.oracles.matmul import times_transposed
from accuracy.oracles.rounding import (
    SMALLEST_SUBNORMAL,
    UNIT_ROUNDOFF,
    overflow_threshold,
    rounded,
    rounding_error,
)
from accuracy.roundoff import gamma, probabilistic_gamma

ACCUMULATOR = torch.float32


@dataclass(frozen=True, kw_only=True)
class Product:
    """x·Wᵀ (+ b): `product` without bias, `total` with it, `magnitude` at least |x||W|ᵀ + |b|, `terms` in each sum.

    `factors` are the operands as matrices [R, K] and [N, K].
    """

    product: Tensor
    total: Tensor
    magnitude: Tensor
    terms: int
    biased: bool
    factors: tuple[Tensor, Tensor]


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Product:
    """Product of x [*batch, K] and weight [N, K] transposed, plus bias [N]; all float64."""
    product = times_transposed(x, weight)
    factors = (x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), weight)
    magnitude = at_least(x, weight)
    if bias is None:
        return Product(
            product=product, total=product, magnitude=magnitude, terms=x.shape[-1], biased=False, factors=factors
        )
    return Product(
        product=product,
        total=product + bias,
        magnitude=magnitude.add_(bias.abs()),
        terms=x.shape[-1] + 1,
        biased=True,
        factors=factors,
    )


def at_least(left: Tensor, right: Tensor) -> Tensor:
    """|left||right|ᵀ of left [*batch, K] and right [N, K], or a little more; all float64.

    In float32, which takes half the time: rounding both operands, products and sums loses at most γ of K + 4 terms
    (Higham 2002, lemma 3.1), of which twice is added again: 5e-4 for K = 4096. What underflow takes is less than one
    rounding more, since operands are at most 2⁴⁰, as are sums, which are no less than 2⁻⁴⁰: K terms lose at most
    K·2⁻¹²⁶·2⁴⁰. Where operands or sums are not so, it is the product in float64.
    """
    narrow = [each.to(torch.float32, copy=True).abs_() for each in (left, right)]
    found = times_transposed(*narrow)
    if not found.numel() or not left.shape[-1]:
        return times_transposed(left.abs(), right.abs())
    least, most = (limit.item() for limit in found.aminmax())
    if least < 1 / LARGEST or not max(most, *(operand.max().item() for operand in narrow)) <= LARGEST:
        return times_transposed(left.abs(), right.abs())
    return found.double().mul_(1 + 2 * gamma(left.shape[-1] + 4, UNIT_ROUNDOFF[torch.float32]))


LARGEST: Final = 2.0**40
"""Up to this, and down to its inverse, sums of float32 lose next to nothing to underflow, and none overflows."""


def accumulated(exact: Product, compute: torch.dtype, output: torch.dtype, confidence: float) -> Model:
    """The result of accumulating `exact` in float32 and rounding it to `compute`, then to `output`.

    |y - y*| ≤ u_c|y*| + [u_c|y* - b| where a bias may be added after a rounding] + G·magnitude·(1 + u_c)
    + [u_out|y*| where the dtypes differ] + half the smallest subnormals, G = γ~(λ) of K + 1 terms.
    """
    u = UNIT_ROUNDOFF[compute]
    growth = probabilistic_gamma(exact.terms, UNIT_ROUNDOFF[ACCUMULATOR], confidence)
    sums = (exact.total, exact.product) if exact.biased else (exact.total,)
    least = torch.tensor(len(sums) * SMALLEST_SUBNORMAL[compute] / 2, dtype=torch.float64)
    bound = torch.add(least, exact.magnitude, alpha=growth * (1 + u))
    for value in sums:  # as `rounding_error`, in fewer passes over what may be large
        bound.add_(value.abs(), alpha=u)
    if output != compute:
        bound += rounding_error(exact.total.abs() + bound, output)
    return Model(
        expected=exact.total,
        bound=bound,
        scale=exact.magnitude * UNIT_ROUNDOFF[ACCUMULATOR],
        factors=exact.factors,
        overflow=min(overflow_threshold(compute), overflow_threshold(output)),
    )


def column_sums(gradient: Tensor, compute: torch.dtype, output: torch.dtype) -> Model:
    """Gradient of the bias: `gradient` [*batch, N] (float64) summed over the batch.

    |db - db*| ≤ u|db*| + γ_M·Σ|g| + [u·Σ_s|Σ_b g| where an input of rank 3 or 4 is summed in two steps].
    """
    columns = gradient.shape[-1]
    rows = gradient.reshape(-1, columns)
    total = rows.sum(dim=0)
    magnitude = rows.abs().sum(dim=0)
    bound = rounding_error(total, compute) + gamma(rows.shape[0], UNIT_ROUNDOFF[ACCUMULATOR]) * magnitude
    if gradient.dim() > 2:  # noqa: PLR2004 - rank 2 is one sum
        first = gradient.sum(dim=0).reshape(-1, columns)
        bound += rounding_error(first, compute).sum(dim=0)
    if output != compute:
        bound += rounding_error(total.abs() + bound, output)
    return Model(
        expected=total,
        bound=bound,
        scale=magnitude * UNIT_ROUNDOFF[ACCUMULATOR],
        overflow=min(overflow_threshold(compute), overflow_threshold(output)),
    )


def reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The fp32 layer that the quantized one replaces: float32 operands, float32 arithmetic, returned in float64."""
    return torch.nn.functional.linear(x.float(), weight.float(), None if bias is None else bias.float()).double()


def operand(values: Tensor, dtype: torch.dtype) -> Tensor:
    """`values` as the product sees them: rounded to `dtype`, in float64."""
    return values.double() if values.dtype == dtype else rounded(values.double(), dtype)
