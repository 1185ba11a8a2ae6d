"""The comparison of a relation: two results that must agree exactly, or within the orders of one float32 sum."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from accuracy.case import Linear8bitConfig, Stage
from accuracy.checks import dense, fused
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
    yield Comparison(
        stage=Stage.INVARIANT,
        quantity=setting.config.relation,
        actual=pair.actual,
        dtype=torch_dtype(setting.config.dtype),
        model=model,
        basis="accumulation" if pair.sums else "invariant",
        lower=_lower_precision(setting, model, pair.sums),
    )


def _lower_precision(setting: Setting, model: Model, sums: int) -> Callable[[], Iterable[tuple[str, Model]]] | None:
    """The lower precision in which this device computes one or both of the results."""
    if isinstance(setting.config, Linear8bitConfig):
        in_float16 = setting.arithmetic.int8_in_float16
        return (lambda: [("a result in float16", _through_float16(model))]) if in_float16 else None
    if sums and fused.in_16_bits_on_cuda(setting):
        return lambda: [(fused.ROUNDED_PRODUCTS, _fused(setting, model, sums))]
    return None


def _fused(setting: Setting, model: Model, sums: int) -> Model:
    """Each result from a kernel that the number of its rows chose, so that they may differ in precision."""
    apart = _largest_in_column(fused.apart(setting))
    return replace(model, bound=model.bound + sums * apart)


def _through_float16(model: Model) -> Model:
    """Each of the two results passed through float16 on its way to the output dtype."""
    return replace(model, bound=model.bound + 2 * rounding_error(model.expected, torch.float16))


def _sum_bound(setting: Setting, expected: Tensor) -> Tensor:
    """The compute stage's bound for the largest row, of the shape of `expected`.

    The relation may have taken some rows or all of them in another order, so each element gets the
    largest bound of its column.
    """
    weight = _decoded(setting)
    bound = dense.expected_output(setting, weight).bound
    if isinstance(setting.parts.get("stored"), Stored4bit):
        moved = fused.moved_by_scales(setting, weight)
        bound = bound if moved is None else bound + moved
    return _largest_in_column(bound).expand(expected.shape)


def _largest_in_column(bound: Tensor) -> Tensor:
    return bound.reshape(-1, bound.shape[-1]).amax(dim=0)


def _decoded(setting: Setting) -> Tensor:
    """The weight in the compute dtype, as our own quantizer or the stored bytes have it."""
    compute = compute_dtype(setting.config)
    stored = setting.parts.get("stored")
    if isinstance(stored, Stored4bit):
        return four_bit.decode(stored, compute)
    scaled, scales = int8.scaled_rows(setting.inputs.weight)
    return int8.decode(int8.Stored8bit(codes=scaled.round().to(torch.int8), scales=scales), compute)
