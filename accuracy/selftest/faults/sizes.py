"""Faults that show only from some size on: of a dimension, or down to some size of the numbers."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.embeddings import FORWARDS
from accuracy.selftest.faults.places import on_4bit_inputs, on_4bit_outputs, on_int8_outputs, scaled_from
from accuracy.selftest.library import Library

TILE = 256
STEP = 64
LARGE = 1024
ROWS = 128
COLUMNS = 64
GRID = 2**16 - 1
VOCABULARY = 2**15


def _of_models(k: int) -> bool:
    """Whether it is a width of models that whole tiles make up and no power of two: 768, 1280, 1536, 3072."""
    return k > 2 * TILE and k % TILE == 0 and k.bit_count() > 1


def _has_tail(k: int) -> bool:
    """Whether so many inputs are taken in steps, the last of which is not a whole one."""
    return k > LARGE and k % STEP != 0


def _end_lost(lib: Library, lost: Callable[[int], int]) -> None:
    """Leaves the last `lost(K)` inputs out of 4-bit products."""

    def change(x: Any) -> Any:
        k = x.shape[-1]
        x = x.clone()
        x[..., k - lost(k) :] = 0
        return x

    on_4bit_inputs(lib, change)


def model_sizes(lib: Library) -> None:
    _end_lost(lib, lambda k: TILE if _of_models(k) else 0)


def large_k_tail(lib: Library) -> None:
    _end_lost(lib, lambda k: k % STEP if _has_tail(k) else 0)


def int8_many_rows(lib: Library) -> None:
    on_int8_outputs(lib, lambda out: scaled_from(out, ROWS, lib.size))


def four_bit_many_rows(lib: Library) -> None:
    on_4bit_outputs(lib, lambda out: scaled_from(out, ROWS, lib.size) if out.shape[-1] >= COLUMNS else out)


def rows_beyond_grid(lib: Library) -> None:
    for on_outputs in (on_int8_outputs, on_4bit_outputs):
        on_outputs(lib, lambda out: scaled_from(out, GRID, -1.0))


def large_vocabulary(lib: Library) -> None:
    for target in FORWARDS:
        lib.around(target, lambda original, layer, index: original(layer, index % VOCABULARY))


def through_float16(lib: Library) -> None:
    on_4bit_inputs(lib, lambda x: x.half().to(x.dtype) if x.dtype == lib.torch.bfloat16 else x)


fault = partial(Fault, area="sizes", stage=Stage.COMPUTE, added_later=True)

FAULTS = (
    fault(
        name="model-sizes",
        what="Of 768, 1280, 1536 inputs and the like, the last 256 are left out of the sum.",
        plant=model_sizes,
        cases="linear4bit-*",
        where=lambda c: _of_models(c.in_features),
    ),
    fault(
        name="large-k-tail",
        what="Of more than 1024 inputs, those behind the last multiple of 64 are left out of the sum.",
        plant=large_k_tail,
        cases="linear4bit-*",
        where=lambda c: _has_tail(c.in_features),
    ),
    fault(
        name="int8-many-rows",
        what="From the 129th row on, outputs of int8 layers are larger by the relative size.",
        plant=int8_many_rows,
        sizes=(1e-1, 1e-2),
        cases="linear8bitlt-*",
        where=lambda c: math.prod(c.batch) > ROWS,
    ),
    fault(
        name="4bit-many-rows",
        what="From the 129th row on, 4-bit products of 64 and more columns are larger by the relative size.",
        plant=four_bit_many_rows,
        sizes=(1e-1, 1e-2),
        cases="linear4bit-*",
        where=lambda c: math.prod(c.batch) > ROWS and c.out_features >= COLUMNS,
    ),
    fault(
        name="rows-beyond-grid",
        what="Rows behind the first 65535, more blocks than a CUDA grid has in its second dimension, are zeros.",
        plant=rows_beyond_grid,
        cases="linear*",
        where=lambda c: math.prod(c.batch) > GRID,
    ),
    fault(
        name="large-vocabulary",
        what="Row numbers of an embedding wrap at 32768.",
        plant=large_vocabulary,
        cases="embedding*",
        where=lambda c: c.rows > VOCABULARY,
    ),
    fault(
        name="subnormal-through-float16",
        what="Inputs in bfloat16 go through float16.",
        plant=through_float16,
        cases="linear4bit-*-train",
        where=lambda c: (
            c.activation == "subnormal"
            and c.dtype == "bfloat16"
            and (c.compute_dtype or c.dtype) == "bfloat16"
            and not c.bias
        ),
    ),
)
