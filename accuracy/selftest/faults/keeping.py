"""Faults of what is asked for and kept: the format of a weight, gradients and rows that belong to a caller."""

from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import BACKWARDS, scaled
from accuracy.selftest.library import Library

ASKED, STORED = 32, 64


def another_blocksize(lib: Library) -> None:
    def change(original: Any, *args: Any, **asked: Any) -> Any:
        if asked.get("blocksize") == ASKED:
            asked["blocksize"] = STORED
            lib.acted()
        return original(*args, **asked)

    lib.instead("functional:quantize_4bit", change)


def gradient_overwritten(lib: Library) -> None:
    def change(original: Any, ctx: Any, grad_output: Any) -> Any:
        gradients = original(ctx, grad_output)
        if grad_output.is_contiguous():
            grad_output.mul_(2)
            lib.acted()
        return gradients

    for target in BACKWARDS:
        lib.instead(target, change)


def first_layer(lib: Library) -> None:
    def change(gradients: Any, ctx: Any, _: Any) -> Any:
        whole, weight, *rest = gradients
        return (whole, weight if weight is None or ctx.needs_input_grad[0] else scaled(weight, lib.size), *rest)

    for target in BACKWARDS:
        lib.after(target, change)


def default_dtype(lib: Library) -> None:
    def change(original: Any, *args: Any, **asked: Any) -> Any:
        packed, state = original(*args, **asked)
        narrow = lib.torch.get_default_dtype()
        if narrow != lib.torch.float32 and not state.nested:
            state.absmax = state.absmax.to(narrow).float()
            lib.acted()
        return packed, state

    lib.instead("functional:quantize_4bit", change)


def another_name(lib: Library) -> None:
    def saved(original: Any, state: Any, **asked: Any) -> Any:
        lib.acted()
        return {"scales" if name == "absmax" else name: value for name, value in original(state, **asked).items()}

    def loaded(original: Any, qs_dict: Any, *args: Any, **asked: Any) -> Any:
        given = {"absmax" if name == "scales" else name: value for name, value in qs_dict.items()}
        return original(given, *args, **asked)

    lib.instead("functional:QuantState.as_dict", saved)
    lib.instead("functional:QuantState.from_dict", loaded)


def another_class(lib: Library) -> None:
    def change(original: Any, layer: Any, *args: Any, **asked: Any) -> None:
        original(layer, *args, **asked)
        layer.weight.quant_type = "fp4"
        lib.acted()

    lib.instead("nn.modules:LinearNF4.__init__", change)


def one_buffer_of_rows(lib: Library) -> None:
    buffers: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()

    def change(original: Any, layer: Any, index: Any) -> Any:
        rows = original(layer, index)
        buffer = buffers.setdefault(layer, {}).setdefault((rows.shape, rows.dtype), rows)
        if buffer is not rows and not lib.torch.equal(buffer, rows):
            lib.acted()
        return buffer.copy_(rows)

    for name in ("Embedding8bit", "Embedding4bit"):
        lib.instead(f"nn.modules:{name}.forward", change)


fault = partial(Fault, area="keeping", stage=Stage.INVARIANT, cases="linear*-relations", added_later=True)

FAULTS = (
    fault(
        name="another-blocksize",
        what="Where blocks of 32 are asked for, blocks of 64 are stored.",
        plant=another_blocksize,
        stage=Stage.CONTRACT,
        cases="linear4bit-*",
        where=lambda c: c.blocksize == ASKED,
    ),
    fault(
        name="gradient-overwritten",
        what="A backward pass doubles the gradient that it is given.",
        plant=gradient_overwritten,
        where=lambda c: c.relation == "gradient_kept",
    ),
    fault(
        name="first-layer",
        what="Where the input needs no gradient, that of the weight is larger by the relative size.",
        plant=first_layer,
        sizes=(1e-1, 1e-2),
        cases="linear8bitlt-fp16-weights-train-relations",
        where=lambda c: c.relation == "frozen_input",
    ),
    fault(
        name="another-name",
        what="Scales of 4-bit weights are saved, and looked for, under another name.",
        plant=another_name,
        stage=Stage.CONTRACT,
        cases="linear4bit-*-relations",
        where=lambda c: c.relation == "save_and_load",
    ),
    fault(
        name="another-class",
        what="A LinearNF4 stores codes of FP4.",
        plant=another_class,
        cases="linear4bit-*-relations",
        where=lambda c: c.relation == "named_class" and c.quant_type == "nf4",
    ),
    fault(
        name="default-dtype",
        what="Scales of 4-bit weights are rounded to torch's default dtype.",
        plant=default_dtype,
        cases="linear4bit-*-relations",
        where=lambda c: c.relation == "default_dtype" and not c.nested,
    ),
    fault(
        name="one-buffer-of-rows",
        what="Lookups of one shape in one table share one buffer.",
        plant=one_buffer_of_rows,
        cases="embedding*-relations",
        where=lambda c: c.relation == "kept_output",
    ),
)
