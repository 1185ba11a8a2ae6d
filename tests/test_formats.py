"""A layer is stored in the format that was asked for, and saved in its form: what is not is a fault of the contract."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bitsandbytes.functional as library
import pytest
import torch
from layers import INT8, NF4, ROWS4, Seen, seen

from accuracy import formats
from accuracy.case import Linear4bitConfig, Linear4bitRelation, Linear8bitConfig, Linear8bitRelation

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


def saved(case: str, config: Linear4bitConfig | Linear8bitConfig) -> Seen:
    """A layer that is saved and loaded."""
    kind = Linear4bitRelation if isinstance(config, Linear4bitConfig) else Linear8bitRelation
    return seen(f"{case}-{config.mode}-relations", kind(**vars(config), relation="save_and_load"))


def test_a_layer_is_saved_in_the_form_that_other_releases_read() -> None:
    """Of nested scales, plain ones, codes of 8 bits and a weight that has none."""
    for case, config, state in (
        ("linear4bit", ASKED, "blocksize 32, dtype float32, nested_blocksize 256, nested_dtype float32, "),
        ("linear4bit", NF4, "blocksize 64, dtype float32, quant_type nf4, shape"),
        ("linear8bitlt", replace(INT8, has_fp16_weights=False), "weight_format 0"),
        ("linear8bitlt-fp16-weights", INT8, ""),
    ):
        result = saved(case, config)
        assert result.failing == []
        assert result.rows["contract/saved_tensors"]["status"] == "ok"
        assert ("contract/saved_state" in result.rows) == bool(state)
        assert formats.words(formats.saved_state(config)).startswith(state)


def test_scales_saved_under_another_name_break_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though they are found again under it, so that nothing is lost in this release."""
    state, load = library.QuantState.as_dict, library.QuantState.from_dict
    there, back = {"absmax": "scales"}, {"scales": "absmax"}

    def renamed(entries: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
        return {names.get(name, name): value for name, value in entries.items()}

    monkeypatch.setattr(library.QuantState, "as_dict", lambda *args, **kwargs: renamed(state(*args, **kwargs), there))
    monkeypatch.setattr(
        library.QuantState, "from_dict", lambda qs_dict, *args, **kwargs: load(renamed(qs_dict, back), *args, **kwargs)
    )
    result = saved("linear4bit", NF4)

    assert result.failing == ["contract/saved_tensors"]
    assert "weight.scales float32, expected " in result.rows["contract/saved_tensors"]["reason"]
    assert result.rows["invariant/save_and_load"]["ratio"] == 0


def test_a_packed_state_that_says_something_else_breaks_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here of which dtype the weight was, which this release takes in other words, too."""
    state, load = library.QuantState.as_dict, library.QuantState.from_dict

    def said(self: Any, packed: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002  as the library's
        entries: dict[str, Any] = state(self, packed=packed)
        name = next(name for name in entries if "quant_state." in name)
        items = json.loads(bytes(entries[name].tolist()))
        items["dtype"] = f"torch.{items['dtype']}"
        return entries | {name: torch.tensor(list(json.dumps(items).encode()), dtype=torch.uint8)}

    def heard(qs_dict: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        name = next(name for name in qs_dict if "quant_state." in name)
        items = json.loads(bytes(qs_dict[name].tolist()))
        items["dtype"] = items["dtype"].removeprefix("torch.")
        plain = torch.tensor(list(json.dumps(items).encode()), dtype=torch.uint8)
        return load(qs_dict | {name: plain}, *args, **kwargs)

    monkeypatch.setattr(library.QuantState, "as_dict", said)
    monkeypatch.setattr(library.QuantState, "from_dict", heard)
    result = saved("linear4bit", NF4)

    assert result.failing == ["contract/saved_state"]
    assert "saved state is blocksize 64, dtype torch.float32, " in result.rows["contract/saved_state"]["reason"]
