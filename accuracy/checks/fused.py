"""What the library's fused 4-bit kernels compute: a lower precision than the one asked for, modelled step by step."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from accuracy.checks import dense
from accuracy.checks.setting import Setting, compute_dtype, torch_dtype
from accuracy.comparison import Model
from accuracy.oracles import codes, four_bit, linear
from accuracy.oracles.four_bit import Stored4bit
from accuracy.oracles.matmul import times_transposed
from accuracy.oracles.rounding import UNIT_ROUNDOFF, rounded, rounding_error
from accuracy.roundoff import probabilistic_gamma

ROUNDED_PRODUCTS = "codes, scales and products rounded to 16 bits"


def lower_precision(setting: Setting) -> Callable[[], Iterable[tuple[str, Model]]] | None:
    """The lower precisions that fused kernels of this device are known to compute in, if it has such."""
    if setting.arithmetic.packed_bfloat16 and setting.config.mode == "eval":
        return lambda: [("bfloat16 inputs, codes and scales", packed_bfloat16(setting))]
    if in_16_bits_on_cuda(setting):
        return lambda: _on_cuda(setting)
    return None


def in_16_bits_on_cuda(setting: Setting) -> bool:
    """Whether a 4-bit layer may be served by one of the CUDA kernels that round more than they are asked to."""
    return setting.arithmetic.fused_in_16_bits and compute_dtype(setting.config) != torch.float32


def either_scale(setting: Setting, model: Model, weight: Tensor) -> Model:
    """The `model` of the product with `weight` where a double-quantized scale may be multiplied and added at once.

    Elements that this may move by more than an effect that counts say nothing of the structure of errors.
    """
    moved = moved_by_scales(setting, weight)
    if moved is None:
        return model
    certain = moved <= (setting.least_effect("weight", "activation") or 0.0) * model.expected.abs()
    certain = certain if model.certain is None else certain & model.certain
    return replace(model, bound=model.bound + moved, certain=certain)


def moved_by_scales(setting: Setting, weight: Tensor) -> Tensor | None:
    """How far the output is from that of `weight` if double-quantized scales are multiplied and added at once.

    Float64 of the output's shape; None where no weight is moved. A fused CUDA kernel does so, one that decodes first
    does not, and both compute in the precision asked for: |x|·|Ŵ - Ŵ'|. In 16 bits that is an ulp where a scale lies at
    a tie; in float32 it is more than that where the scale is far smaller than the offset, which then cancels.
    """
    stored = setting.parts["stored"]
    if not setting.arithmetic.fused_in_16_bits or isinstance(stored.scales, Tensor):
        return None
    compute = compute_dtype(setting.config)
    apart = (four_bit.decode_at_once(stored, compute) - weight).abs().nan_to_num(0.0, 0.0, 0.0)
    if not apart.any():
        return None
    u = max(UNIT_ROUNDOFF[compute], UNIT_ROUNDOFF[torch_dtype(setting.config.dtype)])
    moved = times_transposed(dense.operand(setting, "x").abs(), apart)
    return moved * (1 + u) ** 2  # to the compute dtype and to the output's, what is moved is rounded too


def _on_cuda(setting: Setting) -> Iterator[tuple[str, Model]]:
    """The kernel for few rows, as AMD's RDNA and as NVIDIA take it, whose model costs more; both may hold.

    Both are bitsandbytes `csrc/gemm_4bit_simt.cu`. The tiled kernels decode as they are asked to. Which of them
    served depends on the shape and the processor (`csrc/gemm_4bit.cu`).
    """
    weight = rounded_weight(setting)
    yield "codes and scales rounded to 16 bits", dense.forward(setting, weight)
    yield ROUNDED_PRODUCTS, rounded_products(setting, weight)


def rounded_weight(setting: Setting) -> Tensor:
    """Ŵ = fl_c(fl_c(code)·fl_c(s)), float64 [N, K]: how the fused kernels for few rows decode in 16 bits.

    A double-quantized s is multiplied and added at once there. Where that moves it across a tie of c, its whole block
    is an ulp of c away.
    """
    stored: Stored4bit = setting.parts["stored"]
    compute = compute_dtype(setting.config)
    table = linear.operand(codes.four_bit(stored.quant_type), compute)
    scales = linear.operand(four_bit.block_scales_at_once(stored), compute)
    scale = four_bit.per_element(scales, stored.blocksize, math.prod(stored.shape))
    return rounded(table[four_bit.unpack(stored)] * scale, compute).reshape(stored.shape)


def rounded_products(setting: Setting, weight: Tensor) -> Model:
    """What the CUDA kernel for few rows computes in 16 bits: Σ_k fl_c(x_k·Ŵ_k) + b, summed in float32.

    Source: bitsandbytes `csrc/gemm_4bit_simt.cu`, `scale_x2` and `vec2_mul`. The rounded products are summed as
    they are: inputs and weights that repeat make roundings that repeat, which no bound by chance covers and
    which leave a structure. A product that overflows in 16 bits keeps its true value here, so that the infinity it
    gives is no matter of precision.
    """
    model = dense.expected_output(setting, weight)
    compute, output = compute_dtype(setting.config), torch_dtype(setting.config.dtype)
    x = dense.operand(setting, "x").reshape(-1, weight.shape[1])
    rows = [_rounding_of_products(row, weight.float(), compute) for row in x.float()]
    moved = torch.stack(rows).reshape(model.expected.shape) if rows else torch.zeros_like(model.expected)
    expected = model.expected + moved
    u = UNIT_ROUNDOFF[torch.float32]
    growth = probabilistic_gamma(weight.shape[1] + 1, u, setting.bounds.confidence)
    bound = model.bound + rounding_error(moved, compute) + growth * moved.abs()
    if output != compute:
        bound = bound + rounding_error(moved, output)
    model = replace(model, expected=expected, bound=bound)
    return dense.either_nonfinite(model, weight, setting.parts["output"])


def _rounding_of_products(row: Tensor, weight: Tensor, compute: torch.dtype) -> Tensor:
    """Σ_k fl_c(x_k·Ŵ_k) - x_k·Ŵ_k for one row [K] against weight [N, K], float64 [N].

    Both are float32 with values of 16 bits, whose products float32 holds exactly.
    """
    products = row * weight
    return (products.to(compute).float() - products).nan_to_num(0.0, 0.0, 0.0).sum(dim=1, dtype=torch.float64)


def apart(setting: Setting) -> Tensor:
    """How far a fused CUDA kernel may be from the precision asked for, elementwise, float64 of the output's shape.

    |x|·|Ŵ - W| for the weight and λ·u·√Σ(x_k·Ŵ_k)² for the roundings of the products (Hoeffding's inequality over
    K independent ones).
    """
    compute = compute_dtype(setting.config)
    asked = four_bit.decode(setting.parts["stored"], compute)
    weight = rounded_weight(setting)
    x = dense.operand(setting, "x")
    products = setting.bounds.confidence * UNIT_ROUNDOFF[compute] * times_transposed(x.square(), weight.square()).sqrt()
    moved = times_transposed(x.abs(), (weight - asked).abs()) + products
    return moved * (1 + 2 * UNIT_ROUNDOFF[compute])


def packed_bfloat16(setting: Setting) -> Model:
    """What the library's packed CPU kernel computes, whatever dtype was asked for.

    Inputs, code values and block scales are rounded to bfloat16; float32 sums of each block are
    scaled and added; the result is rounded to bfloat16, and the bias added after that in the
    compute dtype (bitsandbytes `csrc/cpu_ops.cpp`, `tinygemm_kernel_nn`).
    """
    stored: Stored4bit = setting.parts["stored"]
    config, inputs, bfloat16 = setting.config, setting.inputs, torch.bfloat16
    compute, output = compute_dtype(config), torch_dtype(config.dtype)
    table = linear.operand(codes.four_bit(stored.quant_type), bfloat16)
    scales = linear.operand(four_bit.block_scales(stored), bfloat16)
    scale = four_bit.per_element(scales, stored.blocksize, math.prod(stored.shape))
    weight = (table[four_bit.unpack(stored)] * scale).reshape(stored.shape)
    x = linear.operand(dense.operand(setting, "x"), bfloat16)
    product = linear.affine(x, weight, None)
    model = linear.accumulated(product, bfloat16, compute, setting.bounds.confidence)
    expected, bound = model.expected, model.bound
    if inputs.bias is not None:
        bias = linear.operand(inputs.bias, compute)
        added = dense.error_of_adding(bias, rounded(rounded(product.total, bfloat16), compute), compute)
        expected = expected + bias + added
        bound = bound + added.abs() + rounding_error(expected.abs() + bound, compute)
    if output != compute:
        bound = bound + rounding_error(expected.abs() + bound, output)
    model = replace(model, expected=expected, bound=bound)
    return dense.either_nonfinite(model, weight, setting.parts["output"])
