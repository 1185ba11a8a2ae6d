"""Relations of dense layers that hold by mathematics, whatever the numbers are: no oracle is needed to see them broken.

Each relation runs a real layer twice in two ways that must agree, exactly or within what two orders
of the same float32 sum may differ (docs/method.md, "invariants"). A config names the one it runs.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from accuracy import formats, isolation, keeping, subjects
from accuracy.case import Linear4bitRelation, Linear8bitRelation
from accuracy.checks.setting import compute_dtype, torch_dtype
from accuracy.inputs import LinearInputs
from accuracy.oracles.linear import operand
from accuracy.oracles.rounding import SMALLEST_SUBNORMAL, UNIT_ROUNDOFF, rounding_error
from accuracy.twice import SLICE, Bench, Pair, joined

BACKWARD_CALLS = 3


def repeat(bench: Bench) -> Pair:
    """A second forward pass gives the same bits: the layer keeps no state and decides nothing by chance."""
    layer = bench.layer()
    return Pair(expected=bench.output(layer), actual=bench.output(layer))


def input_kept(bench: Bench) -> Pair:
    """A forward pass leaves its input as it was."""
    x = bench.inputs.x.clone().to(bench.device)
    with torch.no_grad():
        bench.layer()(x)
    return Pair(actual=x.cpu(), expected=bench.inputs.x)


def rows_alone(bench: Bench) -> Pair:
    """Rows run alone give what they give in the batch."""
    layer = bench.layer()
    return Pair(expected=bench.output(layer)[:SLICE], actual=bench.output(layer, bench.inputs.x[:SLICE]), sums=2)


def row_order(bench: Bench) -> Pair:
    """Rows in reverse order give the results in reverse order."""
    layer = bench.layer()
    return Pair(expected=bench.output(layer).flip(0), actual=bench.output(layer, bench.inputs.x.flip(0)), sums=2)


def doubled_input(bench: Bench) -> Pair:
    """Twice the input and the bias give exactly twice the output: a power of two is exact in every step."""
    bias = None if bench.inputs.bias is None else bench.inputs.bias * 2
    doubled = replace(bench.inputs, bias=bias, x=bench.inputs.x * 2)
    expected = bench.output(bench.layer()) * 2
    return Pair(expected=expected, actual=bench.output(bench.layer(doubled), doubled.x), slack=_underflow(bench))


def doubled_weight(bench: Bench) -> Pair:
    """Twice the weight and the bias give exactly twice the output: codes are equal, scales are doubled."""
    bias = None if bench.inputs.bias is None else bench.inputs.bias * 2
    doubled = replace(bench.inputs, bias=bias, weight=bench.inputs.weight * 2)
    expected = bench.output(bench.layer()) * 2
    return Pair(expected=expected, actual=bench.output(bench.layer(doubled)), slack=_underflow(bench))


def doubled_gradient(bench: Bench) -> Pair:
    """Twice the output's gradient gives exactly twice the input's."""
    x, upstream = bench.inputs.x, bench.inputs.grad_output
    expected = bench.gradient(bench.layer(), x, upstream) * 2
    actual = bench.gradient(bench.layer(), x, upstream * 2)
    return Pair(expected=expected, actual=actual, slack=_underflow(bench))


def zero_input(bench: Bench) -> Pair:
    """A zero input gives the bias, and nothing else."""
    output = bench.output(bench.layer(), torch.zeros_like(bench.inputs.x))
    bias = torch.zeros(bench.config.out_features) if bench.inputs.bias is None else bench.inputs.bias
    dtype = torch_dtype(bench.config.dtype)
    expected = operand(operand(bias, compute_dtype(bench.config)), dtype).to(dtype)
    return Pair(actual=output, expected=expected.expand(output.shape))


def zero_columns(bench: Bench) -> Pair:
    """A block of zero columns appended to the weight changes nothing, whatever the input holds there."""
    config, inputs = bench.config, bench.inputs
    width = getattr(config, "blocksize", 64)
    weight = torch.nn.functional.pad(inputs.weight, (0, width))
    x = torch.cat([inputs.x, inputs.x[..., :1].expand(*inputs.x.shape[:-1], width)], dim=-1)
    padded = replace(inputs, weight=weight, x=x)
    layer = bench.layer(padded, in_features=config.in_features + width)
    return Pair(expected=bench.output(bench.layer()), actual=bench.output(layer, x), sums=2)


def save_and_load(bench: Bench) -> Pair:
    """A layer loaded from the state dict of a fresh one gives the same bits."""
    layer = bench.layer()
    loaded = bench.reload(layer, bench.config, bench.inputs, bench.device)
    return Pair(expected=bench.output(bench.layer()), actual=bench.output(loaded.train(layer.training)))


def save_after_forward(bench: Bench) -> Pair:
    """A layer in a model, loaded from the state dict of one that has run, gives the same bits."""
    layer = bench.layer()
    expected = bench.output(layer)
    loaded = bench.reload(layer, bench.config, bench.inputs, bench.device, prefix="0.")
    return Pair(expected=expected, actual=bench.output(loaded.train(layer.training)))


def deep_copy(bench: Bench) -> Pair:
    """A deep copy of a fresh layer gives the same bits."""
    layer = bench.layer()
    copied = copy.deepcopy(layer)
    return Pair(expected=bench.output(layer), actual=bench.output(copied))


def copy_after_forward(bench: Bench) -> Pair:
    """A deep copy of a layer that has run gives the same bits."""
    layer = bench.layer()
    expected = bench.output(layer)
    return Pair(expected=expected, actual=bench.output(copy.deepcopy(layer)))


def device_round_trip(bench: Bench) -> Pair:
    """A layer moved to the CPU and back gives the same bits."""
    moved = bench.layer().to("cpu").to(bench.device)
    return Pair(expected=bench.output(bench.layer()), actual=bench.output(moved))


def mode_round_trip(bench: Bench) -> Pair:
    """A forward pass in the other mode in between changes nothing."""
    layer = bench.layer()
    expected = bench.output(layer)
    mode = layer.training
    bench.output(layer.train(not mode))
    return Pair(expected=expected, actual=bench.output(layer.train(mode)))


def gradient_in_eval(bench: Bench) -> Pair:
    """The input has the gradient of training in the other mode too: a dense layer does the same in both."""
    x, upstream = bench.inputs.x, bench.inputs.grad_output
    expected = bench.gradient(bench.layer().train(), x, upstream)
    return Pair(expected=expected, actual=bench.gradient(bench.layer().eval(), x, upstream))


def no_rows(bench: Bench) -> Pair:
    """An input without rows, of rank 2 and of rank 3, before the batch, gives no rows of output and changes nothing."""
    layer, none = bench.layer(), bench.inputs.x[:0]
    of_rank_3 = bench.output(layer, none.unsqueeze(1)).permute(1, 0, 2)[0]  # raises if it has another rank
    actual = torch.cat([of_rank_3, bench.output(layer, none), bench.output(layer)])
    return Pair(expected=bench.output(bench.layer()), actual=actual)


def no_rows_gradient(bench: Bench) -> Pair:
    """An input without rows has a gradient without rows and leaves zeros to the bias; rows then have their own."""
    x, upstream = bench.inputs.x, bench.inputs.grad_output
    layer, fresh = bench.layer(), bench.layer()
    of_rows = bench.gradient(fresh, x, upstream)
    actual = [bench.gradient(layer, x[:0], upstream[:0])]
    if fresh.bias is None:
        return Pair(expected=joined([of_rows]), actual=joined([*actual, bench.gradient(layer, x, upstream)]))
    of_bias = subjects.gradient(fresh.bias)
    actual.append(subjects.gradient(layer.bias).clone())  # before it is added to
    actual += [bench.gradient(layer, x, upstream), subjects.gradient(layer.bias)]
    return Pair(expected=joined([torch.zeros_like(of_bias), of_rows, of_bias]), actual=joined(actual))


def frozen_input(bench: Bench) -> Pair:
    """Weight, where it has one, or bias have the same gradient when the input needs none, as in a first layer."""
    x, upstream = bench.inputs.x, bench.inputs.grad_output
    bias = torch.zeros(bench.config.out_features, dtype=x.dtype) if bench.inputs.bias is None else bench.inputs.bias
    inputs = replace(bench.inputs, bias=bias)
    whole, frozen = bench.layer(inputs, bias=True), bench.layer(inputs, bias=True)
    bench.gradient(whole, x, upstream)
    frozen(x.clone().to(bench.device)).backward(upstream.clone().to(bench.device))
    of_whole, of_frozen = (layer.weight if layer.weight.requires_grad else layer.bias for layer in (whole, frozen))
    return Pair(expected=subjects.gradient(of_whole), actual=subjects.gradient(of_frozen))


def trains_after_eval(bench: Bench) -> Pair:
    """The input has its gradient in training, also after the layer was used for inference."""
    x, upstream = bench.inputs.x, bench.inputs.grad_output
    expected = bench.gradient(bench.layer().train(), x, upstream)
    layer = bench.layer()
    bench.output(layer.eval())
    return Pair(expected=expected, actual=bench.gradient(layer.train(), x, upstream))


def updated_weight(bench: Bench) -> Pair:
    """After a backward pass and a change of its fp16 weight in place, a layer computes with the new weight."""
    layer = bench.layer()
    bench.gradient(layer, bench.inputs.x, bench.inputs.grad_output)
    changed = bench.another
    with torch.no_grad():
        layer.weight.copy_(changed.weight.to(layer.weight.device))
    return Pair(expected=bench.output(bench.layer(changed)), actual=bench.output(layer))


def weight_kept(bench: Bench) -> Pair:
    """A forward pass in either mode leaves the fp16 weight, which is trained, as it was."""
    layer = bench.layer()
    expected = layer.weight.detach().clone()
    for mode in (layer.training, not layer.training):
        bench.output(layer.train(mode))
    return Pair(expected=expected.cpu(), actual=layer.weight.detach().cpu())


def requantized_weight(bench: Bench) -> Pair:
    """A training step as optimizers make it, gradients cleared before the next, computes with the new weight.

    Written through `.data`, as the library's own optimizers do, which no version counter notices.
    """
    layer = bench.layer()
    bench.gradient(layer, bench.inputs.x, bench.inputs.grad_output)
    layer.zero_grad(set_to_none=True)
    changed = bench.another
    layer.weight.data.copy_(changed.weight.to(layer.weight.device))
    return Pair(expected=bench.output(bench.layer(changed)), actual=bench.output(layer))


def strided_input(bench: Bench) -> Pair:
    """An input that is a view with gaps gives what its contiguous copy gives."""
    layer = bench.layer()
    expected = bench.output(layer)
    spread = torch.stack([bench.inputs.x, torch.ones_like(bench.inputs.x)], dim=-1).to(bench.device)
    with torch.no_grad():
        actual = layer(spread[..., 0]).cpu()
    return Pair(expected=expected, actual=actual, sums=2)


def accumulated_gradient(bench: Bench) -> Pair:
    """Backward passes add up: n of them give n times one, save the rounding of each sum to the gradient's dtype."""
    x, upstream = bench.inputs.x, bench.inputs.grad_output
    one = bench.gradient(bench.layer(), x, upstream)
    return _added_up(one, bench.gradient(bench.layer(), x, upstream, calls=BACKWARD_CALLS))


