"""What a check hands to the metrics: what the library gave, what the oracle says, and how far apart they may be."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from accuracy.case import Stage


@dataclass(frozen=True, kw_only=True)
class Model:
    """What an arithmetic predicts: `expected` and the largest error it explains, elementwise, float64.

    `scale` is the magnitude below which |expected| is rounding noise (u·Σ|x||w| for a product);
    it is the floor of the relative error, so that cancellation does not make it explode.
    """

    expected: Tensor
    bound: Tensor
    scale: Tensor
    factors: tuple[Tensor, Tensor] | None = None
    overflow: float = math.inf
    certain: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One quantity of one stage. `actual` has the library's dtype, the shape must be that of the model.

    `basis` names the entry of the limits file that says why the bound is what it is. `lower`
    predicts, one after the other, the results of named, lower precisions than the one asked for; none is
    made once a model holds whose residual has a structure of at most `quiet`. `late` is the model of the precision
    asked for whose last addition is one of what was rounded already; it speaks of structure alone. `reference` is the
    fp32 layer's value and `oracle` the float64 product of the decoded operands; with both the total error is
    split. `least_effect` is the relative size from which a structured residual counts, None where the
    operands repeat values, so that rounding errors are not independent and there is no such test. `theory_z` is the
    distance of the squared quantization error from its expectation, 0 where there is no theory.
    `outliers` is the number k of elements that may exceed the bound in each entry of the first dimension: what
    counts there is the (k+1)-th largest ratio. None where no element may, and the shape does not matter.
    `paired` is no where an operand was itself computed on the device, so that values of two devices need not agree.
    """

    stage: Stage
    quantity: str
    actual: Tensor
    dtype: torch.dtype
    model: Model
    basis: str
    lower: Callable[[], Iterable[tuple[str, Model]]] | None = None
    quiet: float = 0.0
    late: Callable[[], Model] | None = None
    oracle: Tensor | None = None
    least_effect: float | None = None
    theory_z: float = 0.0
    outliers: int | None = None
    paired: bool = True


def exact(expected: Tensor) -> Model:
    """The model of a value that has to be met bit for bit (zeros of either sign are equal)."""
    zeros = torch.zeros_like(expected)
    return Model(expected=expected, bound=zeros, scale=zeros)
