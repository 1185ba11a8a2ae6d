"""Faults of the embeddings: the wrong row, the wrong scale, the wrong dtype."""

from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import scaled
from accuracy.selftest.library import Library

FORWARDS = ("nn.modules:Embedding8bit.forward", "nn.modules:Embedding4bit.forward")


def _on_rows(lib: Library, change: Any) -> None:
    """Changes the row numbers that are looked up: `change(index, rows)`."""
    for target in FORWARDS:
        lib.around(target, lambda original, layer, index: original(layer, change(index, layer.num_embeddings)))


def _on_output(lib: Library, change: Any) -> None:
    """Changes what is looked up: `change(output, index)`."""
    for target in FORWARDS:
        lib.after(target, lambda output, _, index: change(output, index))


def last_row(lib: Library) -> None:
    _on_rows(lib, lambda index, rows: index.clamp(max=max(rows - 2, 0)))


def off_by_one(lib: Library) -> None:
    _on_rows(lib, lambda index, rows: (index + 1) % rows)


def first_row(lib: Library) -> None:
    _on_output(lib, lambda output, index: output * (index != 0).unsqueeze(-1))


def in_float32(lib: Library) -> None:
    _on_output(lib, lambda output, _: output.float())


def through_float16(lib: Library) -> None:
    _on_output(lib, lambda output, _: output.half().to(output.dtype))


def factor(lib: Library) -> None:
    _on_output(lib, lambda output, _: scaled(output, lib.size))


def last_element(lib: Library) -> None:
    def change(output: Any, _: Any) -> Any:
        output = output.clone()
        output.reshape(-1)[-1] = 0
        return output

    _on_output(lib, change)


def repeated(lib: Library) -> None:
    def change(output: Any, index: Any) -> Any:
        flat = index.reshape(-1)
        seen = (flat.unsqueeze(0) == flat.unsqueeze(1)).tril(-1).any(dim=1)
        return output * ~seen.reshape(index.shape).unsqueeze(-1)

    _on_output(lib, change)


def scale_of_neighbour(lib: Library) -> None:
    def change(original: Any, layer: Any, index: Any) -> Any:
        right = layer.weight.SCB
        layer.weight.SCB = right.roll(1)
        try:
            return original(layer, index)
        finally:
            layer.weight.SCB = right

    lib.around(FORWARDS[0], change)


def divided_by_128(lib: Library) -> None:
    lib.after(FORWARDS[0], lambda output, *_: scaled(output, 127 / 128 - 1))


def first_scale_of_row(lib: Library) -> None:
    def change(original: Any, layer: Any, index: Any) -> Any:
        state = layer.weight.quant_state
        right = state.absmax
        state.absmax = right.reshape(layer.num_embeddings, -1)[:, :1].expand(-1, right.numel() // layer.num_embeddings)
        state.absmax = state.absmax.reshape(-1).contiguous()
        try:
            return original(layer, index)
        finally:
            state.absmax = right

    lib.around("nn.modules:Embedding4bit._forward_with_partial_dequantize", change)


fault = partial(Fault, area="embeddings", stage=Stage.COMPUTE, cases="embedding*")

FAULTS = (
    fault(
        name="embedding-last-row",
        what="The row before the last is looked up in place of the last.",
        plant=last_row,
        where=lambda c: c.rows > 1,
    ),
    fault(
        name="embedding-off-by-one",
        what="The row after the one asked for is looked up.",
        plant=off_by_one,
        where=lambda c: c.rows > 1,
    ),
    fault(name="embedding-first-row", what="Row 0 is taken for padding.", plant=first_row),
    fault(
        name="embedding-dtype",
        what="Rows come back in float32.",
        plant=in_float32,
        stage=Stage.CONTRACT,
        where=lambda c: c.dtype != "float32",
    ),
    fault(
        name="embedding-float16",
        what="Rows in float32 or bfloat16 go through float16.",
        plant=through_float16,
        where=lambda c: c.dtype != "float16",
    ),
    fault(
        name="embedding-factor",
        what="Rows are larger by the relative size.",
        plant=factor,
        sizes=(1e-2, 1e-4, 1e-6),
    ),
    fault(name="embedding-last-element", what="The very last element is zero.", plant=last_element),
    fault(
        name="embedding-repeated",
        what="A row that was looked up before in the same call is zero.",
        plant=repeated,
    ),
    fault(
        name="embedding-8bit-scale",
        what="Each row has the scale of the row before it.",
        plant=scale_of_neighbour,
        cases="embedding8bit",
        where=lambda c: c.rows > 1,
    ),
    fault(
        name="embedding-8bit-128",
        what="Scales are divided by 128.",
        plant=divided_by_128,
        cases="embedding8bit",
    ),
    fault(
        name="embedding-4bit-first-scale",
        what="Every block of a row has the scale of its first.",
        plant=first_scale_of_row,
        cases="embedding4bit-*",
        where=lambda c: c.dim % 64 == 0 and c.dim > 64,  # noqa: PLR2004 - the blocksize of embeddings
    ),
)