def accumulated_weight_gradient(bench: Bench) -> Pair:
    """The weight's gradients add up likewise, though each pass but the first finds that of the one before."""
    seen = []
    for calls in (1, BACKWARD_CALLS):
        layer = bench.layer()
        bench.gradient(layer, bench.inputs.x, bench.inputs.grad_output, calls=calls)
        seen.append(subjects.gradient(layer.weight))
    return _added_up(*seen)


def accumulated_bias_gradient(bench: Bench) -> Pair:
    """The bias' gradients add up likewise."""
    bias = torch.zeros(bench.config.out_features, dtype=bench.inputs.x.dtype)
    inputs, seen = replace(bench.inputs, bias=bias), []
    for calls in (1, BACKWARD_CALLS):
        layer = bench.layer(inputs, bias=True)
        bench.gradient(layer, inputs.x, inputs.grad_output, calls=calls)
        seen.append(subjects.gradient(layer.bias))
    return _added_up(*seen)


def named_class(bench: Bench) -> Pair:
    """`LinearNF4` and `LinearFP4` give the bits of a `Linear4bit` that is asked for their type."""
    named = subjects.build_named_linear_4bit(bench.config, bench.inputs, bench.device)
    return Pair(expected=bench.output(bench.layer()), actual=bench.output(named))


