"""Faults of the backward passes: gradients of input, weight and bias."""

from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import (
    FUNCTIONS,
    GRAD_BIAS,
    GRAD_INPUT,
    GRAD_WEIGHT,
    on_gradient,
    scaled,
)
from accuracy.selftest.library import Library

FP16_WEIGHTS = "linear8bitlt-fp16-weights-train"


def factor(lib: Library, position: int) -> None:
    on_gradient(lib, position, lambda gradient, *_: scaled(gradient, lib.size))


def last_column_lost(lib: Library) -> None:
    def change(gradient: Any, *_: Any) -> Any:
        gradient = gradient.clone()
        gradient[..., -1] = 0
        return gradient

    on_gradient(lib, GRAD_INPUT, change)


def one_element(lib: Library) -> None:
    def change(gradient: Any, *_: Any) -> Any:
        gradient = gradient.clone()
        flat = gradient.view(-1)
        middle = flat.numel() // 2
        flat[middle] = scaled(flat[middle], lib.size)
        return gradient

    on_gradient(lib, GRAD_INPUT, change)


def stale_weight(lib: Library) -> None:
    seen: dict[Any, Any] = {}

    def change(original: Any, ctx: Any, grad_output: Any) -> Any:
        key = (tuple(ctx.state.shape), ctx.state.blocksize, ctx.state.quant_type)
        first = seen.setdefault(key, (ctx.tensors, ctx.state))
        if first[1] is not ctx.state:
            ctx.tensors, ctx.state = first
            lib.acted()
        return original(ctx, grad_output)

    lib.instead(f"{FUNCTIONS}:MatMul4Bit.backward", change)


def gradient_in(lib: Library, dtype: str) -> None:
    narrow = getattr(lib.torch, dtype)
    for name in ("MatMul4Bit", "MatMul8bitFp"):
        lib.around(
            f"{FUNCTIONS}:{name}.backward",
            lambda original, ctx, grad: original(ctx, grad.to(narrow).to(grad.dtype)),
        )


def weight_in_bfloat16(lib: Library) -> None:
    def change(original: Any, ctx: Any, grad_output: Any) -> Any:
        dtype = ctx.state.dtype
        ctx.state.dtype = lib.torch.bfloat16
        try:
            return original(ctx, grad_output)
        finally:
            ctx.state.dtype = dtype

    lib.around(f"{FUNCTIONS}:MatMul4Bit.backward", change)


def bias_row_lost(lib: Library) -> None:
    def change(gradient: Any, _: Any, grad_output: Any) -> Any:
        rows = grad_output.reshape(-1, grad_output.shape[-1]) if gradient.ndim == 1 else grad_output
        return gradient - rows[-1].to(gradient.dtype)

    on_gradient(lib, GRAD_BIAS, change)


def bias_in_16_bits(lib: Library) -> None:
    def change(gradient: Any, _: Any, grad_output: Any) -> Any:
        if grad_output.ndim != 2:  # noqa: PLR2004 - rows of outputs
            return gradient
        total = lib.torch.zeros_like(gradient, dtype=lib.torch.bfloat16)
        for row in grad_output:
            total += row.bfloat16()
        return total.to(gradient.dtype)

    on_gradient(lib, GRAD_BIAS, change)


def weight_rows_swapped(lib: Library) -> None:
    def change(gradient: Any, *_: Any) -> Any:
        gradient = gradient.clone()
        gradient[0], gradient[-1] = gradient[-1].clone(), gradient[0].clone()
        return gradient

    on_gradient(lib, GRAD_WEIGHT, change)


def weight_row_of_batch_lost(lib: Library) -> None:
    def change(gradient: Any, ctx: Any, grad_output: Any) -> Any:
        rows = grad_output.reshape(-1, grad_output.shape[-1])
        x = ctx.A.reshape(-1, ctx.A.shape[-1])
        return gradient - lib.torch.outer(rows[-1], x[-1]).to(gradient.dtype)

    on_gradient(lib, GRAD_WEIGHT, change)


