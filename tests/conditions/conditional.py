"""Faults that bite under a known condition on the inputs, for the page to find out. Planted in the workers."""

from collections.abc import Callable
from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.library import Library

GRAD_INPUT = 0


def rows(x: Any) -> int:
    """Rows of an input: the product of its leading dimensions."""
    return int(x.numel() // x.shape[-1])


def forward(lib: Library, *, layer: str, when: Callable[[Any, Any], bool], factor: float = 1.25) -> None:
    """What the layer returns is too large where `when(layer, input)`."""
    lib.after(f"nn.modules:{layer}.forward", lambda out, own, x, *_: out * factor if when(own, x) else out)


def refused(lib: Library, *, when: Callable[[Any, Any], bool]) -> None:
    """The layer raises where `when(layer, input)`."""

    def change(original: Callable[..., Any], own: Any, x: Any, *args: Any) -> Any:
        if when(own, x):
            lib.acted()
            raise RuntimeError("no kernel for this shape")
        return original(own, x, *args)

    lib.instead("nn.modules:Linear4bit.forward", change)


def backward(lib: Library) -> None:
    """The input gradient is 2 % too large where there are more than 256 outputs."""

    def change(gradients: Any, _: Any, grad_output: Any) -> Any:
        if gradients[GRAD_INPUT] is None or grad_output.shape[-1] <= 256:
            return gradients
        return (gradients[GRAD_INPUT] * 1.02, *gradients[GRAD_INPUT + 1 :])

    lib.after("autograd._functions:MatMul4Bit.backward", change)


def every_third(lib: Library) -> None:
    """One call in three is wrong, whatever the inputs."""
    calls = 0

    def change(out: Any, *_: Any) -> Any:
        nonlocal calls
        calls += 1
        return out * 1.25 if calls % 3 == 0 else out

    lib.after("nn.modules:Linear4bit.forward", change)


def by_content(lib: Library) -> None:
    """Wrong where the first input value is in the upper half of its distribution: no input of the plan says so."""
    forward(lib, layer="Linear8bitLt", when=lambda _, x: float(x.detach().reshape(-1)[0]) > 0)


def fault(name: str, cases: str, plant: Callable[[Library], None]) -> Fault:
    return Fault(name=name, area="conditions", what=name, stage=Stage.COMPUTE, cases=cases, plant=plant)


FOUR, EIGHT = "linear4bit-nf4-train", "linear8bitlt-train"


def four(when: Callable[[Any, Any], bool]) -> Callable[[Library], None]:
    return partial(forward, layer="Linear4bit", when=when)


def eight(when: Callable[[Any, Any], bool]) -> Callable[[Library], None]:
    return partial(forward, layer="Linear8bitLt", when=when)


FAULTS = [
    fault("many-rows", FOUR, four(lambda _, x: rows(x) > 64)),
    fault("wide-fp16", FOUR, four(lambda own, x: own.in_features >= 1024 and str(x.dtype) == "torch.float16")),
    fault("one-row-no-bias", FOUR, four(lambda own, x: rows(x) == 1 and own.bias is None)),
    fault("long-blocks", FOUR, four(lambda own, _: own.weight.quant_state.blocksize >= 1024)),
    fault("odd-tiles", FOUR, partial(refused, when=lambda own, _: own.out_features % 32 != 0)),
    fault("many-outputs", FOUR, backward),
    fault("rank-three", EIGHT, eight(lambda _, x: x.dim() >= 3)),
    fault("threshold", EIGHT, eight(lambda own, _: own.state.threshold >= 3)),
    fault("many-lookups", "embedding8bit", partial(forward, layer="Embedding8bit", when=lambda _, x: x.numel() > 16)),
    fault(
        "long-bf16-rows",
        "embedding4bit-nf4",
        partial(
            forward,
            layer="Embedding4bit",
            when=lambda own, _: own.embedding_dim > 64 and str(own.dtype) == "torch.bfloat16",
        ),
    ),
    fault("every-third-call", FOUR, every_third),
    fault("by-content", EIGHT, by_content),
]
