"""Faults that show only from one call to the next, or after a layer was copied or saved."""

from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import scaled
from accuracy.selftest.library import Library

FORWARDS = ("nn.modules:Linear4bit.forward", "nn.modules:Linear8bitLt.forward")


def _moved(output: Any, size: float) -> Any:
    """The output scaled, its gradient path untouched."""
    return output + (scaled(output.detach(), size) - output.detach())


def second_forward(lib: Library) -> None:
    def change(output: Any, layer: Any, _: Any) -> Any:
        layer._calls_seen = seen = getattr(layer, "_calls_seen", 0) + 1  # noqa: SLF001 - our own mark
        return output if seen == 1 else _moved(output, lib.size)

    for target in FORWARDS:
        lib.after(target, change)


def eval_after_train(lib: Library) -> None:
    def change(output: Any, layer: Any, _: Any) -> Any:
        if layer.training:
            layer._trained = True  # noqa: SLF001 - our own mark
            return output
        return _moved(output, lib.size) if getattr(layer, "_trained", False) else output

    for target in FORWARDS:
        lib.after(target, change)


def train_after_eval(lib: Library) -> None:
    def change(output: Any, layer: Any, _: Any) -> Any:
        if not layer.training:
            layer._evaluated = True  # noqa: SLF001 - our own mark
            return output
        return _moved(output, lib.size) if getattr(layer, "_evaluated", False) else output

    for target in FORWARDS:
        lib.after(target, change)


def input_modified(lib: Library) -> None:
    def change(original: Any, layer: Any, x: Any) -> Any:
        output = original(layer, x)
        x.data.reshape(-1)[:1] += 1
        lib.acted()
        return output

    for target in FORWARDS:
        lib.instead(target, change)


def bias_drifts(lib: Library) -> None:
    def change(original: Any, layer: Any, x: Any) -> Any:
        output = original(layer, x)
        if layer.bias is not None:
            layer.bias.data = scaled(layer.bias.data, lib.size)
            lib.acted()
        return output

    for target in FORWARDS:
        lib.instead(target, change)


def weight_corrupted(lib: Library) -> None:
    def change(original: Any, layer: Any, x: Any) -> Any:
        output = original(layer, x)
        if layer.weight.data.dtype in {lib.torch.uint8, lib.torch.int8}:
            layer.weight.data.view(-1)[0] ^= 16
            lib.acted()
        return output

    for target in FORWARDS:
        lib.instead(target, change)


def saved_in_float16(lib: Library) -> None:
    def change(saved: Any, *_: Any, **__: Any) -> Any:
        return {
            name: value.half().float() if name == "absmax" and value.dtype == lib.torch.float32 else value
            for name, value in saved.items()
        }

    lib.after("functional:QuantState.as_dict", change)


def copied_wrong(lib: Library) -> None:
    def change(copied: Any, *_: Any) -> Any:
        scales = copied.quant_state.absmax if copied.quant_state is not None else None
        if scales is not None and scales.numel() > 1:
            copied.quant_state.absmax = scales.flip(0)
            lib.acted()
        return copied

    lib.instead("nn.modules:Params4bit.__deepcopy__", lambda original, *args: change(original(*args)))


fault = partial(Fault, area="state", stage=Stage.INVARIANT, cases="linear*")

FAULTS = (
    fault(
        name="state-second-forward",
        what="From a layer's second forward pass on, its output is larger by the relative size.",
        plant=second_forward,
        sizes=(1e-1, 1e-2, 1e-3),
    ),
    fault(
        name="state-eval-after-train",
        what="In inference after training, outputs are larger by the relative size.",
        plant=eval_after_train,
        sizes=(1e-1, 1e-2),
    ),
    fault(
        name="state-train-after-eval",
        what="In training after inference, outputs are larger by the relative size.",
        plant=train_after_eval,
        sizes=(1e-1, 1e-2),
    ),
    fault(
        name="state-input-modified",
        what="The forward pass writes into its input.",
        plant=input_modified,
    ),
    fault(
        name="state-bias-drifts",
        what="Each forward pass makes the bias larger by the relative size.",
        plant=bias_drifts,
        sizes=(1e-1, 1e-2),
        where=lambda c: c.bias,
    ),
    fault(
        name="state-weight-corrupted",
        what="A forward pass flips one bit of the stored codes.",
        plant=weight_corrupted,
        cases="linear4bit-*",
    ),
    fault(
        name="state-saved-in-float16",
        what="Scales are rounded to float16 when they are saved.",
        plant=saved_in_float16,
        cases="linear4bit-*",
        where=lambda c: not c.nested,
    ),
    fault(
        name="state-copied-wrong",
        what="A copied layer has its scales in the reverse order.",
        plant=copied_wrong,
        cases="linear4bit-*",
        where=lambda c: c.in_features * c.out_features > c.blocksize,
    ),
)
