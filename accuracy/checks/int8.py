"""Checks of `Linear8bitLt`: row-wise codes, the int8 product with outlier columns, and the gradients."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from accuracy.case import Stage
from accuracy.checks import dense
from accuracy.checks.setting import Setting, once, torch_dtype
from accuracy.comparison import Comparison, Model, exact
from accuracy.oracles import int8, linear, theory
from accuracy.oracles.int8 import LARGEST_CODE, Stored8bit
from accuracy.oracles.rounding import (
    UNIT_ROUNDOFF,
    overflow_threshold,
    rounded,
    rounding_error,
)
from accuracy.roundoff import probabilistic_gamma

FLOAT32 = torch.float32
FLOAT16 = torch.float16


def encode(setting: Setting) -> Iterator[Comparison]:
    """Stored scales and codes against our own row-wise quantizer: equal, save either code at a provable tie."""
    if not setting.has("stored"):
        return
    stored: Stored8bit = setting.parts["stored"]
    scaled, scales = int8.scaled_rows(setting.inputs.weight)
    yield Comparison(
        stage=Stage.ENCODE,
        quantity="scales",
        actual=stored.scales,
        dtype=FLOAT32,
        model=exact(scales.double()),
        basis="exact",
    )
    ties = int8.near_tie(scaled, _tie_slack(setting)).double()
    yield Comparison(
        stage=Stage.ENCODE,
        quantity="codes",
        actual=stored.codes,
        dtype=FLOAT32,
        model=Model(expected=scaled.round().double(), bound=ties, scale=torch.ones_like(ties)),
        basis="nearest-code",
    )


def decode(setting: Setting) -> Iterator[Comparison]:
    """The library's dequantized weight against q·S/127 from its own codes: equal, bit for bit."""
    if not setting.has("weight"):
        return
    yield Comparison(
        stage=Stage.DECODE,
        quantity="weight",
        actual=setting.parts["weight"],
        dtype=FLOAT32,
        model=exact(_decoded_float32(setting)),
        basis="exact",
    )


def compute(setting: Setting) -> Iterator[Comparison]:
    """Output and gradients against float64 products of the stored codes."""
    dtype = torch_dtype(setting.config.dtype)
    if setting.has("output", "stored"):
        yield Comparison(
            stage=Stage.COMPUTE,
            quantity="output",
            actual=setting.parts["output"],
            dtype=dtype,
            model=_output(setting),
            basis="int8-product" if _quantizes_activations(setting) else "accumulation",
            lower=(lambda: [("a result in float16", _int8_product(setting, kernel=FLOAT16))])
            if _ends_in_float16(setting)
            else None,
            least_effect=setting.least_effect("weight", "activation"),
        )
    if setting.has("grad_input"):
        model = _backward_input(setting)
        yield Comparison(
            stage=Stage.COMPUTE,
            quantity="grad_input",
            actual=setting.parts["grad_input"],
            dtype=dtype,
            model=model,
            basis="accumulation",
            least_effect=setting.least_effect("weight", "gradient"),
        )
    if setting.has("grad_weight"):
        yield _weight_gradient(setting)
    yield from dense.bias_gradient(setting)


def quantization(setting: Setting) -> Iterator[Comparison]:
    """Decoded weight, output and input gradient against the layer that was quantized."""
    if not setting.has("weight") or not setting.ordinary:
        return
    stored: Stored8bit = setting.parts["stored"]
    original = setting.inputs.weight.double()
    error = weight_error(stored, original)
    yield Comparison(
        stage=Stage.QUANTIZATION,
        quantity="weight",
        actual=setting.parts["weight"],
        dtype=FLOAT32,
        model=Model(expected=original, bound=error, scale=original.abs()),
        basis="half-gap",
        theory_z=_against_theory(setting, stored),
    )
    error = error + rounding_error(_decoded_float32(setting), torch_dtype(setting.config.dtype))
    if setting.has("output"):
        model = _output(setting)
        if _quantizes_activations(setting):
            model = replace(model, bound=model.bound + _activation_error(setting))
        yield dense.against_reference(setting, "output", model, original, error)
    if setting.has("grad_input"):
        model = _backward_input(setting)
        yield dense.against_reference(setting, "grad_input", model, original, error)


def weight_error(stored: Stored8bit, original: Tensor) -> Tensor:
    """Bound of |decoded - original|, float64 [N, K]: half a step, the cast to float16, and float32 roundings."""
    u = UNIT_ROUNDOFF[FLOAT32]
    step = stored.scales.double().unsqueeze(1) / LARGEST_CODE
    return step * (0.5 + 4 * u * LARGEST_CODE) + rounding_error(original, FLOAT16)


def _against_theory(setting: Setting, stored: Stored8bit) -> float:
    """Quantization error of N(0, 1) weights, once they are float16, against uniform errors within each step.

    A step is S/127 and the spacing of bfloat16 next to S is up to S/128: one value a step, whose error is
    not uniform but the same in every row of that S. Float16 has at least eight values a step.
    """
    weight = setting.inputs.weight
    if setting.config.weight != "normal" or weight.numel() < setting.bounds.theory_elements:
        return 0.0
    if weight.dtype == torch.bfloat16:
        return 0.0
    scales = stored.scales.double()
    decoded = stored.codes.double() * scales.unsqueeze(1) / LARGEST_CODE
    return theory.int8_z(weight.to(FLOAT16).double() - decoded, scales)


