"""Relations of a layer in the hands of others: made by a loader of models, moved, frozen, or given new parameters.

Between a checkpoint and an answer a layer goes through hands that do not know that its weight is quantized.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import torch

from accuracy.twice import Bench, Pair


def default_dtype(bench: Bench) -> Pair:
    """Made while torch's default is a dtype of 16 bits, as loaders of models set it, a layer gives the same bits."""
    expected = bench.output(bench.layer())
    with _narrow_default(bench):
        layer = bench.layer()
    return Pair(expected=expected, actual=bench.output(layer))


def loaded_in_default_dtype(bench: Bench) -> Pair:
    """Loaded while torch's default is a dtype of 16 bits, a layer gives the bits of the one that was saved."""
    layer = bench.layer()
    with _narrow_default(bench):
        loaded = bench.reload(layer, bench.config, bench.inputs, bench.device)
    return Pair(expected=bench.output(bench.layer()), actual=bench.output(loaded.train(layer.training)))


@contextmanager
def _narrow_default(bench: Bench) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(bench.narrow)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def moved_after_forward(bench: Bench) -> Pair:
    """A layer that has run, moved to the CPU and back, gives the same bits."""
    layer = bench.layer()
    expected = bench.output(layer)
    return Pair(expected=expected, actual=bench.output(layer.to("cpu").to(bench.device)))


def frozen_bias(bench: Bench) -> Pair:
    """A bias that needs no gradient is added all the same where the input needs one."""
    layer = bench.layer()
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    out = layer(bench.inputs.x.clone().to(bench.device).requires_grad_())
    return Pair(expected=bench.output(bench.layer()), actual=out.detach().cpu(), sums=2)


def updated_bias(bench: Bench) -> Pair:
    """After a forward pass and a change of its bias in place, a layer adds the new bias."""
    bias = torch.ones(bench.config.out_features, dtype=bench.inputs.x.dtype)
    changed = replace(bench.inputs, bias=bias * 3)
    layer = bench.layer(replace(bench.inputs, bias=bias), bias=True)
    bench.output(layer)
    with torch.no_grad():
        layer.bias.copy_(changed.bias)
    return Pair(expected=bench.output(bench.layer(changed, bias=True)), actual=bench.output(layer))


def other_bias(bench: Bench) -> Pair:
    """A bias that is held in another dtype than the input, which has all its values, is added all the same."""
    bias = torch.arange(bench.config.out_features) % 8 - 4.0  # exact in every dtype
    seen = []
    for dtype in (bench.inputs.x.dtype, bench.other(torch.float32)):
        layer = bench.layer(replace(bench.inputs, bias=bias.to(bench.inputs.x.dtype)), bias=True)
        layer.bias.data = layer.bias.data.to(dtype)
        seen.append(bench.output(layer))
    return Pair(expected=seen[0], actual=seen[1])


def replaced_weight(bench: Bench) -> Pair:
    """After a forward pass a layer that is given the weight of another computes with that."""
    other = bench.another
    layer = bench.layer()
    bench.output(layer)
    layer.weight = copy.deepcopy(bench.layer(other).weight)
    return Pair(expected=bench.output(bench.layer(other)), actual=bench.output(layer))


def transposed_weight(bench: Bench) -> Pair:
    """A layer made of a weight whose columns lie together, as a transposed checkpoint's do, gives the same bits."""
    transposed = replace(bench.inputs, weight=bench.inputs.weight.T.contiguous().T)
    return Pair(expected=bench.output(bench.layer()), actual=bench.output(bench.layer(transposed)))


EVERYWHERE: Final[tuple[Callable[[Bench], Pair], ...]] = (
    default_dtype, loaded_in_default_dtype, moved_after_forward, frozen_bias, updated_bias, other_bias,
    replaced_weight, transposed_weight,
)  # fmt: skip
