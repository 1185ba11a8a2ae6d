"""Checks of the embeddings. A lookup sums nothing, so every stage but the quantization error is exact."""

from collections.abc import Iterator

import torch

from accuracy.case import Stage
from accuracy.checks import four_bit as four_bit_checks
from accuracy.checks import int8 as int8_checks
from accuracy.checks.setting import Setting, torch_dtype
from accuracy.comparison import Comparison, Model, exact
from accuracy.oracles import four_bit, int8
from accuracy.oracles.int8 import Stored8bit
from accuracy.oracles.rounding import rounded, rounding_error


def compute_4bit(setting: Setting) -> Iterator[Comparison]:
    """Looked-up rows against our own decoding of the stored bytes: fl_out(fl_state(code·s)), bit for bit."""
    if setting.has("output"):
        stored = setting.parts["stored"]
        weight = rounded(four_bit.decode(stored, stored.dtype), torch_dtype(setting.config.dtype))
        yield _lookup(setting, weight[setting.inputs.index])


def compute_8bit(setting: Setting) -> Iterator[Comparison]:
    """Looked-up rows against fl_out(fl32(q·fl32(S/127))), bit for bit.

    An accelerator may divide by 127 as a product with fl32(1/127); where the library's value is that
    one, it is the expected one.
    """
    if not setting.has("output"):
        return
    stored: Stored8bit = setting.parts["stored"]
    dtype, index = torch_dtype(setting.config.dtype), setting.inputs.index
    divided, multiplied = (
        rounded(rounded(stored.codes.double() * scale.double().unsqueeze(1), torch.float32), dtype)[index]
        for scale in (stored.scales / int8.LARGEST_CODE, stored.scales * int8.RECIPROCAL_127)
    )
    actual = setting.parts["output"]
    same = actual.shape == multiplied.shape and not setting.arithmetic.ieee_division
    yield _lookup(setting, torch.where(actual.double() == multiplied, multiplied, divided) if same else divided)


def quantization_4bit(setting: Setting) -> Iterator[Comparison]:
    """Looked-up rows against those of the fp32 table."""
    if setting.has("output") and setting.ordinary:
        stored, original = setting.parts["stored"], setting.inputs.weight.double()
        error = four_bit_checks.weight_error(stored, original, setting.code_slack)
        error = error + rounding_error(four_bit.decode_float32(stored), stored.dtype)
        decoded = four_bit.decode(stored, torch_dtype(setting.config.dtype))
        yield _against_table(setting, error, decoded)


def quantization_8bit(setting: Setting) -> Iterator[Comparison]:
    """Looked-up rows against those of the fp32 table."""
    if setting.has("output") and setting.ordinary:
        stored, original = setting.parts["stored"], setting.inputs.weight.double()
        decoded = int8.decode_float32(stored)
        dtype = torch_dtype(setting.config.dtype)
        error = int8_checks.weight_error(stored, original) + rounding_error(decoded, dtype)
        yield _against_table(setting, error, rounded(decoded, dtype))


def _lookup(setting: Setting, rows: torch.Tensor) -> Comparison:
    return Comparison(
        stage=Stage.COMPUTE,
        quantity="output",
        actual=setting.parts["output"],
        dtype=torch_dtype(setting.config.dtype),
        model=exact(rows),
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
