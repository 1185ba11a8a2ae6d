"""What a call, copy, mode or owner of a layer must not see of another: each relation catches the layer that lets it."""

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from layers import NF4
from torch import Tensor, nn

from accuracy import inputs, isolation, keeping, relations
from accuracy.case import Linear4bitConfig
from accuracy.inputs import LinearInputs
from accuracy.twice import Bench, Pair


class Sound(nn.Linear):
    """A dense layer of torch."""

    def __init__(self, drawn: LinearInputs, *, bias: bool = True) -> None:
        super().__init__(drawn.weight.shape[1], drawn.weight.shape[0], bias=bias, dtype=torch.float32)
        with torch.no_grad():
            self.weight.copy_(drawn.weight)
            if bias and drawn.bias is not None:
                self.bias.copy_(drawn.bias)

    def forward(self, x: Tensor) -> Tensor:
        """In the dtype of the weight whatever autocast says, returned in that of the input."""
        wide = self.weight.dtype
        with torch.autocast("cpu", enabled=False):
            bias = None if self.bias is None else self.bias.to(wide)
            return nn.functional.linear(x.to(wide), self.weight, bias).to(x.dtype)


class OneBuffer(Sound):
    """All outputs of one shape are in the same memory."""

    memory: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        if self.memory is None:
            self.memory = torch.empty_like(out)
        return self.memory.copy_(out) if not torch.is_grad_enabled() else out


class FirstColumns(Sound):
    """The largest column of the first input is left out of every later one."""

    column: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        left_out = self.column
        if left_out is None:
            self.column = x.detach().abs().amax(dim=0).argmax()
            return super().forward(x)
        return super().forward(torch.where(torch.arange(x.shape[-1]) == left_out, 0.0, x))


class FirstDtype(Sound):
    """Every input is rounded to the dtype of the first."""

    first: torch.dtype | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.first = self.first or x.dtype
        return super().forward(x.to(self.first).to(x.dtype))


class SharedCopy(Sound):
    """A copy has the memory of the original."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedCopy":
        return copy.copy(self)


class Scaled(Sound):
    """Outputs are larger under some condition."""

    def __init__(self, drawn: LinearInputs, condition: Callable[[], bool], *, bias: bool = True) -> None:
        super().__init__(drawn, bias=bias)
        self.condition = condition

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.01 if self.condition() else 1)


class Contiguous(Sound):
    """The input is read as if its rows lay one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.as_strided(x.shape, (x.shape[1], 1)))


class Aligned(Sound):
    """The input is read from the beginning of its buffer."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.as_strided(x.shape, x.stride(), 0))


class ThroughFloat16(Sound):
    """What is not in 16 bits becomes float16 in autocast, whatever that was asked for."""

    def forward(self, x: Tensor) -> Tensor:
        wide = x.dtype == torch.float32 and torch.is_autocast_enabled("cpu")
        return super().forward(x.half().float() if wide else x)


class _Doubled(torch.autograd.Function):
    """Passes the gradient on, twice as large where `wrong` says so."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, wrong: Callable[[Tensor], bool]) -> Tensor:
        ctx.wrong = wrong
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0] * (2 if ctx.wrong(grads[0]) else 1), None


def doubled(out: Tensor, wrong: Callable[[Tensor], bool]) -> Tensor:
    """`out`, whose gradient comes back twice as large where `wrong` says so of it."""
    passed: Tensor = _Doubled.apply(out, wrong)  # type: ignore[no-untyped-call]  # torch's
    return passed


class Backward(Sound):
    """The gradient of the input is twice as large where `wrong(calls so far, backward passes so far, gradient)`."""

    def __init__(self, drawn: LinearInputs, wrong: Callable[[int, int, Tensor], bool], *, bias: bool = True) -> None:
        super().__init__(drawn, bias=bias)
        self.wrong, self.calls, self.passes = wrong, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        mine = self.calls

        def wrong(gradient: Tensor) -> bool:
            self.passes += 1
            return self.wrong(self.calls - mine, self.passes, gradient)

        return doubled(super().forward(x), wrong)


class WeightGradientByLayout(Sound):
    """The gradient of the weight is twice as large where the columns of the input lie together."""

    def forward(self, x: Tensor) -> Tensor:
        weight = doubled(self.weight, lambda _: x.stride(0) < x.stride(1))
        return nn.functional.linear(x.to(weight.dtype), weight, self.bias).to(x.dtype)


