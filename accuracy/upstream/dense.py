"""Behaviours of dense layers: what they are after a move, what they keep, what they say, and what comes back."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from accuracy import subjects
from accuracy.behaviour import Linear4bitCalls, Linear4bitStack, Linear8bitCalls, Linear8bitNetwork
from accuracy.case import Linear4bitConfig
from accuracy.checks.setting import torch_dtype
from accuracy.checks.upstream import Beside
from accuracy.inputs import LinearInputs, NetworkInputs
from accuracy.subjects import Part, gradient
from accuracy.upstream import networks
from accuracy.upstream.facts import agreed, placed, present
from accuracy.upstream.messages import recorded, times


def inference(config: Linear8bitCalls, inputs: LinearInputs, device: torch.device) -> Iterator[Part]:
    """Row 1: yields what the weight is after the moves, what was stored, whether codes are kept, and all outputs."""
    layer = networks.moved(subjects.new_linear_8bit(config, inputs), config.moves, config.dtype, device).eval()
    yield "weight_after_move", placed(layer.weight)
    yield "original", _quantized_from(inputs.weight, config)
    yield "stored", subjects.stored_8bit(layer.weight)
    outputs, codes = [], []
    for x in inputs.x:
        outputs.append(layer(x.clone().to(device)))
        codes.append(present(layer.state.CB))
    yield "codes", agreed(codes[1:])
    yield "output_place", agreed(map(placed, outputs))
    yield "outputs", torch.stack([output.detach().cpu() for output in outputs])


def without_fp16_weights(config: Linear8bitNetwork, inputs: NetworkInputs, device: torch.device) -> Iterator[Part]:
    """Row 3: yields what weights and outputs are after the moves, the state of the outlier columns, and gradients."""
    back = replace(config, in_features=config.out_features, out_features=config.in_features)
    bias = inputs.other_bias if config.bias else None
    second = LinearInputs(weight=inputs.other_weight, bias=bias, x=inputs.x, grad_output=inputs.x)
    network = nn.Sequential(subjects.new_linear_8bit(config, inputs), subjects.new_linear_8bit(back, second))
    network = networks.moved(network, config.moves, config.dtype, device).train(config.mode == "train")
    yield "weight_after_move", agreed(placed(layer.weight) for layer in network)
    stored = [subjects.stored_8bit(layer.weight) for layer in network]
    outputs, columns = [], []
    for x in inputs.x:
        outputs.append(network(x.clone().to(device)))
        columns += [present(layer.state.idx) for layer in network]
    yield "weight_after_calls", agreed(placed(layer.weight) for layer in network)
    yield "output_place", agreed(map(placed, outputs))
    yield "outlier_columns", agreed(columns)
    own = [
        networks.held(replace(each, weight=_quantized_from(each.weight, config)), layer)
        for each, layer in zip((inputs, second), network, strict=True)
    ]
    seen = networks.run(network, inputs.x[0].clone().to(device).requires_grad_())
    yield "output_requires_grad", "yes" if seen.output.requires_grad else "no"
    seen.output.backward(inputs.grad_output.to(device))
    weights = [weight.to(device, torch_dtype(config.dtype)) for weight in (inputs.weight, inputs.other_weight)]
    reference = inputs.grad_output.to(device) @ weights[1] @ weights[0]
    yield "grad_input", Beside(actual=gradient(seen.x).unsqueeze(0), reference=reference.cpu().unsqueeze(0))
    yield "first", networks.first(seen, own[0], stored=stored[0])
    yield "second", networks.second(seen, own[1], stored=stored[1])


def bias_8bit(config: Linear8bitCalls, inputs: LinearInputs, device: torch.device) -> Iterator[Part]:
    """Row 4 of a `Linear8bitLt`: yields what weight and bias are before, between and after the calls."""
    yield from _bias(subjects.new_linear_8bit(config, _with_bias_in_float32(inputs)), config, inputs, device)


def bias_4bit(config: Linear4bitCalls, inputs: LinearInputs, device: torch.device) -> Iterator[Part]:
    """Row 4 of a `Linear4bit`: as `bias_8bit`."""
    yield from _bias(subjects.new_linear_4bit(config, _with_bias_in_float32(inputs)), config, inputs, device)


def warnings_of_a_stack(config: Linear4bitStack, inputs: LinearInputs, device: torch.device) -> Iterator[Part]:
    """Row 8: yields how often each warning was given for a batch and for a single row, and the number of messages."""
    single = inputs.x.reshape(-1, config.in_features)[0].reshape(*[1] * (config.single_rank - 1), config.in_features)
    with recorded() as said:
        for x in (inputs.x, single):
            layers = [subjects.new_linear_4bit(config, inputs) for _ in range(config.layers)]
            network = nn.Sequential(*layers).to(device).train(config.mode == "train")
            network(x.to(device))
    yield "slow_inference_or_training", times(said, r"inference or training", config.layers)
    yield "slow_inference", times(said, r"inference\.", config.layers)
    yield "messages", str(len(said))


def restored(config: Linear4bitConfig, inputs: LinearInputs, device: torch.device) -> Iterator[Part]:
    """Row 11: the weight loses its state, as under FSDP; yields whether it came back, and outputs before and after."""
    untouched, layer = (subjects.build_linear_4bit(config, inputs, device) for _ in range(2))
    layer.weight.quant_state = None
    with torch.no_grad():
        yield "untouched", untouched(inputs.x.to(device)).cpu()
        output = layer(inputs.x.to(device)).cpu()
    yield "quant_state", present(layer.weight.quant_state)
    yield "output", output


def _bias(layer: Any, config: Any, inputs: LinearInputs, device: torch.device) -> Iterator[Part]:
    layer = layer.to(device).train(config.mode == "train")
    yield "weight_after_move", placed(layer.weight)
    yield "bias_before_calls", placed(layer.bias)
    weights, biases = [], []
    for x in inputs.x:
        layer(x.to(device))
        weights.append(placed(layer.weight))
        biases.append(placed(layer.bias))
    yield "bias_after_calls", agreed(biases)
    yield "weight_after_calls", agreed(weights)


def _quantized_from(weight: Tensor, config: Linear8bitCalls) -> Tensor:
    """The weight as the first move to the device found it."""
    return weight.to(torch_dtype(config.dtype)) if config.moves.startswith("cast") else weight


def _with_bias_in_float32(inputs: LinearInputs) -> LinearInputs:
    return replace(inputs, bias=None if inputs.bias is None else inputs.bias.float())
