"""Checks of the 4-bit layers: what was stored, how it is read back, and what is computed from it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from accuracy.case import Stage
from accuracy.checks import dense
from accuracy.checks.setting import Setting, compute_dtype, torch_dtype
from accuracy.comparison import Comparison, Model, exact
from accuracy.oracles import codes, four_bit, linear, theory
from accuracy.oracles.four_bit import NESTED_BLOCKSIZE, NestedScales, Stored4bit
from accuracy.oracles.rounding import (
    SMALLEST_SUBNORMAL,
    UNIT_ROUNDOFF,
    probabilistic_gamma,
    rounded,
    rounding_error,
)

FLOAT32 = torch.float32


def encode(setting: Setting) -> Iterator[Comparison]:
    """Stored codes and scales against those a float64 quantizer makes of the original weight."""
    if not setting.has("stored"):
        return
    stored: Stored4bit = setting.parts["stored"]
    scales = four_bit.block_maxima(setting.inputs.weight.float(), stored.blocksize)
    if isinstance(stored.scales, Tensor):
        yield _scales(stored.scales, scales, setting.bounds.zero_block_scale)
    else:
        yield from _nested_scales(stored.scales, scales, setting)
    per_element = four_bit.per_element(scales, stored.blocksize, math.prod(stored.shape)).double()
    weight = setting.inputs.weight.double().reshape(-1)
    yield from _codes("codes", weight, per_element, four_bit.unpack(stored), codes.four_bit(stored.quant_type), setting)


def decode(setting: Setting) -> Iterator[Comparison]:
    """The library's dequantized weight against our own decoding of its bytes: equal, bit for bit."""
    if not setting.has("weight"):
        return
    stored: Stored4bit = setting.parts["stored"]
    yield Comparison(
        stage=Stage.DECODE,
        quantity="weight",
        actual=setting.parts["weight"],
        dtype=stored.dtype,
        model=exact(four_bit.decode(stored, stored.dtype)),
        basis="exact",
    )


def compute(setting: Setting) -> Iterator[Comparison]:
    """Output and gradients of `Linear4bit` against float64 products of the decoded weight."""
    if setting.has("output"):
        model = dense.forward(setting, _operand(setting))
        yield Comparison(
            stage=Stage.COMPUTE,
            quantity="output",
            actual=setting.parts["output"],
            dtype=torch_dtype(setting.config.dtype),
            model=model,
            basis="accumulation",
            lower=_lower_precision(setting),
            least_effect=setting.least_effect,
        )
    if setting.has("grad_input"):
        model = dense.backward_input(setting, _backward_operand(setting))
        yield Comparison(
            stage=Stage.COMPUTE,
            quantity="grad_input",
            actual=setting.parts["grad_input"],
            dtype=torch_dtype(setting.config.dtype),
            model=model,
            basis="accumulation",
            least_effect=setting.least_effect,
        )
    yield from dense.bias_gradient(setting)


def quantization(setting: Setting) -> Iterator[Comparison]:
    """Decoded weight, output and input gradient against the layer that was quantized."""
    if not setting.has("weight") or not setting.ordinary:
        return
    stored: Stored4bit = setting.parts["stored"]
    original = setting.inputs.weight.double()
    error = weight_error(stored, original, setting.code_slack)
    decoded = four_bit.decode_float32(stored)
    yield Comparison(
        stage=Stage.QUANTIZATION,
        quantity="weight",
        actual=setting.parts["weight"],
        dtype=stored.dtype,
        model=Model(expected=original, bound=error + rounding_error(decoded, stored.dtype), scale=original.abs()),
        basis="half-gap",
        theory_z=_against_theory(setting, stored, original),
    )
    error = error + rounding_error(decoded, compute_dtype(setting.config))
    if setting.has("output"):
        model = dense.forward(setting, _operand(setting))
        yield dense.against_reference(setting, "output", model, original, error)
    if setting.has("grad_input"):
        model = dense.backward_input(setting, _backward_operand(setting))
        error = error + rounding_error(decoded, stored.dtype)
        yield dense.against_reference(setting, "grad_input", model, original, error)