def _tie_slack(setting: Setting) -> float:
    """Where the library divides and multiplies in IEEE float32, its codes are known to the last tie."""
    return 0.0 if setting.arithmetic.ieee_division else setting.bounds.tie_slack


def _quantizes_activations(setting: Setting) -> bool:
    return setting.config.mode == "eval" or not setting.arithmetic.dequantizes_in_training


def _ends_in_float16(setting: Setting) -> bool:
    return _quantizes_activations(setting) and setting.arithmetic.int8_in_float16


@once
def _decoded_float32(setting: Setting) -> Tensor:
    return int8.decode_float32(setting.parts["stored"])


@once
def _decoded(setting: Setting) -> Tensor:
    return int8.decode(setting.parts["stored"], torch_dtype(setting.config.dtype))


@once
def _backward_input(setting: Setting) -> Model:
    return dense.backward_input(setting, _decoded(setting))


@once
def _output(setting: Setting) -> Model:
    dtype = torch_dtype(setting.config.dtype)
    if not _quantizes_activations(setting):
        return dense.forward(setting, _decoded(setting))
    return _int8_product(setting, kernel=dtype)


def _int8_product(setting: Setting, *, kernel: torch.dtype) -> Model:
    """y* = acc·s·S/127² + b + Σ_o x_o·Ŵ_o and its bound, where the int8 part is written in the dtype `kernel`.

    Each rounding is one of a value that is known up to the error E so far: of what it rounds it may err by u(|y| + E).
    E begins with 5u32(|y1* - b| + |b|) and what codes near a tie may move. Then y1* = acc·s·S/127² + b is stored, as
    an infinity if it overflows; then γ~(λ)|x_o||Ŵ_o| comes on top, where an accelerator may round the product of the
    outlier columns first, and the sum is rounded (docs/method.md, "int8 product"). The sums of codes are exact in
    int32, so K does not enter.
    """
    config, inputs, bounds = setting.config, setting.inputs, setting.bounds
    dtype = torch_dtype(config.dtype)
    stored: Stored8bit = setting.parts["stored"]
    x = inputs.x.reshape(-1, config.in_features)
    rows = int8.quantize_rows(x, config.threshold, _tie_slack(setting))
    scale = rows.scales.unsqueeze(1) * stored.scales.double() / LARGEST_CODE**2
    inner = (rows.codes @ stored.codes.double().T) * scale
    ambiguous = (rows.ties.double() @ stored.codes.double().abs().T) * scale
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
        x[:, rows.outliers].double(), rounded(_decoded_float32(setting)[:, rows.outliers], dtype), None
    )
    expected = first + outliers.total
    apart = outliers.magnitude * probabilistic_gamma(outliers.terms + 1, u, bounds.confidence)
    if not setting.arithmetic.fused_outliers:
        apart = _rounded(outliers.total, apart, dtype)
        expected = _added(first, outliers.total, apart, dtype, setting.parts["output"])
    error = _rounded(expected, error + apart, dtype)
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


def _activation_error(setting: Setting) -> Tensor:
    """What rounding activations to int8 may move: |x̂ - x||Ŵ| with the codes our own quantizer chose."""
    config = setting.config
    x = setting.inputs.x.reshape(-1, config.in_features)
    rows = int8.quantize_rows(x, config.threshold, _tie_slack(setting))
    decoded = rows.codes * rows.scales.unsqueeze(1) / LARGEST_CODE
    decoded[:, rows.outliers] = x.double()[:, rows.outliers]
    moved: Tensor = (decoded - x.double()).abs() @ _decoded_float32(setting).abs().T
    return moved.reshape(*config.batch, config.out_features)


def _weight_gradient(setting: Setting) -> Comparison:
    """Straight through the quantizer: dW = gᵀ·x, accumulated in float32, rounded to input and weight dtype."""
    config, inputs = setting.config, setting.inputs
    gradient = inputs.grad_output.reshape(-1, config.out_features)
    x = inputs.x.reshape(-1, config.in_features)
    product = linear.affine(gradient.double().T, x.double().T, None)
    actual = setting.parts["grad_weight"]
    quantized = not setting.arithmetic.dequantizes_in_training
    return Comparison(
        stage=Stage.COMPUTE,
        quantity="grad_weight",
        actual=actual,
        dtype=actual.dtype,
        model=linear.accumulated(product, torch_dtype(config.dtype), actual.dtype, setting.bounds.confidence),
        basis="accumulation",
        lower=(lambda: [("int8 columns of gradient and input", _int8_gradient(gradient, x, actual.dtype))])
        if quantized
        else None,
        least_effect=setting.least_effect("activation", "gradient"),
    )


def _int8_gradient(gradient: Tensor, x: Tensor, dtype: torch.dtype) -> Model:
    """The weight gradient as LLM.int8() means it: an int8 product of columns, written in float16."""
    expected, magnitude = int8.product(gradient, x)
    u = UNIT_ROUNDOFF[FLOAT32]
    bound = rounding_error(expected, FLOAT16) + 5 * u * magnitude
    return Model(
        expected=expected,
        bound=bound + rounding_error(expected.abs() + bound, dtype),
        scale=magnitude * u,
        overflow=overflow_threshold(FLOAT16),
    )
