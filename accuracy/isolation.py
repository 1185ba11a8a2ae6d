"""Relations between the calls, copies and modes of one layer: what one of them does, no other may see.

Layers of a model share shapes, are called with few rows and with many, in and outside of autograd, by any number of
threads: whatever is kept for the next call, or shared with another layer, shows here.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from accuracy.subjects import gradient
from accuracy.twice import SLICE, Bench, Pair, joined

THREADS = 2
"""The fewest among which a kernel can divide its work."""

FAR = 2.0**24
"""Times N(0, 1) beyond the range of float16, and far inside that of bfloat16."""


def kept_output(bench: Bench) -> Pair:
    """The output of a call stays as it is when the layer is called again: no memory serves two of them."""
    layer, x = bench.layer(), bench.inputs.x
    with torch.no_grad():
        first = layer(x.clone().to(bench.device))
        before = first.clone()
        layer(x.flip(0).to(bench.device))
    return Pair(expected=before.cpu(), actual=first.cpu())


def other_layer(bench: Bench) -> Pair:
    """A batch gives the same bits after another layer of the same shape was called: layers share nothing."""
    layer = bench.layer()
    expected = bench.output(layer)
    bench.output(bench.layer(bench.another))
    return Pair(expected=expected, actual=bench.output(layer))


def more_rows(bench: Bench) -> Pair:
    """A batch gives the same bits after a smaller one, whose large values lie in other columns."""
    layer = bench.layer()
    bench.output(layer, bench.inputs.x[:SLICE].roll(1, dims=-1))
    return Pair(expected=bench.output(bench.layer()), actual=bench.output(layer))


def other_dtype(bench: Bench) -> Pair:
    """A batch gives the same bits after one in another dtype. Without a bias, which takes that dtype (docs, F27)."""
    inputs = replace(bench.inputs, bias=None)
    fresh, layer = bench.layer(inputs, bias=False), bench.layer(inputs, bias=False)
    bench.output(layer, inputs.x.to(bench.other(torch.float32)))
    return Pair(expected=bench.output(fresh), actual=bench.output(layer))


def copy_apart(bench: Bench) -> Pair:
    """A deep copy keeps its weight, scales and bias when those of the original are overwritten."""
    layer = bench.layer()
    copied = copy.deepcopy(layer)
    for name, held in layer.state_dict().items():
        if not name.endswith("_map"):  # code tables are constants, and may be one for all layers
            held.zero_()
    return Pair(expected=bench.output(bench.layer()), actual=bench.output(copied))


def with_gradients(bench: Bench) -> Pair:
    """Outside of `torch.no_grad` the output is the same."""
    recorded: Tensor = bench.layer()(bench.inputs.x.clone().to(bench.device))
    return Pair(expected=bench.output(bench.layer()), actual=recorded.detach().cpu(), sums=2)


def inference_mode(bench: Bench) -> Pair:
    """In `torch.inference_mode` the output is the same."""
    layer = bench.layer()
    with torch.inference_mode():
        inferred = layer(bench.inputs.x.clone().to(bench.device))
    return Pair(expected=bench.output(bench.layer()), actual=inferred.clone().cpu(), sums=2)


def two_threads(bench: Bench) -> Pair:
    """With two threads on the host, where everything else is measured with one, the output is the same."""
    expected = bench.output(bench.layer())
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        return Pair(expected=expected, actual=bench.output(bench.layer()), sums=2)
    finally:
        torch.set_num_threads(before)


def transposed_input(bench: Bench) -> Pair:
    """An input whose columns lie together gives what its contiguous copy gives."""
    x = bench.inputs.x.to(bench.device)
    with torch.no_grad():
        actual = bench.layer()(x.T.contiguous().T)
    return Pair(expected=bench.output(bench.layer()), actual=actual.cpu(), sums=2)


def unaligned_input(bench: Bench) -> Pair:
    """An input that begins in the middle of a buffer, as a slice does, gives what its copy gives."""
    x = bench.inputs.x
    buffer = torch.zeros(1 + x.numel(), dtype=x.dtype, device=bench.device)
    buffer[1:] = x.reshape(-1).to(bench.device)
    with torch.no_grad():
        actual = bench.layer()(buffer[1:].view(x.shape))
    return Pair(expected=bench.output(bench.layer()), actual=actual.cpu(), sums=2)


def autocast(bench: Bench) -> Pair:
    """In `torch.autocast` to the dtype of the input the output is the same: nothing is left to be cast."""
    x = bench.inputs.x.to(bench.narrow)  # autocast has no float32
    expected, layer = bench.output(bench.layer(), x), bench.layer()
    with torch.autocast(bench.device.type, dtype=x.dtype):
        return Pair(expected=expected, actual=bench.output(layer, x))


def autocast_of_large_input(bench: Bench) -> Pair:
    """In `torch.autocast` to bfloat16 a float32 input 2²⁴ times as large gives that much more. Without a bias."""
    inputs, x = replace(bench.inputs, bias=None), bench.inputs.x.float()
    with torch.autocast(bench.device.type, dtype=torch.bfloat16):
        plain, far = (bench.output(bench.layer(inputs, bias=False), x * scale) for scale in (1.0, FAR))
    return Pair(expected=plain, actual=far / FAR)


def after_autocast(bench: Bench) -> Pair:
    """A batch gives the same bits after a call in `torch.autocast` to another dtype."""
    layer = bench.layer()
    with torch.autocast(bench.device.type, dtype=bench.other(torch.float16)):
        bench.output(layer)
    return Pair(expected=bench.output(bench.layer()), actual=bench.output(layer))


def autocast_gradient(bench: Bench) -> Pair:
    """A forward pass in `torch.autocast` to the dtype of the input leads to the same gradient."""
    x = bench.inputs.x.to(bench.narrow)  # autocast has no float32
    upstream, leaf, layer = bench.inputs.grad_output.to(x.dtype), _leaf(bench, x), bench.layer()
    with torch.autocast(bench.device.type, dtype=x.dtype):
        out = layer(leaf)
    out.backward(upstream.to(bench.device))
    return Pair(expected=bench.gradient(bench.layer(), x, upstream), actual=gradient(leaf))


def expanded_gradient(bench: Bench) -> Pair:
    """A gradient of the output that is one row expanded, as a sum leaves it, gives what its contiguous copy gives."""
    x, upstream = bench.inputs.x, bench.inputs.grad_output[:1]
    leaf = _leaf(bench, x)
    out = bench.layer()(leaf)
    out.backward(upstream.to(bench.device).expand(out.shape))
    expected = bench.gradient(bench.layer(), x, upstream.expand(out.shape).contiguous())
    return Pair(expected=expected, actual=gradient(leaf))


def transposed_gradient(bench: Bench) -> Pair:
    """A gradient of the output whose columns lie together gives what its contiguous copy gives.

    Each row has one element that is not zero, so that no order of a sum enters.
    """
    x, upstream = bench.inputs.x, _one_a_row(bench.inputs.grad_output)
    leaf = _leaf(bench, x)
    bench.layer()(leaf).backward(upstream.to(bench.device).T.contiguous().T)
    return Pair(expected=bench.gradient(bench.layer(), x, upstream), actual=gradient(leaf))


def permuted_gradient(bench: Bench) -> Pair:
    """In rank 3, a gradient whose first two dimensions lie in memory in the other order gives what its copy gives.

    So it comes back from an output that was transposed, as attention does. As above, no order of a sum enters.
    """
    x = torch.stack([bench.inputs.x, bench.inputs.x.flip(0)], dim=1)
    upstream = _one_a_row(bench.inputs.grad_output).unsqueeze(1).repeat(1, 2, 1)
    leaf = _leaf(bench, x)
    bench.layer()(leaf).backward(upstream.to(bench.device).transpose(0, 1).contiguous().transpose(0, 1))
    return Pair(expected=bench.gradient(bench.layer(), x, upstream), actual=gradient(leaf))


def _one_a_row(values: Tensor) -> Tensor:
    """Of a matrix one element in each row, in turn of its columns; zeros elsewhere."""
    kept, rows = torch.zeros_like(values), torch.arange(values.shape[0])
    places = rows, rows % values.shape[1]
    kept[places] = values[places]
    return kept


def gradient_kept(bench: Bench) -> Pair:
    """A backward pass leaves the gradient that it is given as it was."""
    upstream = bench.inputs.grad_output.clone().to(bench.device)
    bench.layer()(_leaf(bench, bench.inputs.x)).backward(upstream)
    return Pair(expected=bench.inputs.grad_output, actual=upstream.cpu())


def two_forwards(bench: Bench) -> Pair:
    """A backward pass is that of its own forward pass, though another came in between."""
    return _between(bench, bench.inputs.x.flip(0) * 2)


def smaller_between(bench: Bench) -> Pair:
    """A backward pass is that of its own forward pass, though one of fewer rows came in between."""
    return _between(bench, bench.inputs.x[:SLICE])


def _between(bench: Bench, other: Tensor) -> Pair:
    """The gradient of the weight, or of the input where that has none, with and without another forward pass before."""
    upstream, seen = bench.inputs.grad_output.to(bench.device), []
    for between in (False, True):
        layer, leaf = bench.layer(), _leaf(bench, bench.inputs.x)
        out = layer(leaf)
        if between:
            layer(_leaf(bench, other))
        out.backward(upstream)
        seen.append(gradient(layer.weight if layer.weight.requires_grad else leaf))
    return Pair(expected=seen[0], actual=seen[1])


def two_layers(bench: Bench) -> Pair:
    """Two layers of the same shape in one graph lead to the gradients that each leads to alone."""
    x, upstream, drawn = bench.inputs.x, bench.inputs.grad_output, (bench.inputs, bench.another)
    alone = [bench.gradient(bench.layer(each), x, upstream) for each in drawn]
    leaves = [_leaf(bench, x) for _ in drawn]
    outputs = [bench.layer(each)(leaf) for each, leaf in zip(drawn, leaves, strict=True)]
    for output in reversed(outputs):  # as through layers in sequence
        output.backward(upstream.clone().to(bench.device))
    return Pair(expected=joined(alone), actual=joined([gradient(leaf) for leaf in leaves]))


def retained_graph(bench: Bench) -> Pair:
    """A second backward pass over one graph adds the same gradients again: twice the first, which is exact.

    Those of the input, the weight and the bias, as far as they have one.
    """
    layer, leaf, upstream = bench.layer(), _leaf(bench, bench.inputs.x), bench.inputs.grad_output.to(bench.device)
    leaves = [leaf, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    out = layer(leaf)
    out.backward(upstream, retain_graph=True)
    once = joined([gradient(leaf) for leaf in leaves])
    out.backward(upstream)
    return Pair(expected=once * 2, actual=joined([gradient(leaf) for leaf in leaves]))


def checkpointed(bench: Bench) -> Pair:
    """A layer whose forward pass is run again in the backward pass, as checkpoints do, leads to the same gradient."""
    x, upstream = bench.inputs.x, bench.inputs.grad_output
    leaf = _leaf(bench, x)
    out = checkpoint(bench.layer(), leaf, use_reentrant=True, preserve_rng_state=False)
    out.backward(upstream.to(bench.device))
    return Pair(expected=bench.gradient(bench.layer(), x, upstream), actual=gradient(leaf))


def _leaf(bench: Bench, x: Tensor) -> Tensor:
    return x.clone().to(bench.device).requires_grad_()


EVERYWHERE: Final[tuple[Callable[[Bench], Pair], ...]] = (
    kept_output, other_layer, more_rows, other_dtype, copy_apart, with_gradients, inference_mode, two_threads,
    transposed_input, unaligned_input, autocast, after_autocast,
)  # fmt: skip
IN_TRAINING: Final[tuple[Callable[[Bench], Pair], ...]] = (
    expanded_gradient,
    transposed_gradient,
    permuted_gradient,
    gradient_kept,
    two_forwards,
    smaller_between,
    two_layers,
    retained_graph,
    autocast_gradient,
    checkpointed,
)