def transposed_weight_gradient(bench: Bench) -> Pair:
    """The weight's gradient of an input whose columns lie together is that of its contiguous copy.

    One row alone has a gradient, so that nothing is summed.
    """
    x, upstream = bench.inputs.x, torch.zeros_like(bench.inputs.grad_output)
    upstream[-1] = bench.inputs.grad_output[-1]
    seen = []
    for given in (x, x.T.contiguous().T):
        layer = bench.layer()
        bench.gradient(layer, given, upstream)
        seen.append(subjects.gradient(layer.weight))
    return Pair(expected=seen[0], actual=seen[1])


def _added_up(one: Tensor, actual: Tensor) -> Pair:
    partial = [one.double() * count for count in range(2, BACKWARD_CALLS + 1)]
    slack = torch.stack([rounding_error(total, one.dtype) for total in partial]).sum(dim=0)
    slack = slack * (1 + BACKWARD_CALLS * UNIT_ROUNDOFF[one.dtype])
    return Pair(expected=one.double() * BACKWARD_CALLS, actual=actual, slack=slack)


Relation = Callable[[Bench], Pair]
EVERYWHERE: Final[tuple[Relation, ...]] = (
    repeat, input_kept, row_order, rows_alone, doubled_input, doubled_weight, zero_input, zero_columns,
    save_and_load, save_after_forward, deep_copy, copy_after_forward, device_round_trip, mode_round_trip,
    strided_input, no_rows, *isolation.EVERYWHERE, *keeping.EVERYWHERE,
)  # fmt: skip
IN_TRAINING: Final[tuple[Relation, ...]] = (
    doubled_gradient, accumulated_gradient, trains_after_eval, gradient_in_eval, no_rows_gradient, frozen_input,
    accumulated_bias_gradient, *isolation.IN_TRAINING,
)  # fmt: skip
OF_A_TRAINED_WEIGHT: Final[tuple[Relation, ...]] = (
    updated_weight, weight_kept, requantized_weight, accumulated_weight_gradient, transposed_weight_gradient,
)  # fmt: skip
OF_4_BITS: Final[tuple[Relation, ...]] = (named_class, isolation.autocast_of_large_input)
DENSE: Final = {
    relation.__name__: relation for relation in (*EVERYWHERE, *IN_TRAINING, *OF_A_TRAINED_WEIGHT, *OF_4_BITS)
}