class BiasGradientByPass(Sound):
    """The gradient of the bias is twice as large in every backward pass but the first."""

    def __init__(self, drawn: LinearInputs, *, bias: bool = True) -> None:
        super().__init__(drawn, bias=bias)
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        def wrong(_: Tensor) -> bool:
            self.passes += 1
            return self.passes > 1

        return nn.functional.linear(x.to(self.weight.dtype), self.weight, doubled(self.bias, wrong)).to(x.dtype)


class InAutocast(Sound):
    """The gradient of the input is twice as large after a forward pass in autocast."""

    def forward(self, x: Tensor) -> Tensor:
        inside = torch.is_autocast_enabled("cpu")
        return doubled(super().forward(x), lambda _: inside)


class StaysInAutocast(Sound):
    """The weight is rounded to the dtype of the first autocast for good."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            self.weight.data = self.weight.data.to(torch.get_autocast_dtype("cpu")).float()
        return super().forward(x)


class SharedWeight(Sound):
    """Layers of one shape share memory that the first call of each fills, and all of them compute with."""

    memory: ClassVar[dict[torch.Size, Tensor]] = {}
    called = False

    def forward(self, x: Tensor) -> Tensor:
        memory = self.memory.setdefault(self.weight.shape, self.weight.detach().clone())
        if not self.called:
            memory.copy_(self.weight.detach())
        self.called = True
        out: Tensor = _ReadAgain.apply(x, memory)  # type: ignore[no-untyped-call]  # torch's
        return out + self.bias.to(x.dtype)


class _ReadAgain(torch.autograd.Function):
    """A product with memory that is read again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, memory: Tensor) -> Tensor:
        ctx.memory = memory
        return (x.float() @ memory.T).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (grads[0].float() @ ctx.memory).to(grads[0].dtype), None


class Forgetful(Sound):
    """The gradient of the input is twice as large after a forward pass without gradients."""

    passed = False

    def forward(self, x: Tensor) -> Tensor:
        self.passed |= not torch.is_grad_enabled()
        return doubled(super().forward(x), lambda _: self.passed)


class _InPlace(torch.autograd.Function):
    """Passes the gradient on, and doubles the tensor that it came in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        del ctx
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        del ctx
        passed = grads[0].clone()
        grads[0].mul_(2)
        return passed


class GradientOverwritten(Sound):
    """The backward pass writes into the gradient that it is given."""

    def forward(self, x: Tensor) -> Tensor:
        passed: Tensor = _InPlace.apply(super().forward(x))  # type: ignore[no-untyped-call]  # torch's
        return passed


class MadeInDefaultDtype(Sound):
    """The weight is rounded to the default dtype of the moment in which the layer is made."""

    def __init__(self, drawn: LinearInputs, *, bias: bool = True) -> None:
        super().__init__(drawn, bias=bias)
        self.weight.data = self.weight.data.to(torch.get_default_dtype()).float()


class RoundedByMoves(Sound):
    """A move after the first call rounds the weight."""

    called = False

    def forward(self, x: Tensor) -> Tensor:
        self.called = True
        return super().forward(x)

    def to(self, *args: Any, **kwargs: Any) -> "RoundedByMoves":
        moved = super().to(*args, **kwargs)
        if self.called:
            self.weight.data = self.weight.data.half().float()
        return moved


class FrozenBiasLost(Sound):
    """A bias that needs no gradient is not added where something else does."""

    def forward(self, x: Tensor) -> Tensor:
        lost = torch.is_grad_enabled() and x.requires_grad and not self.bias.requires_grad
        return super().forward(x) - (self.bias if lost else 0)


class FirstParameters(Sound):
    """Weight and bias of the first call are kept for all later ones."""

    first: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.first = self.first or (self.weight.detach().clone(), self.bias.detach().clone())
        return nn.functional.linear(x, *self.first)


class InputOfBias(Sound):
    """The input is rounded to the dtype of the bias."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.bias.dtype).to(x.dtype))