def weight_error(stored: Stored4bit, original: Tensor, code_slack: float) -> Tensor:
    """Bound of |decoded - original| in float64, of the weight's shape: half a gap of the code times the scale.

    |w - ŵ| ≤ h(code)·s·(1 + 3u) + (slack/2)·s, for a code that may be `code_slack` farther than the nearest
    is half of that past the middle, and, double-quantized, + |code|·|s' - s| with the stored scale s', whose
    own error is the encode stage's to judge (docs/method.md, "quantization").
    """
    count = original.numel()
    maxima = four_bit.block_maxima(original.float(), stored.blocksize).double()
    scale = four_bit.per_element(maxima, stored.blocksize, count)
    chosen = four_bit.unpack(stored)
    normalized = (original.reshape(-1) / scale).nan_to_num(0.0)
    u = UNIT_ROUNDOFF[FLOAT32]
    bound = four_bit.half_gap(chosen, normalized, stored.quant_type) * scale * (1 + 3 * u) + code_slack / 2 * scale
    if isinstance(stored.scales, NestedScales):
        moved = (four_bit.block_scales(stored).double() - maxima).abs()
        values = codes.four_bit(stored.quant_type).double()[chosen].abs()
        bound = bound + values * four_bit.per_element(moved, stored.blocksize, count)
    return bound.reshape(original.shape)


def _against_theory(setting: Setting, stored: Stored4bit, original: Tensor) -> float:
    """Quantization error of N(0, 1) weights against theory; without what double quantization adds."""
    if setting.config.weight != "normal" or original.numel() < setting.bounds.theory_elements:
        return 0.0
    maxima = four_bit.block_maxima(setting.inputs.weight.float(), stored.blocksize).double()
    scale = four_bit.per_element(maxima, stored.blocksize, original.numel())
    decoded = codes.four_bit(stored.quant_type).double()[four_bit.unpack(stored)] * scale
    return theory.four_bit_z(original.reshape(-1) - decoded, maxima, stored.blocksize, stored.quant_type)


def _operand(setting: Setting) -> Tensor:
    return four_bit.decode(setting.parts["stored"], compute_dtype(setting.config))


def _backward_operand(setting: Setting) -> Tensor:
    """The backward pass decodes in the dtype of the original weight and casts that to the gradient's."""
    stored: Stored4bit = setting.parts["stored"]
    return rounded(four_bit.decode(stored, stored.dtype), compute_dtype(setting.config))


def _lower_precision(setting: Setting) -> Callable[[], tuple[str, Model]] | None:
    """The lower precision that a fused kernel of this device is known to compute in, if it has one."""
    if setting.device_type == "cpu" and setting.config.mode == "eval":
        return lambda: ("bfloat16 inputs, codes and scales", _packed_bfloat16(setting))
    compute = compute_dtype(setting.config)
    if setting.device_type == "cuda" and compute != FLOAT32:
        return lambda: ("codes, scales and products rounded to 16 bits", _rounded_products(setting, compute))
    return None


def _rounded_products(setting: Setting, compute: torch.dtype) -> Model:
    """What the CUDA kernel for few rows computes in 16 bits: Σ_k fl_c(x_k·Ŵ_k) with Ŵ = fl_c(fl_c(code)·fl_c(s)).

    Source: bitsandbytes `csrc/gemm_4bit_simt.cu`, `scale_x2` and `vec2_mul`; the sum is in float32.
    The K roundings of the products are independent, so by Hoeffding's inequality they exceed
    λ·u·√Σ(x_k·Ŵ_k)² with probability at most 2·exp(-λ²/2). Where an operand repeats values, so do the
    roundings, and only u·Σ|x_k·Ŵ_k| holds.
    """
    stored: Stored4bit = setting.parts["stored"]
    table = linear.operand(codes.four_bit(stored.quant_type), compute)
    scales = linear.operand(four_bit.block_scales(stored), compute)
    scale = four_bit.per_element(scales, stored.blocksize, math.prod(stored.shape))
    weight = rounded(table[four_bit.unpack(stored)] * scale, compute).reshape(stored.shape)
    model = dense.forward(setting, weight)
    x = linear.operand(setting.inputs.x, compute)
    spread = setting.bounds.confidence * (x.square() @ weight.square().T).sqrt()
    if setting.least_effect is None:
        spread = x.abs() @ weight.abs().T
    tiny = x.shape[-1] * SMALLEST_SUBNORMAL[compute] / 2
    products = UNIT_ROUNDOFF[compute] * spread + tiny
    growth = (1 + UNIT_ROUNDOFF[compute]) * (1 + UNIT_ROUNDOFF[torch_dtype(setting.config.dtype)])
    return replace(model, bound=model.bound + products * growth)


