"""Rounding to a dtype, and bounds on what rounding in it can cost; of sums see `accuracy.roundoff`."""

from functools import cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accuracy import roundoff

UNIT_ROUNDOFF: Final = {getattr(torch, name): unit for name, unit in roundoff.UNIT.items()}
SMALLEST_SUBNORMAL: Final = {getattr(torch, name): least for name, least in roundoff.SUBNORMAL.items()}
SMALLEST_NORMAL = {torch.float32: 2.0**-126, torch.float16: 2.0**-14, torch.bfloat16: 2.0**-126}
MANTISSA_BITS = {torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}
_EXPONENT = np.int64(0x7FF << 52)  # the bits of a float64 that hold its exponent


@cache
def overflow_threshold(dtype: torch.dtype) -> float:
    """The magnitude from which rounding to nearest gives infinity: the largest finite plus half its ulp."""
    largest = torch.finfo(dtype).max
    return largest + largest * UNIT_ROUNDOFF[dtype] / (2 - 2 * UNIT_ROUNDOFF[dtype])


def rounded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """`values` (float64) rounded once, to nearest even, to `dtype`; returned in float64.

    Correct for values that are exact in float64: torch rounds float64 to a 16-bit type through
    float32, so a second rounding is avoided by rounding to odd first.
    """
    nearest = values.float()
    if dtype == torch.float32:
        return nearest.double()
    exact = torch.equal(nearest.double(), values)
    return (nearest if exact else _round_to_odd_float32(values, nearest)).to(dtype).double()


def _round_to_odd_float32(values: Tensor, nearest: Tensor) -> Tensor:
    """Float64 to float32 such that a later rounding to 16 bits equals a direct one (Boldo, Melquiond 2008).

    `nearest` is `values` rounded to nearest.
    """
    inexact = (nearest.double() != values) & nearest.isfinite() & values.isfinite()
    toward_zero = torch.where(
        nearest.double().abs() > values.abs(), torch.nextafter(nearest, torch.zeros_like(nearest)), nearest
    )
    odd = (toward_zero.view(torch.int32) | 1).view(torch.float32)
    return torch.where(inexact, odd, nearest)


def rounding_error(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """Bound of one rounding of `exact` to `dtype`: u·|exact|, and half the smallest subnormal below normals."""
    return exact.abs().mul_(UNIT_ROUNDOFF[dtype]).add_(SMALLEST_SUBNORMAL[dtype] / 2)


def ulp(values: NDArray[np.float64], dtype: torch.dtype) -> NDArray[np.float64]:
    """Spacing of `dtype` in the binade of each of `values`, not below the smallest subnormal."""
    binades = (values.view(np.int64) & _EXPONENT).view(np.float64)
    np.maximum(binades, SMALLEST_NORMAL[dtype], out=binades)
    binades *= 2.0 ** -MANTISSA_BITS[dtype]
    return binades
