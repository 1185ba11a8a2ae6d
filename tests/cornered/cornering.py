"""Five faults in corners of a mended library: with this folder before tests/mended on PYTHONPATH.

Each needs two or three conditions at once, on shape, dtype and mode. Everywhere else the layers are right.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

LARGE = 15.0
"""Beyond what a normal distribution gives, within what one with outliers does."""


def plant(bnb: ModuleType) -> None:
    """Put the faults in."""
    _changed(bnb.nn.Linear8bitLt, _one_deep_odd_row, _last_column_lost)
    _changed(bnb.nn.Linear8bitLt, _one_deep_row_of_outliers, lambda out: out * (1 + 2.0**-5))
    _changed(bnb.nn.Linear4bit, _long_blocks_in_wide_storage, _last_column_repeated)
    _changed(bnb.nn.Embedding4bit, _infinities_off_the_block, lambda out: out.nan_to_num(0.0, 0.0, 0.0))
    _changed(bnb.nn.Embedding8bit, _near_overflow_in_odd_rows, _last_column_lost)


def _changed(kind: Any, condition: Callable[[Any, Tensor, Tensor], bool], change: Callable[[Tensor], Tensor]) -> None:
    """Has `kind` return `change(output)` where condition(layer, input, output) holds."""
    original = kind.forward

    def forward(layer: Any, x: Tensor) -> Tensor:
        output: Tensor = original(layer, x)
        return change(output) if condition(layer, x, output) else output

    kind.forward = forward


def _one_deep_odd_row(layer: Any, x: Tensor, output: Tensor) -> bool:
    """Inference, one row in an input of rank 4, an odd number of features, 16 bits."""
    return not layer.training and x.shape[:-1] == (1, 1, 1) and x.shape[-1] % 2 == 1 and output.element_size() == 2


def _one_deep_row_of_outliers(layer: Any, x: Tensor, _: Tensor) -> bool:
    """Training with frozen int8 rows and a threshold, one row in an input of rank 4, with large values."""
    frozen = layer.training and not layer.state.has_fp16_weights
    return bool(frozen and layer.state.threshold > 0 and x.shape[:-1] == (1, 1, 1) and (x.abs() > LARGE).any())


def _long_blocks_in_wide_storage(layer: Any, x: Tensor, _: Tensor) -> bool:
    """Training, blocks of 2048 or more that fill whole rows, codes not stored in bytes."""
    blocksize = layer.weight.quant_state.blocksize
    whole = blocksize >= 2048 and x.shape[-1] % blocksize == 0
    return bool(layer.training and whole and layer.weight.dtype != torch.uint8)


def _infinities_off_the_block(layer: Any, _: Tensor, output: Tensor) -> bool:
    """NF4 in bfloat16, rows that end inside a block, a block that holds an infinity."""
    off = layer.embedding_dim % 64 != 0 and layer.weight.quant_type == "nf4"
    return bool(off and output.dtype == torch.bfloat16 and layer.weight.quant_state.absmax.isinf().any())


def _near_overflow_in_odd_rows(layer: Any, _: Tensor, output: Tensor) -> bool:
    """Float16 close to its largest value, rows of odd length."""
    return bool(layer.embedding_dim % 2 == 1 and output.dtype == torch.float16 and (output.abs() > 2.0e4).any())


def _last_column_lost(output: Tensor) -> Tensor:
    return torch.cat([output[..., :-1], torch.zeros_like(output[..., -1:])], dim=-1)


def _last_column_repeated(output: Tensor) -> Tensor:
    return torch.cat([output[..., :-1], output[..., :1] * 2], dim=-1)
