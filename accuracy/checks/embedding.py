"""Checks of the embeddings. A lookup sums nothing, so every stage but the quantization error is exact."""

from collections.abc import Iterator

import torch

from accuracy.case import Stage
from accuracy.checks import four_bit as four_bit_checks
from accuracy.checks import int8 as int8_checks
from accuracy.checks.setting import Setting, torch_dtype
from accuracy.comparison import Comparison, Model, exact
from accuracy.oracles import four_bit, int8
from accuracy.oracles.rounding import rounded, rounding_error


def compute_4bit(setting: Setting) -> Iterator[Comparison]:
    """Looked-up rows against our own decoding of the stored bytes: fl_out(fl_state(code·s)), bit for bit."""
    if setting.has("output"):
        stored = setting.parts["stored"]
        weight = rounded(four_bit.decode(stored, stored.dtype), torch_dtype(setting.config.dtype))
        yield _lookup(setting, weight)


def compute_8bit(setting: Setting) -> Iterator[Comparison]:
    """Looked-up rows against fl_out(fl32(q·fl32(S/127))), bit for bit."""
    if setting.has("output"):
        stored = setting.parts["stored"]
        scale = (stored.scales / int8.LARGEST_CODE).double().unsqueeze(1)
        weight = rounded(stored.codes.double() * scale, torch.float32)
        yield _lookup(setting, rounded(weight, torch_dtype(setting.config.dtype)))


def quantization_4bit(setting: Setting) -> Iterator[Comparison]:
    """Looked-up rows against those of the fp32 table."""
    if setting.has("output"):
        stored, original = setting.parts["stored"], setting.inputs.weight.double()
        error = four_bit_checks.weight_error(stored, original)
        error = error + rounding_error(four_bit.decode_float32(stored), stored.dtype)
        decoded = four_bit.decode(stored, torch_dtype(setting.config.dtype))
        yield _against_table(setting, error, decoded)


def quantization_8bit(setting: Setting) -> Iterator[Comparison]:
    """Looked-up rows against those of the fp32 table."""
    if setting.has("output"):
        stored, original = setting.parts["stored"], setting.inputs.weight.double()
        decoded = int8.decode_float32(stored)
        dtype = torch_dtype(setting.config.dtype)
        error = int8_checks.weight_error(stored, original) + rounding_error(decoded, dtype)
        yield _against_table(setting, error, rounded(decoded, dtype))


def _lookup(setting: Setting, weight: torch.Tensor) -> Comparison:
    return Comparison(
        stage=Stage.COMPUTE,
        quantity="output",
        actual=setting.parts["output"],
        dtype=torch_dtype(setting.config.dtype),
        model=exact(weight[setting.inputs.index]),
        basis="exact",
    )


def _against_table(setting: Setting, error: torch.Tensor, decoded: torch.Tensor) -> Comparison:
    index, original = setting.inputs.index, setting.inputs.weight.double()
    return Comparison(
        stage=Stage.QUANTIZATION,
        quantity="output",
        actual=setting.parts["output"],
        dtype=torch_dtype(setting.config.dtype),
        model=Model(expected=original[index], bound=error[index], scale=original[index].abs()),
        basis="half-gap",
        oracle=decoded[index],
    )
