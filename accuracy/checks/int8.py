"""Checks of `Linear8bitLt`: row-wise codes, the int8 product with outlier columns, and the gradients."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from accuracy.case import Stage
from accuracy.checks import dense, int8_product
from accuracy.checks.setting import Setting, once, torch_dtype
from accuracy.comparison import Comparison, Model, exact
from accuracy.oracles import int8, linear, theory
from accuracy.oracles.int8 import LARGEST_CODE, Stored8bit
from accuracy.oracles.rounding import UNIT_ROUNDOFF, rounding_error

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
    ties = int8.near_tie(scaled, int8_product.tie_slack(setting)).double()
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
        model=exact(int8_product.decoded_float32(setting)),
        basis="exact",
    )


def compute(setting: Setting) -> Iterator[Comparison]:
    """Output and gradients against float64 products of the stored codes."""
    dtype = torch_dtype(setting.config.dtype)
    if setting.has("output", "stored"):
        model = _output(setting)
        yield Comparison(
            stage=Stage.COMPUTE,
            quantity="output",
            actual=setting.parts["output"],
            dtype=dtype,
            model=model,
            basis="int8-product" if _quantizes_activations(setting) else "accumulation",
            lower=(lambda: [("a result in float16", int8_product.product(setting, kernel=FLOAT16))])
            if _ends_in_float16(setting)
            else None,
            late=_late(setting, model),
            quiet=setting.bounds.structure_quiet,
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
    error = error + rounding_error(int8_product.decoded_float32(setting), torch_dtype(setting.config.dtype))
    if setting.has("output"):
        model = _output(setting)
        if _quantizes_activations(setting):
            model = replace(model, bound=model.bound + int8_product.activation_error(setting))
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


def _quantizes_activations(setting: Setting) -> bool:
    return setting.config.mode == "eval" or not setting.arithmetic.dequantizes_in_training


def _ends_in_float16(setting: Setting) -> bool:
    return _quantizes_activations(setting) and setting.arithmetic.int8_in_float16


@once
def _decoded(setting: Setting) -> Tensor:
    return int8.decode(setting.parts["stored"], torch_dtype(setting.config.dtype))


@once
def _backward_input(setting: Setting) -> Model:
    return dense.backward_input(setting, _decoded(setting))


def _late(setting: Setting, model: Model) -> Callable[[], Model] | None:
    """The model of an output whose last addition is one of what was rounded already; None where it is not.

    Where every column holds an outlier the int8 part is the bias alone, one value down a column.
    """
    if not _quantizes_activations(setting):
        return dense.late_bias(setting, model)
    dtype = torch_dtype(setting.config.dtype)
    if setting.arithmetic.fused_outliers or dtype == FLOAT32:
        return None
    return lambda: int8_product.product(setting, kernel=dtype, late=True)


@once
def _output(setting: Setting) -> Model:
    dtype = torch_dtype(setting.config.dtype)
    if not _quantizes_activations(setting):
        return dense.forward(setting, _decoded(setting))
    return int8_product.product(setting, kernel=dtype)


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
        lower=(lambda: [("int8 columns of gradient and input", int8_product.gradient(gradient, x, actual.dtype))])
        if quantized
        else None,
        least_effect=setting.least_effect("activation", "gradient"),
    )