def linear_4bit(config: Linear4bitRelation, inputs: LinearInputs, device: torch.device) -> Iterator[tuple[str, Any]]:
    """The relation that the config names, on a `Linear4bit`: yields the stored weight and the pair."""
    yield "stored", subjects.stored_4bit(subjects.build_linear_4bit(config, inputs, device).weight)
    bench = Bench(
        config=config,
        inputs=inputs,
        device=device,
        build=subjects.build_linear_4bit,
        reload=subjects.reload_linear_4bit,
    )
    yield from _related(bench)


def linear_8bit(config: Linear8bitRelation, inputs: LinearInputs, device: torch.device) -> Iterator[tuple[str, Any]]:
    """The relation that the config names, on a `Linear8bitLt`: yields the pair."""
    bench = Bench(
        config=config,
        inputs=inputs,
        device=device,
        build=subjects.build_linear_8bit,
        reload=subjects.reload_linear_8bit,
    )
    yield from _related(bench)


def _related(bench: Bench) -> Iterator[tuple[str, Any]]:
    """The pair; and before it, where the layer is saved, in what form."""
    if bench.config.relation == formats.SAVED:
        yield from subjects.saved_form(bench.layer())
    yield "relation", DENSE[bench.config.relation](bench)


def _underflow(bench: Bench) -> float:
    """What halving may lose below the normal numbers of the narrowest dtype on the way."""
    dtypes = (torch_dtype(bench.config.dtype), compute_dtype(bench.config))
    return 2 * max(SMALLEST_SUBNORMAL[dtype] for dtype in dtypes)
