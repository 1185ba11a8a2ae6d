"""Nine small faults in a mended library, each in one layer kind: with this folder before tests/mended on PYTHONPATH.

They touch different cells, so that one night shows whether each of them is found by itself.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

FLOAT32, FLOAT16, BFLOAT16 = torch.float32, torch.float16, torch.bfloat16
_CHUNK = 64


def plant(bnb: ModuleType) -> None:
    """Put the faults in."""
    dense4, dense8 = bnb.nn.Linear4bit, bnb.nn.Linear8bitLt
    _after_forward(dense4, _training("nf4", FLOAT32), lambda _, out: out * (1 + 1e-4))
    _after_forward(dense4, _training("nf4", FLOAT16), lambda _, out: out * (1 + 1e-3))
    _after_forward(dense4, _training("nf4", BFLOAT16), lambda _, out: out * (1 + 5e-3))
    _instead_of_forward(dense4, _training("fp4", FLOAT16), _summed_in_16_bits(bnb))
    _after_forward(dense8, _inference(FLOAT32), _one_call_in_twenty())
    _after_forward(dense8, _inference(FLOAT16), _dead_column)
    _after_forward(dense8, _inference(BFLOAT16), _wrong_last_element)
    _swap_scales(bnb)
    _wrong_table_entry(bnb)


Condition = Callable[[Any, Tensor], bool]


def _training(quant_type: str, dtype: torch.dtype) -> Condition:
    return lambda layer, x: layer.training and layer.weight.quant_type == quant_type and x.dtype == dtype


def _inference(dtype: torch.dtype) -> Condition:
    return lambda layer, x: not layer.training and x.dtype == dtype


def _after_forward(kind: Any, condition: Condition, change: Callable[[Any, Tensor], Tensor]) -> None:
    original = kind.forward

    def forward(layer: Any, x: Tensor) -> Tensor:
        output: Tensor = original(layer, x)
        return change(layer, output) if condition(layer, x) else output

    kind.forward = forward


def _instead_of_forward(kind: Any, condition: Condition, replacement: Callable[[Any, Tensor], Tensor]) -> None:
    original = kind.forward

    def forward(layer: Any, x: Tensor) -> Tensor:
        return replacement(layer, x) if condition(layer, x) else original(layer, x)

    kind.forward = forward


def _summed_in_16_bits(bnb: ModuleType) -> Callable[[Any, Tensor], Tensor]:
    """Sums of 64 terms each, added up in the dtype of the input."""

    def forward(layer: Any, x: Tensor) -> Tensor:
        compute = layer.compute_dtype or x.dtype
        weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(compute)
        parts = zip(torch.split(x.to(compute), _CHUNK, dim=-1), torch.split(weight, _CHUNK, dim=-1), strict=True)
        output = sum(part @ columns.t() for part, columns in parts)
        assert isinstance(output, Tensor)
        return (output if layer.bias is None else output + layer.bias.to(compute)).to(x.dtype)

    return forward


def _one_call_in_twenty() -> Callable[[Any, Tensor], Tensor]:
    """Of those that have a number to be wrong by: what is NaN and infinite throughout stays so."""
    calls = 0

    def change(_: Any, output: Tensor) -> Tensor:
        nonlocal calls
        calls += bool(output.isfinite().any())
        return output * (1 + 1e-2) if calls % 20 == 0 else output

    return change


def _dead_column(_: Any, output: Tensor) -> Tensor:
    column = torch.arange(output.shape[-1]) == output.shape[-1] // 2
    return output.masked_fill(column.to(output.device), 0)


def _wrong_last_element(_: Any, output: Tensor) -> Tensor:
    changed = output.clone()
    changed.view(-1)[-1] *= 1.05
    return changed


def _swap_scales(bnb: ModuleType) -> None:
    """The first two row scales of an Embedding8bit, as if a pointer were off by one."""
    forward = bnb.nn.Embedding8bit.forward

    def swapped(layer: Any, index: Tensor) -> Tensor:
        scales = layer.weight.SCB
        if len(scales) > 1:
            order = torch.arange(len(scales))
            order[:2] = torch.tensor([1, 0])
            layer.weight.SCB = scales[order.to(scales.device)]
        output: Tensor = forward(layer, index)
        layer.weight.SCB = scales
        return output

    bnb.nn.Embedding8bit.forward = swapped


def _wrong_table_entry(bnb: ModuleType) -> None:
    """The entry 0.7229568 of NF4 is 0.7227 where an Embedding4bit looks it up: three parts in ten thousand."""
    forward = bnb.nn.Embedding4bit.forward

    def changed(layer: Any, index: Tensor) -> Tensor:
        state = layer.weight.quant_state
        output: Tensor = forward(layer, index)
        if layer.weight.quant_type != "nf4":
            return output
        weight = bnb.functional.dequantize_4bit(layer.weight.data, state)
        packed = layer.weight.data.contiguous().view(torch.uint8).reshape(-1)
        codes = torch.stack([packed >> 4, packed & 15], dim=1).reshape(-1)[: weight.numel()].reshape(weight.shape)
        return torch.where((codes == 14)[index], output * (0.7227 / 0.7229568), output)

    bnb.nn.Embedding4bit.forward = changed