def _packed_bfloat16(setting: Setting) -> Model:
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
    x = linear.operand(linear.operand(inputs.x, compute), bfloat16)
    product = linear.affine(x, weight, None)
    model = linear.accumulated(product, bfloat16, compute, setting.bounds.confidence)
    expected, bound = model.expected, model.bound
    if inputs.bias is not None:
        bias = linear.operand(inputs.bias, compute)
        added = _error_of_adding(bias, rounded(rounded(product.total, bfloat16), compute), compute)
        expected = expected + bias + added
        bound = bound + added.abs() + rounding_error(expected.abs() + bound, compute)
    if output != compute:
        bound = bound + rounding_error(expected.abs() + bound, output)
    model = replace(model, expected=expected, bound=bound)
    return dense.either_nonfinite(model, weight, setting.parts["output"].double())


def _error_of_adding(bias: Tensor, product: Tensor, dtype: torch.dtype) -> Tensor:
    """fl(p + b) - (p + b) of a product that is already rounded to `dtype`.

    Such products are multiples of one ulp, so the error depends on the bias alone as long as their binade
    does not change: a whole column may have the same. It belongs to the model, as a residual test takes
    errors for independent.
    """
    total = product + bias
    return (rounded(total, dtype) - total).nan_to_num(0.0, 0.0, 0.0)


def _scales(stored: Tensor, expected: Tensor, zero_block_scale: float) -> Comparison:
    free = torch.where(expected == 0, zero_block_scale, 0.0).double()
    model = Model(expected=expected.double(), bound=free, scale=expected.double())
    return Comparison(stage=Stage.ENCODE, quantity="scales", actual=stored, dtype=FLOAT32, model=model, basis="exact")


def _nested_scales(stored: NestedScales, scales: Tensor, setting: Setting) -> Iterator[Comparison]:
    guard = setting.bounds.zero_block_scale if (scales == 0).any() else 0.0
    mean = scales.double().mean().reshape(1)
    growth = probabilistic_gamma(scales.numel(), UNIT_ROUNDOFF[FLOAT32], setting.bounds.confidence)
    yield Comparison(
        stage=Stage.ENCODE,
        quantity="offset",
        actual=stored.offset.reshape(1),
        dtype=FLOAT32,
        model=Model(
            expected=mean,
            bound=growth * mean.abs() + 2 * rounding_error(mean, FLOAT32) + guard,
            scale=mean,
        ),
        basis="mean",
    )
    if not stored.offset.isfinite():
        return  # every decoded scale is then NaN or infinite, whatever else is stored
    centred = scales - stored.offset
    second = four_bit.block_maxima(centred, NESTED_BLOCKSIZE)
    yield Comparison(
        stage=Stage.ENCODE,
        quantity="nested_scales",
        actual=stored.scales,
        dtype=FLOAT32,
        model=Model(expected=second.double(), bound=torch.full_like(second.double(), guard), scale=second.double()),
        basis="exact",
    )
    per_block = four_bit.per_element(second, NESTED_BLOCKSIZE, centred.numel()).double()
    table = codes.dynamic_8bit()
    yield from _codes("nested_codes", centred.double(), per_block, stored.codes.long(), table, setting, guard)


def _codes(  # noqa: PLR0917 - one comparison needs all of these
    quantity: str, values: Tensor, scale: Tensor, chosen: Tensor, table: Tensor, setting: Setting, error: float = 0.0
) -> Iterator[Comparison]:
    """How much farther each chosen code is than the nearest, in units of the scale.

    `error` is how far the values may be from those that were coded: |v - c| - min|v - c_k| moves by at most
    twice that. A block of zeros leaves no choice of code, nor does one with NaN or an infinity; where all
    blocks are such there is nothing to compare.
    """
    coded = (scale > 0) & scale.isfinite()
    if not coded.any():
        return
    excess = four_bit.excess_distance((values / scale)[coded], chosen[coded], table)
    zeros = torch.zeros_like(excess)
    yield Comparison(
        stage=Stage.ENCODE,
        quantity=quantity,
        actual=excess,
        dtype=FLOAT32,
        model=Model(expected=zeros, bound=setting.code_slack + 2 * error / scale[coded], scale=zeros + 1),
        basis="nearest-code",
    )
