"""The 4-bit format: packed bytes, block scales and double-quantized scales, read and made without the library.

A weight is flattened row by row and cut into blocks of `blocksize` elements; the last may be short.
Two codes share a byte, the first in the high half. Each block has one scale, its largest magnitude,
stored in float32, or, double-quantized ("nested"), as an 8-bit code in blocks of 256 with an offset.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from accuracy.formats import NESTED_BLOCKSIZE
from accuracy.oracles import codes
from accuracy.oracles.rounding import rounded


def _pinned() -> Tensor:
    return codes.dynamic_8bit()


@dataclass(frozen=True, kw_only=True)
class NestedScales:
    """Double-quantized scales: `codes` uint8 per block, `scales` float32 per 256 blocks, `offset` float32 scalar.

    `table` is what the 256 codes mean, float32: it is stored with them.
    """

    codes: Tensor
    scales: Tensor
    offset: Tensor
    table: Tensor = field(default_factory=_pinned)


@dataclass(frozen=True, kw_only=True)
class Stored4bit:
    """What a 4-bit layer keeps of its weight, copied to the CPU before the first forward pass.

    `packed` is uint8, flat, ceil(numel / 2) bytes; `scales` is float32, one per block, or a
    `NestedScales`; `dtype` is the dtype the weight had before it was quantized.
    """

    packed: Tensor
    scales: Tensor | NestedScales
    blocksize: int
    quant_type: str
    shape: tuple[int, int]
    dtype: torch.dtype


def unpack(stored: Stored4bit) -> Tensor:
    """The 4-bit codes, int64, flat, one per element of the weight.

    Raises:
        ValueError: if the bytes cannot hold the weight.
    """
    wanted = math.prod(stored.shape)
    halves = torch.stack([stored.packed >> 4, stored.packed & 0xF], dim=1).reshape(-1)
    if halves.numel() < wanted:
        raise ValueError(f"{stored.packed.numel()} packed bytes cannot hold {wanted} 4-bit codes")
    return halves[:wanted].long()


def block_scales(stored: Stored4bit) -> Tensor:
    """The scale of each block, float32: stored, or fl(fl(code8·s2) + offset) when double-quantized."""
    if isinstance(stored.scales, Tensor):
        return stored.scales
    nested = stored.scales
    scales = per_element(nested.scales, NESTED_BLOCKSIZE, nested.codes.numel())
    return nested_table(nested)[nested.codes.long()] * scales + nested.offset


def block_scales_at_once(stored: Stored4bit) -> Tensor:
    """The scale of each block as a kernel forms it that multiplies and adds at once: fl(code8·s2 + offset), float32.

    Compilers for GPUs contract the two operations unless they are told not to. The product is exact in float64; that
    the sum is rounded there first can matter for one scale in 2^29.
    """
    if isinstance(stored.scales, Tensor):
        return stored.scales
    nested = stored.scales
    scales = per_element(nested.scales, NESTED_BLOCKSIZE, nested.codes.numel()).double()
    return (nested_table(nested).double()[nested.codes.long()] * scales + nested.offset.double()).float()


def nested_table(nested: NestedScales) -> Tensor:
    """What the codes of the scales mean: the stored table, if it is one of 256 finite float32 values.

    The pinned table itself where both are equal, so that what is derived from it is derived once.
    """
    pinned, table = codes.dynamic_8bit(), nested.table
    if torch.equal(table, pinned) or table.shape != pinned.shape or table.dtype != pinned.dtype:
        return pinned
    return table if table.isfinite().all() else pinned


def per_element(scales: Tensor, blocksize: int, count: int) -> Tensor:
    """Each block's scale, repeated for each of its elements; flat, `count` long."""
    return scales.repeat_interleave(blocksize)[:count]


def decode(stored: Stored4bit, dtype: torch.dtype) -> Tensor:
    """The weight as the format defines it, fl_dtype(fl32(code·scale)), float64, of shape `stored.shape`."""
    return rounded(decode_float32(stored), dtype)


def decode_float32(stored: Stored4bit) -> Tensor:
    """fl32(code·scale) in float64, of shape `stored.shape`: the decoded weight before the last rounding."""
    return _scaled(stored, block_scales(stored))


def decode_at_once(stored: Stored4bit, dtype: torch.dtype) -> Tensor:
    """`decode` with `block_scales_at_once`."""
    return rounded(_scaled(stored, block_scales_at_once(stored)), dtype)


def _scaled(stored: Stored4bit, scales: Tensor) -> Tensor:
    table = codes.four_bit(stored.quant_type)
    scale = per_element(scales, stored.blocksize, math.prod(stored.shape))
    return (table[unpack(stored)] * scale).double().reshape(stored.shape)


def block_maxima(values: Tensor, blocksize: int) -> Tensor:
    """Largest magnitude of each block of the flattened `values`; exact, in the dtype of `values`."""
    flat = values.reshape(-1).abs()
    padding = -flat.numel() % blocksize
    return torch.nn.functional.pad(flat, (0, padding)).reshape(-1, blocksize).amax(dim=1)


def excess_distance(normalized: Tensor, chosen: Tensor, table: Tensor) -> Tensor:
    """How much farther the chosen code is than the nearest one: |v - c| - min_k |v - c_k|, float64, flat.

    `normalized` holds weight ÷ scale in float64, `chosen` the code numbers, `table` the code values.
    Zero exactly where the choice is a nearest code.
    """
    cells = _cells(table)
    outside = ~((normalized >= cells.begin[chosen]) & (normalized <= cells.end[chosen]))
    excess = torch.zeros_like(normalized)
    if outside.any():
        values, seen = cells.ordered, normalized[outside]
        right = torch.searchsorted(values, seen).clamp(1, values.numel() - 1)
        nearest = torch.minimum((seen - values[right - 1]).abs(), (values[right] - seen).abs())
        excess[outside] = (seen - table.double()[chosen[outside]]).abs() - nearest
    return excess


def half_gap(chosen: Tensor, normalized: Tensor, quant_type: str) -> Tensor:
    """Half the gap between each chosen code and its neighbour on the side of the value, in units of the scale.

    Zero at the ends of the table, where |v| cannot exceed 1.
    """
    cells = _cells(codes.four_bit(quant_type))
    return torch.where(normalized >= cells.values[chosen], cells.above[chosen], cells.below[chosen])


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """What a table of codes makes of the line, float64.

    `ordered` are the values that there are, rising. For each code: its value, the interval in which it is a nearest
    one, and half the gaps to the values above and below.
    """

    ordered: Tensor
    values: Tensor
    begin: Tensor
    end: Tensor
    above: Tensor
    below: Tensor


@lru_cache(maxsize=8)
def _cells(table: Tensor) -> _Cells:
    values = table.double()
    ordered = torch.unique(values)
    at = torch.searchsorted(ordered, values)
    above = (ordered[(at + 1).clamp_max(ordered.numel() - 1)] - ordered[at]) / 2
    below = (ordered[at] - ordered[(at - 1).clamp_min(0)]) / 2
    return _Cells(
        ordered=ordered,
        values=values,
        begin=torch.where(below > 0, values - below, -math.inf),
        end=torch.where(above > 0, values + above, math.inf),
        above=above,
        below=below,
    )
