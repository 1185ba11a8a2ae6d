"""The comparison of a relation: two results that must agree exactly, or within the orders of one float32 sum."""

from collections.abc import Iterator

import torch
from torch import Tensor

from accuracy.case import Stage
from accuracy.checks import dense
from accuracy.checks.setting import Setting, compute_dtype, torch_dtype
from accuracy.comparison import Comparison, Model
from accuracy.oracles import four_bit, int8
from accuracy.oracles.four_bit import Stored4bit


def holds(setting: Setting) -> Iterator[Comparison]:
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
    yield Comparison(
        stage=Stage.INVARIANT,
        quantity=setting.config.relation,
        actual=pair.actual,
        dtype=torch_dtype(setting.config.dtype),
        model=Model(expected=expected, bound=bound, scale=expected.abs()),
        basis="accumulation" if pair.sums else "invariant",
    )


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