class RoundedInEval(Sound):
    """A call in eval mode leaves a rounded weight behind."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        if not self.training:
            self.weight.data = self.weight.data.bfloat16().float()
        return out


class InMemoryOrder(Sound):
    """The weight is taken as if its rows lay one after the other."""

    def __init__(self, drawn: LinearInputs, *, bias: bool = True) -> None:
        super().__init__(drawn, bias=bias)
        self.weight.data = drawn.weight.as_strided(drawn.weight.shape, (drawn.weight.shape[1], 1)).float()


def _transposed(_: int, __: int, gradient: Tensor) -> bool:
    return not gradient.is_contiguous() and 0 not in gradient.stride()


BROKEN: dict[str, Callable[..., Sound]] = {
    "kept_output": OneBuffer,
    "other_layer": SharedWeight,
    "two_layers": SharedWeight,
    "more_rows": FirstColumns,
    "other_dtype": FirstDtype,
    "copy_apart": SharedCopy,
    "with_gradients": lambda drawn, **kw: Scaled(drawn, torch.is_grad_enabled, **kw),
    "inference_mode": lambda drawn, **kw: Scaled(drawn, torch.is_inference_mode_enabled, **kw),
    "two_threads": lambda drawn, **kw: Scaled(drawn, lambda: torch.get_num_threads() > 1, **kw),
    "transposed_input": Contiguous,
    "unaligned_input": Aligned,
    "autocast": lambda drawn, **kw: Scaled(drawn, lambda: torch.is_autocast_enabled("cpu"), **kw),
    "autocast_of_large_input": ThroughFloat16,
    "after_autocast": StaysInAutocast,
    "autocast_gradient": InAutocast,
    "checkpointed": Forgetful,
    "expanded_gradient": lambda drawn, **kw: Backward(drawn, lambda _, __, grad: 0 in grad.stride(), **kw),
    "transposed_gradient": lambda drawn, **kw: Backward(drawn, _transposed, **kw),
    "permuted_gradient": lambda drawn, **kw: Backward(drawn, _transposed, **kw),
    "gradient_kept": GradientOverwritten,
    "default_dtype": MadeInDefaultDtype,
    "loaded_in_default_dtype": MadeInDefaultDtype,
    "moved_after_forward": RoundedByMoves,
    "frozen_bias": FrozenBiasLost,
    "updated_bias": FirstParameters,
    "other_bias": InputOfBias,
    "weight_kept": RoundedInEval,
    "replaced_weight": FirstParameters,
    "transposed_weight": InMemoryOrder,
    "smaller_between": lambda drawn, **kw: Backward(drawn, lambda later, _, __: later > 0, **kw),
    "two_forwards": lambda drawn, **kw: Backward(drawn, lambda later, _, __: later > 0, **kw),
    "retained_graph": lambda drawn, **kw: Backward(drawn, lambda _, passes, __: passes > 1, **kw),
    "transposed_weight_gradient": WeightGradientByLayout,
    "accumulated_bias_gradient": BiasGradientByPass,
}
RELATIONS = {
    relation.__name__: relation
    for relation in (
        *isolation.EVERYWHERE, *isolation.IN_TRAINING, *keeping.EVERYWHERE, relations.transposed_weight_gradient,
        relations.accumulated_bias_gradient, relations.weight_kept, isolation.autocast_of_large_input,
    )
}  # fmt: skip


def pair(name: str, layer: Callable[..., Sound]) -> Pair:
    """What the relation of that name sees of such a layer."""

    def build(config: Linear4bitConfig, drawn: LinearInputs, _: torch.device) -> Sound:
        return layer(drawn, bias=config.bias)

    drawn = inputs.drawn(NF4, 3)
    assert isinstance(drawn, LinearInputs)
    bench = Bench(
        config=NF4, inputs=drawn, device=torch.device("cpu"), build=build, reload=lambda _, *made: build(*made)
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return RELATIONS[name](bench)
    finally:
        torch.set_num_threads(threads)


def apart(seen: Pair) -> float:
    """The largest difference over the largest value."""
    return float((seen.actual - seen.expected).abs().max() / seen.expected.abs().max())


def test_every_relation_has_a_layer_that_breaks_it() -> None:
    assert BROKEN.keys() == RELATIONS.keys()


@pytest.mark.parametrize("name", RELATIONS)
def test_a_sound_layer_keeps_the_relation(name: str) -> None:
    """To the bit, or where another order of summation or the rounding of sums is allowed to float32."""
    seen = pair(name, Sound)
    assert apart(seen) <= (1e-6 if seen.sums or isinstance(seen.slack, Tensor) else 0.0)


@pytest.mark.parametrize("name", RELATIONS)
def test_a_layer_that_breaks_the_relation_is_seen(name: str) -> None:
    assert not apart(pair(name, BROKEN[name])) <= 1e-4  # infinite results are NaN apart
