"""Behaviours in training: gradients that accumulate and real optimizer steps, and gradients through a k-bit layer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from accuracy import subjects
from accuracy.behaviour import Linear4bitChain, Linear8bitChain, Linear8bitTraining
from accuracy.checks.setting import torch_dtype
from accuracy.checks.upstream import Beside, Inner
from accuracy.inputs import NetworkInputs
from accuracy.subjects import Part, gradient
from accuracy.upstream import networks
from accuracy.upstream.facts import agreed, placed, present

CODES_FROM: Final = 2
"""The step, counted from 0, at which upstream looks for the codes."""


PASSES: Final = 10
"""Passes of which the k-bit layer itself is held against our own bounds: more see nothing new, and take time."""


@dataclass(frozen=True, kw_only=True)
class _Collected:
    """Values of the network under test and of the one beside it, in the order of the steps."""

    actual: list[Tensor] = field(default_factory=list)
    reference: list[Tensor] = field(default_factory=list)

    def add(self, actual: Tensor, reference: Tensor) -> None:
        """A copy of a value of each, as a vector."""
        self.actual.append(actual.detach().cpu().flatten().clone())
        self.reference.append(reference.detach().cpu().flatten().clone())

    def parts(self, name: str) -> Iterator[Part]:
        """All of them as one part, each an entry of the first dimension; none if nothing was collected."""
        if self.actual:
            yield name, Beside(actual=torch.stack(self.actual), reference=torch.stack(self.reference))


def accumulated(config: Linear8bitTraining, inputs: NetworkInputs, device: torch.device) -> Iterator[Part]:
    """Row 2: two `Linear8bitLt` and two ordinary layers beside them train with the library's Adam, gradients add up.

    After each optimizer step the ordinary layers' weights and biases are copied over. Yields whether codes are
    kept, the gradients of both weights before a step, the weights after it, and the second layer in the first pass.
    """
    back = replace(config, in_features=config.out_features, out_features=config.in_features)
    after = replace(inputs, weight=inputs.other_weight, bias=inputs.other_bias if config.bias else None)
    plain = nn.Sequential(networks.ordinary(inputs), networks.ordinary(after))
    tested = nn.Sequential(subjects.new_linear_8bit(config, inputs), subjects.new_linear_8bit(back, after))
    plain, tested = (networks.moved(each, "to cast", config.dtype, device) for each in (plain, tested))
    yield "weight_after_move", agreed(placed(layer.weight) for layer in tested)
    own = networks.held(after, tested[1])
    optimizers = [subjects.adam(network.parameters(), config.rate) for network in (tested, plain)]
    gradients, weights, codes = _Collected(), _Collected(), []
    for step, batch in enumerate(inputs.x.clone().to(device)):
        seen = networks.run(tested, batch)
        codes.append(agreed(present(layer.state.CB) for layer in tested))
        kept = subjects.stored_8bit(tested[1].state) if step == 0 and codes == ["set"] else None
        seen.output.mean().backward()
        plain(batch).mean().backward()
        if kept is not None:
            yield "second", networks.second(seen, own, stored=kept, grad_weight=gradient(tested[1].weight).clone())
        if step > 0 and step % config.accumulate == 0:
            _step(optimizers)
            _collect(weights, tested, plain, lambda layer: layer.weight)
            _synchronize(tested, plain)
        else:
            _collect(gradients, tested, plain, lambda layer: gradient(layer.weight))
    yield "codes", agreed(codes[CODES_FROM:])
    yield from gradients.parts("grad_weight")
    yield from weights.parts("weight_after_step")


def backprop_8bit(config: Linear8bitChain, inputs: NetworkInputs, device: torch.device) -> Iterator[Part]:
    """Row 5 through a `Linear8bitLt`: yields the gradients of the layer before it, and itself in some passes."""
    layer = subjects.new_linear_8bit(config, inputs)
    yield from _backprop(layer, lambda moved: subjects.stored_8bit(moved.state), config, inputs, device)


def backprop_4bit(config: Linear4bitChain, inputs: NetworkInputs, device: torch.device) -> Iterator[Part]:
    """Row 5 through a `Linear4bit`: as `backprop_8bit`."""
    layer = subjects.new_linear_4bit(config, inputs)
    yield from _backprop(layer, lambda moved: subjects.stored_4bit(moved.weight), config, inputs, device)


def _backprop(
    layer: Any,
    stored: Callable[[Any], Any],
    config: Linear8bitChain | Linear4bitChain,
    inputs: NetworkInputs,
    device: torch.device,
) -> Iterator[Part]:
    before = replace(inputs, weight=inputs.other_weight, bias=inputs.other_bias)
    plain: Any = nn.Sequential(networks.ordinary(before), networks.ordinary(inputs))
    tested: Any = nn.Sequential(networks.ordinary(before), layer)
    for network in (plain, tested):
        network[1].weight.requires_grad_(False)
    dtype = torch_dtype(config.dtype)
    plain = plain.to(device=device, dtype=dtype)
    tested = tested.to(device=device, dtype=dtype).to(device=device, dtype=dtype)  # twice, as upstream does it
    yield "weight_after_move", placed(tested[1].weight)
    own, kept = networks.held(inputs, tested[1]), None
    weights, biases, frozen = _Collected(), _Collected(), []
    passes: list[Inner] = []
    for batch in inputs.x.clone().to(device):
        seen = networks.run(tested, batch)
        kept = kept or stored(tested[1])
        seen.output.mean().backward()
        plain(batch).mean().backward()
        if len(passes) < PASSES:
            passes.append(networks.second(seen, own, stored=kept))
        weights.add(gradient(tested[0].weight), gradient(plain[0].weight))
        biases.add(gradient(tested[0].bias), gradient(plain[0].bias))
        frozen.append(present(tested[1].weight.grad))
        for network in (plain, tested):
            network.zero_grad()
    yield "gradient_of_the_frozen_weight", agreed(frozen)
    yield from weights.parts("grad_weight")
    yield from biases.parts("grad_bias")
    yield "kbit", _together(passes)


def _together(passes: list[Inner]) -> Inner:
    """Passes through one layer as a single one, the steps a further dimension of the batch."""
    inputs = replace(
        passes[0].inputs,
        x=torch.stack([each.inputs.x for each in passes]),
        grad_output=torch.stack([each.inputs.grad_output for each in passes]),
    )
    results = {name: torch.stack([each.parts[name] for each in passes]) for name in ("output", "grad_input")}
    return Inner(inputs=inputs, parts={"stored": passes[0].parts["stored"], **results})


def _step(optimizers: list[Any]) -> None:
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _collect(collected: _Collected, tested: Any, plain: Any, of: Callable[[Any], Tensor]) -> None:
    for mine, its in zip(tested, plain, strict=True):
        collected.add(of(mine), of(its))


def _synchronize(tested: Any, plain: Any) -> None:
    """Small differences would add up over the steps."""
    with torch.no_grad():
        for mine, its in zip(tested.parameters(), plain.parameters(), strict=True):
            mine.copy_(its)
