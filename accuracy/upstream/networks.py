"""Two layers in sequence, run so that what enters and leaves each of them is seen."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from accuracy.case import Dtype
from accuracy.checks.upstream import Inner
from accuracy.inputs import LinearInputs
from accuracy.subjects import gradient

CASTS: dict[Dtype, str] = {"float32": "float", "float16": "half", "bfloat16": "bfloat16"}
"""The method of a module that casts it to the dtype."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One forward pass: the input, what the first layer gave to the second, and the output."""

    x: Tensor
    hidden: Any
    output: Any


def moved(module: Any, moves: str, dtype: Dtype, device: torch.device) -> Any:
    """The module after the moves: `to` the device, and `cast` to the dtype, in their order."""
    for move in moves.split():
        module = module.to(device) if move == "to" else getattr(module, CASTS[dtype])()
    return module


def ordinary(inputs: LinearInputs) -> nn.Linear:
    """The fp32 layer with this weight and bias, on the CPU."""
    rows, columns = inputs.weight.shape
    layer = nn.Linear(columns, rows, bias=inputs.bias is not None, device="meta")
    layer.weight = nn.Parameter(inputs.weight.float())
    if inputs.bias is not None:
        layer.bias = nn.Parameter(inputs.bias.float())
    return layer


def held(inputs: LinearInputs, layer: Any) -> LinearInputs:
    """The inputs with the bias that the layer has by now, and the weight if that is not quantized."""
    weight = layer.weight if layer.weight.is_floating_point() else inputs.weight
    bias = None if layer.bias is None else layer.bias.detach().cpu().clone()
    return replace(inputs, weight=weight.detach().cpu().clone(), bias=bias)


def run(network: Any, x: Tensor) -> Pass:
    """A forward pass through both layers, after which a backward pass leaves gradients at each end of them."""
    hidden = network[0](x)
    output = network[1](hidden)
    for values in (hidden, output):
        if values.requires_grad:
            values.retain_grad()
    return Pass(x=x, hidden=hidden, output=output)


def first(seen: Pass, inputs: LinearInputs, **parts: Any) -> Inner:
    """The first layer of a pass whose input has a gradient, with what else is known of it."""
    return _inner(seen.x, seen.hidden, inputs, parts)


def second(seen: Pass, inputs: LinearInputs, **parts: Any) -> Inner:
    """The second layer of a pass, with what else is known of it."""
    return _inner(seen.hidden, seen.output, inputs, parts)


def _inner(x: Tensor, output: Tensor, inputs: LinearInputs, parts: dict[str, Any]) -> Inner:
    return Inner(
        inputs=replace(inputs, x=x.detach().cpu(), grad_output=gradient(output)),
        parts={**parts, "output": output.detach().cpu(), "grad_input": gradient(x)},
    )
