"""The comparison of a relation: two results that must agree exactly, or within the orders of one float32 sum."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from accuracy.case import Linear8bitConfig, Stage
from accuracy.checks import dense
from accuracy.checks.int8 import DEQUANTIZES_TO_FLOAT16
from accuracy.checks.setting import Setting, compute_dtype, torch_dtype
from accuracy.comparison import Comparison, Model
from accuracy.oracles import four_bit, int8
from accuracy.oracles.four_bit import Stored4bit
from accuracy.oracles.rounding import rounding_error


def invariant(setting: Setting) -> Iterator[Comparison]:
    """Whether the relation that the config names holds.

    Where an order of summation enters, each side may be off by the bound of the compute stage.
    """
    if not setting.has("relation"):
        return
    pair = setting.parts["relation"]
    expected = pair.expected.double()
    bound = torch.zeros_like(expected) + pair.slack
    if pair.sums:
        bound = bound + pair.sums * _sum_bound(setting, expected)
    model = Model(expected=expected, bound=bound, scale=expected.abs())
    in_float16 = isinstance(setting.config, Linear8bitConfig) and setting.device_type in DEQUANTIZES_TO_FLOAT16
    yield Comparison(
        stage=Stage.INVARIANT,
        quantity=setting.config.relation,
        actual=pair.actual,
        dtype=torch_dtype(setting.config.dtype),
        model=model,
        basis="accumulation" if pair.sums else "invariant",
        lower=(lambda: ("a result in float16", _through_float16(model))) if in_float16 else None,
    )


def _through_float16(model: Model) -> Model:
    """Each of the two results passed through float16 on its way to the output dtype."""
    return replace(model, bound=model.bound + 2 * rounding_error(model.expected, torch.float16))


def _sum_bound(setting: Setting, expected: Tensor) -> Tensor:
    """The compute stage's bound for the largest row, of the shape of `expected`.

    The relation may have taken some rows or all of them in another order, so each element gets the
    largest bound of its column.
    """
    model = dense.expected_output(setting, _decoded(setting))
    columns = model.bound.reshape(-1, model.bound.shape[-1]).amax(dim=0)
    return columns.expand(expected.shape)


def _decoded(setting: Setting) -> Tensor:
    """The weight in the compute dtype, as our own quantizer or the stored bytes have it."""
    compute = compute_dtype(setting.config)
    stored = setting.parts.get("stored")
    if isinstance(stored, Stored4bit):
        return four_bit.decode(stored, compute)
    scaled, scales = int8.scaled_rows(setting.inputs.weight)
    return int8.decode(int8.Stored8bit(codes=scaled.round().to(torch.int8), scales=scales), compute)
