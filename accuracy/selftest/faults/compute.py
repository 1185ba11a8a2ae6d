"""Faults of the products: scale, accumulation, elements and rows that are left out or wrong."""

from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import (
    FUNCTIONS,
    on_4bit_inputs,
    on_4bit_outputs,
    on_int8_outputs,
    on_outputs,
    scaled,
    scaled_from,
    toward_zero,
    weight_of,
)
from accuracy.selftest.library import Library

CHUNK = 32
ROWS = 64
LARGE = 1024
CALLS = 20


def scale_factor(lib: Library, dtype: str) -> None:
    wanted = getattr(lib.torch, dtype)
    on_4bit_outputs(lib, lambda out: scaled(out, lib.size) if out.dtype == wanted else out)


def int8_scale_factor(lib: Library) -> None:
    on_int8_outputs(lib, lambda out: scaled(out, lib.size))


def dead_column(lib: Library) -> None:
    def change(out: Any) -> Any:
        out = out.clone()
        out[..., out.shape[-1] // 2] = 0
        return out

    on_outputs(lib, change)


def last_element(lib: Library) -> None:
    def change(out: Any) -> Any:
        out = out.clone()
        out.view(-1)[-1] = scaled(out.view(-1)[-1], lib.size)
        return out

    on_outputs(lib, change)


def last_column_of_neighbour(lib: Library) -> None:
    def change(out: Any) -> Any:
        if out.shape[-1] > 1:
            out = out.clone()
            out[..., -1] = out[..., -2]
        return out

    on_outputs(lib, change)


def _product(lib: Library, change: Any) -> None:
    """Replaces `gemm_4bit` by `change(right, x, weight, bias)`, the weight decoded in the dtype of x."""

    def product(right: Any, x: Any, *rest: Any, bias: Any = None, **nested: Any) -> Any:
        return change(right, x, weight_of(lib, x.dtype, *rest, **nested), bias)

    lib.after("op:gemm_4bit", product)


def accumulated_in_16_bits(lib: Library) -> None:
    def change(right: Any, x: Any, weight: Any, bias: Any) -> Any:
        if x.dtype == lib.torch.float32:
            return right
        total = lib.torch.zeros_like(right)
        for start in range(0, x.shape[-1], CHUNK):
            part = slice(start, start + CHUNK)
            total += (x[..., part].float() @ weight[:, part].float().T).to(x.dtype)
        return total if bias is None else total + bias

    _product(lib, change)


def truncated(lib: Library) -> None:
    def change(right: Any, x: Any, weight: Any, bias: Any) -> Any:
        if x.dtype == lib.torch.float32:
            return right
        exact = x.double() @ weight.double().T
        return toward_zero(lib, exact if bias is None else exact + bias.double(), x.dtype)

    _product(lib, change)


def square_transposed(lib: Library) -> None:
    def change(right: Any, x: Any, weight: Any, bias: Any) -> Any:
        if weight.shape[0] != weight.shape[1]:
            return right
        return lib.torch.nn.functional.linear(x, weight.T, bias)

    _product(lib, change)


def _on_inputs(lib: Library, change: Any) -> None:
    """Changes the input of every product."""
    on_4bit_inputs(lib, change)
    for name in ("MatMul8bitFp", "MatMul8bitLt"):
        lib.around(f"{FUNCTIONS}:{name}.forward", lambda original, ctx, x, *rest: original(ctx, change(x), *rest))


def end_of_k_dropped(lib: Library) -> None:
    def change(x: Any) -> Any:
        count = int(lib.size)
        if x.shape[-1] <= count:
            return x
        x = x.clone()
        x[..., -count:] = 0
        return x

    _on_inputs(lib, change)


def large_k_dropped(lib: Library) -> None:
    def change(x: Any) -> Any:
        x = x.clone()
        x[..., LARGE:] = 0
        return x

    _on_inputs(lib, change)


def input_in_bfloat16(lib: Library) -> None:
    lib.around(
        "op:gemm_4bit", lambda original, x, *rest, **options: original(x.bfloat16().to(x.dtype), *rest, **options)
    )


def many_rows(lib: Library) -> None:
    on_outputs(lib, lambda out: scaled_from(out, ROWS, lib.size))


def rows_swapped(lib: Library) -> None:
    def change(out: Any) -> Any:
        flat = out.clone().reshape(-1, out.shape[-1])
        if len(flat) > 1:
            flat[0], flat[-1] = flat[-1].clone(), flat[0].clone()
        return flat.reshape(out.shape)

    on_outputs(lib, change)


def one_call(lib: Library) -> None:
    calls = 0

    def change(out: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % CALLS:
            return out
        out = out.clone()
        out.view(-1)[0] = scaled(out.view(-1)[0], lib.size)
        return out

    on_outputs(lib, change)


def _rows(config: Any) -> int:
    count = 1
    for length in config.batch:
        count *= length
    return count


fault = partial(Fault, area="compute", stage=Stage.COMPUTE, cases="linear*")

FAULTS = (
    fault(
        name="output-scale-float32",
        what="Outputs in float32 are larger by the relative size.",
        plant=partial(scale_factor, dtype="float32"),
        sizes=(1e-4, 1e-5, 1e-6),
        cases="linear4bit-nf4-train",
        where=lambda c: (c.compute_dtype or c.dtype) == "float32" and c.dtype == "float32",
    ),
    fault(
        name="output-scale-float16",
        what="Outputs in float16 are larger by the relative size.",
        plant=partial(scale_factor, dtype="float16"),
        sizes=(1e-3, 3e-4, 1e-4),
        cases="linear4bit-nf4-train",
        where=lambda c: (c.compute_dtype or c.dtype) == "float16" and c.dtype == "float16",
    ),
    fault(
        name="output-scale-bfloat16",
        what="Outputs in bfloat16 are larger by the relative size.",
        plant=partial(scale_factor, dtype="bfloat16"),
        sizes=(5e-3, 1.5e-3, 5e-4),
        cases="linear4bit-nf4-train",
        where=lambda c: (c.compute_dtype or c.dtype) == "bfloat16" and c.dtype == "bfloat16",
    ),
    fault(
        name="output-scale-int8",
        what="Outputs of int8 layers are larger by the relative size.",
        plant=int8_scale_factor,
        sizes=(1e-1, 1e-2, 1e-3, 1e-4),
        cases="linear8bitlt-*",
    ),
    fault(name="output-dead-column", what="One output feature is always zero.", plant=dead_column),
    fault(
        name="output-last-element",
        what="The very last output is larger by the relative size.",
        plant=last_element,
        sizes=(1.0, 1e-1, 1e-2),
    ),
    fault(
        name="output-last-column",
        what="The last output feature repeats the one before it.",
        plant=last_column_of_neighbour,
        where=lambda c: c.out_features > 1,
    ),
    fault(
        name="output-16-bit-accumulation",
        what="Sums over blocks of 32 inputs are kept in 16 bits.",
        plant=accumulated_in_16_bits,
        cases="linear4bit-*-train",
        where=lambda c: (c.compute_dtype or c.dtype) != "float32" and c.in_features > CHUNK,
    ),
    fault(
        name="output-truncated",
        what="Outputs are cut to 16 bits, not rounded.",
        plant=truncated,
        cases="linear4bit-*-train",
        where=lambda c: (c.compute_dtype or c.dtype) != "float32",
    ),
    fault(
        name="output-square-transposed",
        what="A square weight is multiplied transposed.",
        plant=square_transposed,
        cases="linear4bit-*-train",
        where=lambda c: c.in_features == c.out_features > 1,
    ),
    fault(
        name="output-end-of-k-dropped",
        what="The last inputs, this many, are left out of the sum.",
        plant=end_of_k_dropped,
        sizes=(32.0, 8.0, 1.0),
        where=lambda c: c.in_features > 1,
    ),
    fault(
        name="output-large-k-dropped",
        what="Inputs from the 1025th on are left out of the sum.",
        plant=large_k_dropped,
        where=lambda c: c.in_features > LARGE,
    ),
    fault(
        name="output-input-bfloat16",
        what="The input is rounded to bfloat16 in a layer that computes in another dtype.",
        plant=input_in_bfloat16,
        cases="linear4bit-*-train",
        where=lambda c: (c.compute_dtype or c.dtype) != "bfloat16",
    ),
    fault(
        name="output-many-rows",
        what="From the 65th row on, outputs are larger by the relative size.",
        plant=many_rows,
        sizes=(1e-1, 1e-2),
        where=lambda c: _rows(c) > ROWS,
    ),
    fault(
        name="output-rows-swapped",
        what="The first and the last row of the output are swapped.",
        plant=rows_swapped,
        where=lambda c: _rows(c) > 1,
    ),
    fault(
        name="output-one-call-of-20",
        what="In one call of twenty the first output is larger by the relative size.",
        plant=one_call,
        sizes=(1.0, 1e-1, 1e-2),
    ),
)
