"""Behaviours of the embeddings: rows as close as published, a warning, a state restored, a state dict refused."""

from collections.abc import Iterator
from typing import Any

import torch

from accuracy import subjects
from accuracy.case import Embedding4bitConfig, Embedding8bitConfig
from accuracy.checks.upstream import Beside
from accuracy.inputs import EmbeddingInputs
from accuracy.subjects import Part
from accuracy.upstream.facts import placed, present, raised
from accuracy.upstream.messages import recorded, times


def rows_8bit(config: Embedding8bitConfig, inputs: EmbeddingInputs, device: torch.device) -> Iterator[Part]:
    """Rows 6 and 7, `Embedding8bit`: yields where codes and scales are, the output, and the fp32 rows beside it."""
    layer = subjects.new_embedding_8bit(config, inputs).to(device)
    yield "weight_after_move", placed(layer.weight)
    yield "scales_after_move", placed(layer.weight.SCB)
    yield from _looked_up(layer, inputs, device)


def rows_4bit(config: Embedding4bitConfig, inputs: EmbeddingInputs, device: torch.device) -> Iterator[Part]:
    """Rows 6 and 7 of an `Embedding4bit`: as `rows_8bit`."""
    layer = subjects.new_embedding_4bit(config, inputs).to(device)
    yield "weight_after_move", placed(layer.weight)
    yield "scales_after_move", placed(layer.weight.quant_state.absmax)
    yield from _looked_up(layer, inputs, device)


def warning(config: Embedding4bitConfig, inputs: EmbeddingInputs, device: torch.device) -> Iterator[Part]:
    """Row 9: yields how often the warning of an `Embedding4bit` was given, and the number of different messages."""
    with recorded() as said:
        layer = subjects.new_embedding_4bit(config, inputs).to(device)
        output = layer(inputs.index.to(device))
    yield "slow_inference", times(said, r"inference\.")
    yield "messages", str(len(said))
    yield "output", output.cpu()


def restored(config: Embedding4bitConfig, inputs: EmbeddingInputs, device: torch.device) -> Iterator[Part]:
    """Row 10: the weight loses its state, as under FSDP; yields whether it came back, and outputs before and after."""
    untouched, layer = (subjects.build_embedding_4bit(config, inputs, device) for _ in range(2))
    layer.weight.quant_state = None
    index = inputs.index.to(device)
    yield "untouched", untouched(index).cpu()
    output = layer(index).cpu()
    yield "quant_state", present(layer.weight.quant_state)
    yield "output", output


def state_dict_8bit(config: Embedding8bitConfig, inputs: EmbeddingInputs, device: torch.device) -> Iterator[Part]:
    """Row 12 of an `Embedding8bit`: yields what its state_dict raises before it is moved and after."""
    yield from _state_dict(subjects.new_embedding_8bit(config, inputs), device)


def state_dict_4bit(config: Embedding4bitConfig, inputs: EmbeddingInputs, device: torch.device) -> Iterator[Part]:
    """Row 12 of an `Embedding4bit`: as `state_dict_8bit`."""
    yield from _state_dict(subjects.new_embedding_4bit(config, inputs), device)


def _state_dict(layer: Any, device: torch.device) -> Iterator[Part]:
    yield "state_dict_before_move", raised(layer.state_dict)
    moved = layer.to(device)
    yield "state_dict_after_move", raised(moved.state_dict)
    yield "state_dict_inside_a_model", raised(torch.nn.Sequential(moved).state_dict)


def _looked_up(layer: Any, inputs: EmbeddingInputs, device: torch.device) -> Iterator[Part]:
    """The rows, and those of an ordinary embedding with the same table."""
    with torch.no_grad():
        output = layer(inputs.index.to(device))
    yield "output_place", placed(output)
    yield "output", output.cpu()
    reference = torch.nn.functional.embedding(inputs.index, inputs.weight)
    yield "rows", Beside(actual=output.cpu(), reference=reference)
