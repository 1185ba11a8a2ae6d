"""Row-wise int8 (LLM.int8(), Dettmers et al. 2022): weights, activations, outlier columns, products.

Source of the arithmetic: bitsandbytes `backends/default/ops.py`, `autograd/_functions.py`; each step
below names its rounding, so that codes can be compared bit by bit.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from accuracy.oracles.matmul import times_transposed
from accuracy.oracles.rounding import rounded

LARGEST_CODE = 127
RECIPROCAL_127 = torch.tensor(1.0 / LARGEST_CODE, dtype=torch.float32)


@dataclass(frozen=True, kw_only=True)
class Stored8bit:
    """What an int8 layer keeps of its weight: `codes` int8 [rows, columns] and `scales` float32 [rows], on the CPU."""

    codes: Tensor
    scales: Tensor


@dataclass(frozen=True, kw_only=True)
class QuantizedRows:
    """Activations as the int8 product sees them.

    `codes` float64 [M, K], zero in outlier columns; `scales` float64 [M]; `outliers` bool [K];
    `ties` bool [M, K]: elements so close to a rounding tie that either code is right.
    """

    codes: Tensor
    scales: Tensor
    outliers: Tensor
    ties: Tensor


def scaled_rows(values: Tensor) -> tuple[Tensor, Tensor]:
    """fl32(v16·fl32(127/S)) [rows, columns] before it is rounded to codes, and S = max|v16| by row; float32.

    A row of zeros has scale 0 and is zero when scaled.
    """
    half = values.to(torch.float16).float()
    scales = half.abs().amax(dim=1)
    return (half * (LARGEST_CODE / scales.unsqueeze(1))).nan_to_num(0.0), scales


def near_tie(scaled: Tensor, tie_slack: float) -> Tensor:
    """Whether each value lies so close to the middle of two codes that either is right (fast division, say)."""
    distance = ((scaled - scaled.floor()).double() - 0.5).abs()
    return distance < tie_slack * scaled.abs().double()


def product(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Leftᵀ·right of int8 columns, as the int8 weight gradient is meant: [M, N] by [M, K] to [N, K], float64.

    Each column of either operand has its own codes and scale. Also the sum of magnitudes.
    """
    left_codes, left_scales = scaled_rows(left.T)
    right_codes, right_scales = scaled_rows(right.T)
    scale = (left_scales.double().unsqueeze(1) * right_scales.double()) / LARGEST_CODE**2
    codes = left_codes.round().double(), right_codes.round().double()
    return times_transposed(*codes) * scale, times_transposed(codes[0].abs(), codes[1].abs()) * scale


def decode(stored: Stored8bit, dtype: torch.dtype) -> Tensor:
    """fl_dtype(q·fl32(S·fl32(1/127))) in float64 [rows, columns], as the training path forms the weight."""
    scale = (stored.scales * RECIPROCAL_127).double().unsqueeze(1)
    return rounded(rounded(stored.codes.double() * scale, torch.float32), dtype)


def decode_float32(stored: Stored8bit) -> Tensor:
    """fl32(fl32(q·S)·fl32(1/127)) in float64 [rows, columns], as the outlier columns are formed."""
    product = stored.codes.float() * stored.scales.unsqueeze(1)
    return (product * RECIPROCAL_127).double()


def quantize_rows(activations: Tensor, threshold: float, tie_slack: float) -> QuantizedRows:
    """Row-wise int8 codes of activations [M, K], outlier columns apart.

    Values with |fl16(x)| at or above the threshold are outliers: they are taken out before the row
    maximum, and every column that has one is zero in the codes. Other entries of such a column
    still count in the row maximum. `tie_slack` is the relative distance to a rounding tie within
    which a kernel with another order of operations may choose either neighbour.
    """
    half = activations.to(torch.float16)
    masked = half.clone()
    outliers = torch.zeros(half.shape[1], dtype=torch.bool)
    if threshold > 0:
        hit = half.abs() >= torch.tensor(threshold, dtype=torch.float16)
        outliers = hit.any(dim=0)
        masked[hit] = 0
    scales = masked.float().abs().amax(dim=1)
    scaled = masked.float() * (LARGEST_CODE / scales.unsqueeze(1))
    scaled = scaled.nan_to_num(0.0)
    scaled[:, outliers] = 0
    return QuantizedRows(
        codes=scaled.round().double(),
        scales=scales.double(),
        outliers=outliers,
        ties=near_tie(scaled, tie_slack),
    )
