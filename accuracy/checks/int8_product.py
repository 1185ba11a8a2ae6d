"""What LLM.int8() computes: a product of int8 codes with outlier columns beside it, modelled step by step.

Source: Dettmers et al. 2022, "LLM.int8()"; bitsandbytes `backends/default/ops.py`, `int8_mixed_scaled_mm`.
"""

import torch
from torch import Tensor

from accuracy.checks import dense
from accuracy.checks.setting import Setting, once, torch_dtype
from accuracy.comparison import Model
from accuracy.oracles import int8, linear
from accuracy.oracles.int8 import LARGEST_CODE, Stored8bit
from accuracy.oracles.matmul import times_transposed
from accuracy.oracles.rounding import (
    UNIT_ROUNDOFF,
    overflow_threshold,
    rounded,
    rounding_error,
)
from accuracy.roundoff import probabilistic_gamma

FLOAT32 = torch.float32
FLOAT16 = torch.float16


def product(setting: Setting, *, kernel: torch.dtype, late: bool = False) -> Model:
    """y* = acc·s·S/127² + b + Σ_o x_o·Ŵ_o and its bound, where the int8 part is written in the dtype `kernel`.

    Each rounding is one of a value that is known up to the error E so far: of what it rounds it may err by u(|y| + E).
    E begins with 5u32(|y1* - b| + |b|) and what codes near a tie may move. Then y1* = acc·s·S/127² + b is stored, as
    an infinity if it overflows; then γ~(λ)|x_o||Ŵ_o| comes on top, where an accelerator may round the product of the
    outlier columns first, and the sum is rounded (docs/method.md, "int8 product"). The sums of codes are exact in
    int32, so K does not enter. With `late`, what rounding the sum of both parts errs is part of what is expected.
    """
    config, inputs, bounds = setting.config, setting.inputs, setting.bounds
    dtype = torch_dtype(config.dtype)
    stored: Stored8bit = setting.parts["stored"]
    x = inputs.x.reshape(-1, config.in_features)
    rows = int8.quantize_rows(x, config.threshold, tie_slack(setting))
    scale = rows.scales.unsqueeze(1) * stored.scales.double() / LARGEST_CODE**2
    inner = times_transposed(rows.codes, stored.codes.double()) * scale
    ambiguous = times_transposed(rows.ties.double(), stored.codes.double().abs()) * scale
    bias = torch.zeros(1, dtype=torch.float64) if inputs.bias is None else inputs.bias.double()
    u = UNIT_ROUNDOFF[FLOAT32]
    error = 5 * u * (inner.abs() + bias.abs()) + ambiguous
    if kernel != dtype and inputs.bias is not None:
        error = _rounded(inner, error, kernel)
    first = _as_stored(inner + bias, error, kernel, setting.parts["output"])
    error = _rounded(first, error, kernel)
    if kernel != dtype:
        error = _rounded(first, error, dtype)
    outliers = linear.affine(
        x[:, rows.outliers].double(), rounded(decoded_float32(setting)[:, rows.outliers], dtype), None
    )
    expected = first + outliers.total
    apart = outliers.magnitude * probabilistic_gamma(outliers.terms + 1, u, bounds.confidence)
    if not setting.arithmetic.fused_outliers:
        apart = _rounded(outliers.total, apart, dtype)
        expected = _added(first, outliers.total, apart, dtype, setting.parts["output"])
    error = _rounded(expected, error + apart, dtype)
    if late:
        moved = dense.error_of_adding(rounded(first, dtype), rounded(outliers.total, dtype), dtype)
        expected, error = expected + moved, error + moved.abs()
    shape = (*config.batch, config.out_features)
    return Model(
        expected=expected.reshape(shape),
        bound=error.reshape(shape),
        scale=(inner.abs() + bias.abs() + outliers.magnitude).reshape(shape) * u,
        factors=(
            rows.codes * rows.scales.unsqueeze(1) / LARGEST_CODE,
            stored.codes.double() * stored.scales.double().unsqueeze(1) / LARGEST_CODE,
        ),
        certain=(ambiguous == 0).reshape(shape),
    )


def _added(first: Tensor, second: Tensor, error: Tensor, dtype: torch.dtype, output: Tensor) -> Tensor:
    """The sum; where `second`, known up to `error`, may itself overflow, that with its infinity, if `output` is so.

    With the infinity of the other sign that is NaN.
    """
    plain = first + second
    if output.numel() != first.numel():
        return plain
    seen = output.double().reshape(first.shape)
    infinite = first + second.sign() * torch.inf
    met = (seen == infinite) | (seen.isnan() & infinite.isnan())
    return torch.where((second.abs() + error >= overflow_threshold(dtype)) & met, infinite, plain)


def _rounded(value: Tensor, error: Tensor, dtype: torch.dtype) -> Tensor:
    """How far what is known as `value` up to `error` is from `value` once it is rounded to `dtype`."""
    return error + rounding_error(value.abs() + error, dtype)


def _as_stored(first: Tensor, error: Tensor, dtype: torch.dtype, output: Tensor) -> Tensor:
    """`first`, known up to `error`, with infinities where storing it in `dtype` overflows.

    The int8 part is stored before the outlier columns are added, and no sum brings an infinity back.
    Where `error` leaves open whether it overflows, an infinite `output` says that it did.
    """
    threshold = overflow_threshold(dtype)
    infinite = first.sign() * torch.inf
    overflows = first.abs() - error >= threshold
    if output.numel() == first.numel():
        overflows |= (first.abs() + error >= threshold) & (output.double().reshape(first.shape) == infinite)
    return torch.where(overflows, infinite, first)


def activation_error(setting: Setting) -> Tensor:
    """What rounding activations to int8 may move: |x̂ - x||Ŵ| with the codes our own quantizer chose."""
    config = setting.config
    x = setting.inputs.x.reshape(-1, config.in_features)
    rows = int8.quantize_rows(x, config.threshold, tie_slack(setting))
    decoded = rows.codes * rows.scales.unsqueeze(1) / LARGEST_CODE
    decoded[:, rows.outliers] = x.double()[:, rows.outliers]
    moved = times_transposed((decoded - x.double()).abs(), decoded_float32(setting).abs())
    return moved.reshape(*config.batch, config.out_features)


def gradient(grad_output: Tensor, x: Tensor, dtype: torch.dtype) -> Model:
    """The weight gradient as LLM.int8() means it: an int8 product of columns, written in float16."""
    expected, magnitude = int8.product(grad_output, x)
    u = UNIT_ROUNDOFF[FLOAT32]
    bound = rounding_error(expected, FLOAT16) + 5 * u * magnitude
    return Model(
        expected=expected,
        bound=bound + rounding_error(expected.abs() + bound, dtype),
        scale=magnitude * u,
        overflow=overflow_threshold(FLOAT16),
    )


def tie_slack(setting: Setting) -> float:
    """Where the library divides and multiplies in IEEE float32, its codes are known to the last tie."""
    return 0.0 if setting.arithmetic.ieee_division else setting.bounds.tie_slack


@once
def decoded_float32(setting: Setting) -> Tensor:
    """The stored weight as q·S/127, float64 [N, K]."""
    return int8.decode_float32(setting.parts["stored"])
