"""Relations that a table of quantized rows must keep, whatever the rows are: each is exact."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from accuracy import subjects
from accuracy.case import Embedding4bitRelation, Embedding8bitRelation
from accuracy.inputs import EmbeddingInputs
from accuracy.twice import Pair


def _same_row(layer: Any, index: Tensor) -> Pair:
    """A row looked up many times is the same each time."""
    repeated = index.reshape(-1)[:1].expand(index.shape).contiguous()
    rows = layer(repeated)
    return Pair(expected=rows.reshape(-1, rows.shape[-1])[:1].expand(repeated.numel(), -1), actual=rows.flatten(0, -2))


def _index_order(layer: Any, index: Tensor) -> Pair:
    """Row numbers in reverse order give the rows in reverse order."""
    return Pair(expected=layer(index).flip(0), actual=layer(index.flip(0)))


def _index_repeat(layer: Any, index: Tensor) -> Pair:
    """A second lookup gives the same bits."""
    return Pair(expected=layer(index), actual=layer(index))


def _index_copy(layer: Any, index: Tensor) -> Pair:
    """A deep copy gives the same bits."""
    return Pair(expected=layer(index), actual=copy.deepcopy(layer)(index))


def _index_device(layer: Any, index: Tensor) -> Pair:
    """A table moved to the CPU and back gives the same bits."""
    expected = layer(index)
    return Pair(expected=expected, actual=copy.deepcopy(layer).to("cpu").to(index.device)(index))


def _narrow_index(layer: Any, index: Tensor) -> Pair:
    """Row numbers of 32 bits give the rows of those of 64."""
    return Pair(expected=layer(index), actual=layer(index.to(torch.int32)))


def _transposed_index(layer: Any, index: Tensor) -> Pair:
    """Row numbers whose columns lie together give what their contiguous copy gives."""
    both = torch.stack([index.reshape(-1), index.reshape(-1).flip(0)])
    return Pair(expected=layer(both), actual=layer(both.T.contiguous().T))


def _no_rows(layer: Any, index: Tensor) -> Pair:
    """No row number gives no row, and changes nothing."""
    expected, flat = layer(index).flatten(0, -2), index.reshape(-1)
    return Pair(expected=expected, actual=torch.cat([layer(flat[:0]), layer(flat)]))


def _index_kept(layer: Any, index: Tensor) -> Pair:
    """A lookup leaves the row numbers as they were."""
    given = index.clone()
    layer(given)
    return Pair(expected=index, actual=given)


def _kept_output(layer: Any, index: Tensor) -> Pair:
    """The rows of a lookup stay as they are when the table is used again: no memory serves two of them."""
    first = layer(index)
    before = first.clone()
    layer(index.flip(0))
    return Pair(expected=before, actual=first)


LOOKUPS: Final[dict[str, Callable[[Any, Tensor], Pair]]] = {
    "same_row": _same_row,
    "index_order": _index_order,
    "repeat": _index_repeat,
    "deep_copy": _index_copy,
    "device_round_trip": _index_device,
    "narrow_index": _narrow_index,
    "transposed_index": _transposed_index,
    "no_rows": _no_rows,
    "index_kept": _index_kept,
    "kept_output": _kept_output,
}


def embedding_4bit(
    config: Embedding4bitRelation, inputs: EmbeddingInputs, device: torch.device
) -> Iterator[tuple[str, Any]]:
    """The relation that the config names, on an `Embedding4bit`: yields the pair."""
    yield from _lookup(subjects.build_embedding_4bit(config, inputs, device), config.relation, inputs, device)


def embedding_8bit(
    config: Embedding8bitRelation, inputs: EmbeddingInputs, device: torch.device
) -> Iterator[tuple[str, Any]]:
    """The relation that the config names, on an `Embedding8bit`: yields the pair."""
    yield from _lookup(subjects.build_embedding_8bit(config, inputs, device), config.relation, inputs, device)


def _lookup(layer: Any, relation: str, inputs: EmbeddingInputs, device: torch.device) -> Iterator[tuple[str, Any]]:
    with torch.no_grad():
        pair = LOOKUPS[relation](layer, inputs.index.clone().to(device))
    yield "relation", replace(pair, actual=pair.actual.cpu(), expected=pair.expected.cpu())
