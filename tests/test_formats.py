"""A 4-bit layer is stored in the format that was asked for: each part of it that is not is a fault of the contract."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bitsandbytes.functional as library
import pytest
import torch
from layers import NF4, ROWS4, seen

Changed = Callable[[dict[str, Any]], None]

ASKED = replace(NF4, blocksize=32, nested=True, quant_storage="bfloat16")


def changed(**values: Any) -> Changed:
    return lambda asked: asked.update({name: value for name, value in values.items() if name in asked})


OTHERS: dict[str, tuple[Changed, str]] = {
    "blocksize": (changed(blocksize=64), "nf4 in blocks of 64, double-quantized scales, of float32, in bfloat16"),
    "type": (changed(quant_type="fp4"), "fp4 in blocks of 32, double-quantized scales, of float32, in bfloat16"),
    "scales": (changed(compress_statistics=False), "nf4 in blocks of 32, plain scales, of float32, in bfloat16"),
    "storage": (
        changed(quant_storage=torch.uint8),
        "nf4 in blocks of 32, double-quantized scales, of float32, in uint8",
    ),
}


def quantizing(monkeypatch: pytest.MonkeyPatch, change: Changed) -> None:
    original = library.quantize_4bit

    def quantize(values: Any, **asked: Any) -> Any:
        change(asked)
        return original(values, **asked)

    monkeypatch.setattr(library, "quantize_4bit", quantize)


def test_a_layer_is_stored_as_it_was_asked_for() -> None:
    for result in (seen("linear4bit-nf4-train", ASKED), seen("embedding4bit-nf4", ROWS4)):
        assert result.failing == []
        assert result.rows["contract/format"]["status"] == "ok"


@pytest.mark.parametrize("part", OTHERS)
def test_another_format_breaks_the_contract(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told first, before any number: codes are read by what is said of them, and may well be right."""
    change, words = OTHERS[part]
    quantizing(monkeypatch, change)
    result = seen("linear4bit-nf4-train", ASKED)
    wanted = "nf4 in blocks of 32, double-quantized scales, of float32, in bfloat16"

    assert result.failing[0] == "contract/format"
    assert f"format is {words}, expected {wanted}" in result.rows["contract/format"]["reason"]


def test_a_state_that_tells_another_dtype_breaks_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weight decodes to it, and so does the backward pass."""
    original = library.quantize_4bit

    def quantize(values: Any, **asked: Any) -> Any:
        packed, state = original(values, **asked)
        state.dtype = torch.bfloat16
        return packed, state

    monkeypatch.setattr(library, "quantize_4bit", quantize)

    assert "contract/format" in seen("linear4bit-nf4-train", ASKED).failing


def test_a_table_that_is_not_that_of_the_type_breaks_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is saved with the codes, and some kernels decode by it."""
    original = library.quantize_4bit

    def quantize(values: Any, **asked: Any) -> Any:
        packed, state = original(values, **asked)
        state.code = state.code.bfloat16()
        return packed, state

    monkeypatch.setattr(library, "quantize_4bit", quantize)
    result = seen("linear4bit-nf4-train", ASKED)

    assert result.failing == ["contract/format"]
    assert "in bfloat16, with another table of codes, expected" in result.rows["contract/format"]["reason"]
