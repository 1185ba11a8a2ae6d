"""Checks of the 4-bit layers: what was stored, how it is read back, and what is computed from it."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from accuracy.case import Stage
from accuracy.checks import dense, fused
from accuracy.checks.setting import Setting, compute_dtype, once, torch_dtype
from accuracy.comparison import Comparison, Model, exact
from accuracy.formats import NESTED_BLOCKSIZE
from accuracy.oracles import codes, four_bit, theory
from accuracy.oracles.four_bit import NestedScales, Stored4bit
from accuracy.oracles.rounding import UNIT_ROUNDOFF, rounded, rounding_error
from accuracy.roundoff import probabilistic_gamma

FLOAT32 = torch.float32


def encode(setting: Setting) -> Iterator[Comparison]:
    """Stored codes and scales against those a float64 quantizer makes of the original weight."""
    if not setting.has("stored"):
        return
    stored: Stored4bit = setting.parts["stored"]
    scales = _maxima(setting)
    if isinstance(stored.scales, Tensor):
        yield _scales(stored.scales, scales, setting.bounds.zero_block_scale)
    else:
        yield from _nested_scales(stored.scales, scales, setting)
        # A block of zeros decodes with a scale beside zero, so that its codes have to be that of zero.
        scales = torch.where(scales == 0, 1.0, scales)
    per_element = four_bit.per_element(scales, stored.blocksize, math.prod(stored.shape)).double()
    weight = setting.inputs.weight.double().reshape(-1)
    yield from _codes("codes", weight, per_element, _chosen(setting), codes.four_bit(stored.quant_type), setting)


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
        model=exact(_decoded(setting, stored.dtype)),
        basis="exact",
    )
    # A weight of the wrong shape is so in every dtype, and is said once.
    if setting.has("weight_in_compute_dtype") and setting.parts["weight"].shape == stored.shape:
        yield Comparison(
            stage=Stage.DECODE,
            quantity="weight_in_compute_dtype",
            actual=setting.parts["weight_in_compute_dtype"],
            dtype=compute_dtype(setting.config),
            model=exact(_decoded(setting, compute_dtype(setting.config))),
            basis="exact",
        )


def compute(setting: Setting) -> Iterator[Comparison]:
    """Output and gradients of `Linear4bit` against float64 products of the decoded weight."""
    if setting.has("output"):
        model = _forward(setting)
        yield Comparison(
            stage=Stage.COMPUTE,
            quantity="output",
            actual=setting.parts["output"],
            dtype=torch_dtype(setting.config.dtype),
            model=model,
            basis="accumulation",
            lower=fused.lower_precision(setting),
            late=dense.late_bias(setting, model),
            quiet=setting.bounds.structure_quiet,
            least_effect=setting.least_effect("weight", "activation"),
        )
    if setting.has("grad_input"):
        model = _backward_input(setting)
        yield Comparison(
            stage=Stage.COMPUTE,
            quantity="grad_input",
            actual=setting.parts["grad_input"],
            dtype=torch_dtype(setting.config.dtype),
            model=model,
            basis="accumulation",
            least_effect=setting.least_effect("weight", "gradient"),
        )
    yield from dense.bias_gradient(setting)


def quantization(setting: Setting) -> Iterator[Comparison]:
    """Decoded weight, output and input gradient against the layer that was quantized."""
    if not setting.has("weight") or not setting.ordinary:
        return
    stored: Stored4bit = setting.parts["stored"]
    original = setting.inputs.weight.double()
    error = weight_error(stored, original, setting.code_slack)
    decoded = _decoded(setting, FLOAT32)
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
        model = _forward(setting)
        yield dense.against_reference(setting, "output", model, original, error)
    if setting.has("grad_input"):
        model = _backward_input(setting)
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
    maxima = _maxima(setting).double()
    scale = four_bit.per_element(maxima, stored.blocksize, original.numel())
    decoded = codes.four_bit(stored.quant_type).double()[_chosen(setting)] * scale
    return theory.four_bit_z(original.reshape(-1) - decoded, maxima, stored.blocksize, stored.quant_type)


@once
def _maxima(setting: Setting) -> Tensor:
    """The largest magnitude of each block of the original weight, float32."""
    return four_bit.block_maxima(setting.inputs.weight.float(), setting.parts["stored"].blocksize)


@once
def _chosen(setting: Setting) -> Tensor:
    return four_bit.unpack(setting.parts["stored"])


@once
def _decoded(setting: Setting, dtype: torch.dtype) -> Tensor:
    """The decoded weight, float64 [N, K]."""
    if dtype == FLOAT32:
        return four_bit.decode_float32(setting.parts["stored"])
    return rounded(_decoded(setting, FLOAT32), dtype)


@once
def _forward(setting: Setting) -> Model:
    weight = _decoded(setting, compute_dtype(setting.config))
    return fused.either_scale(setting, dense.forward(setting, weight), weight)


@once
def _backward_input(setting: Setting) -> Model:
    """The backward pass decodes in the dtype of the original weight and casts that to the gradient's."""
    decoded = _decoded(setting, setting.parts["stored"].dtype)
    return dense.backward_input(setting, rounded(decoded, compute_dtype(setting.config)))


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
    expected = codes.dynamic_8bit().double()
    yield Comparison(
        stage=Stage.ENCODE,
        quantity="nested_table",
        actual=stored.table,
        dtype=FLOAT32,
        model=Model(expected=expected, bound=codes.dynamic_8bit_bound(), scale=expected.abs()),
        basis="code-table",
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
    table = four_bit.nested_table(stored)
    yield from _codes("nested_codes", centred.double(), per_block, stored.codes.long(), table, setting, guard)


def _codes(  # noqa: PLR0917 - one comparison needs all of these
    quantity: str, values: Tensor, scale: Tensor, chosen: Tensor, table: Tensor, setting: Setting, error: float = 0.0
) -> Iterator[Comparison]:
    """How much farther each chosen code is than the nearest, in units of the scale.

    `error` is how far the values may be from those that were coded: |v - c| - min|v - c_k| moves by at most
    twice that. A scale of zero leaves no choice of code, nor does one with NaN or an infinity; where all
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