def second_backward(lib: Library) -> None:
    calls: dict[int, int] = {}

    def change(gradient: Any, ctx: Any, _: Any) -> Any:
        state = ctx.state
        calls[id(state)] = count = calls.get(id(state), 0) + 1
        return scaled(gradient, lib.size) if count > 1 and getattr(state, "_planted", False) else _mark(state, gradient)

    on_gradient(lib, GRAD_INPUT, change)


def _mark(state: Any, gradient: Any) -> Any:
    """Remembers on the layer's own state that it has been through a backward pass."""
    state._planted = True  # noqa: SLF001 - our own mark
    return gradient


fault = partial(Fault, area="gradients", stage=Stage.COMPUTE, cases="linear*-train")

FAULTS = (
    fault(
        name="gradient-input-factor",
        what="The gradient of the input is larger by the relative size.",
        plant=partial(factor, position=GRAD_INPUT),
        sizes=(1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    ),
    fault(
        name="gradient-input-twice",
        what="The gradient of the input is added twice.",
        plant=lambda lib: on_gradient(lib, GRAD_INPUT, lambda gradient, *_: gradient + gradient),
    ),
    fault(
        name="gradient-input-last-column",
        what="The gradient of the last input feature is zero.",
        plant=last_column_lost,
    ),
    fault(
        name="gradient-input-one-element",
        what="One element of the input's gradient is larger by the relative size.",
        plant=one_element,
        sizes=(1.0, 1e-1, 1e-2),
    ),
    fault(
        name="gradient-stale-weight",
        what="The backward pass multiplies by the first weight it saw of this shape.",
        plant=stale_weight,
        cases="linear4bit-*-train",
        where=lambda c: (c.in_features, c.out_features) == (84, 128),
    ),
    fault(
        name="gradient-output-float16",
        what="The gradient that comes in is rounded to float16.",
        plant=partial(gradient_in, dtype="float16"),
        where=lambda c: c.dtype == "float32",
    ),
    fault(
        name="gradient-weight-bfloat16",
        what="The backward pass decodes the weight to bfloat16.",
        plant=weight_in_bfloat16,
        cases="linear4bit-*-train",
        where=lambda c: c.weight_dtype == "float32" and c.dtype == "float32",
    ),
    fault(
        name="gradient-bias-row-lost",
        what="The gradient of the bias leaves out the last row.",
        plant=bias_row_lost,
        where=lambda c: c.bias and len(c.batch) == 1,
    ),
    fault(
        name="gradient-bias-16-bit",
        what="The gradient of the bias is summed in bfloat16.",
        plant=bias_in_16_bits,
        where=lambda c: c.bias and len(c.batch) == 1,
    ),
    fault(
        name="gradient-bias-factor",
        what="The gradient of the bias is larger by the relative size.",
        plant=partial(factor, position=GRAD_BIAS),
        sizes=(1e-1, 1e-2, 1e-3, 1e-4),
        where=lambda c: c.bias,
    ),
    fault(
        name="gradient-weight-factor",
        what="The gradient of the weight is larger by the relative size.",
        plant=partial(factor, position=GRAD_WEIGHT),
        sizes=(1e-1, 1e-2, 1e-3, 1e-4),
        cases=FP16_WEIGHTS,
    ),
    fault(
        name="gradient-weight-rows-swapped",
        what="The first and the last row of the weight's gradient are swapped.",
        plant=weight_rows_swapped,
        cases=FP16_WEIGHTS,
        where=lambda c: c.out_features > 1,
    ),
    fault(
        name="gradient-weight-row-lost",
        what="The gradient of the weight leaves out the last row of the batch.",
        plant=weight_row_of_batch_lost,
        cases=FP16_WEIGHTS,
    ),
    fault(
        name="gradient-second-backward",
        what="From a layer's second backward pass on, the gradient of the input is larger by the relative size.",
        plant=second_backward,
        sizes=(1.0, 1e-1, 1e-2),
        stage=Stage.INVARIANT,
        cases="linear*-train*",
    ),
)
