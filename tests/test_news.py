"""A new defect in a cell that has a finding is news, where that finding speaks of other layers: seen on real ones."""

from dataclasses import replace
from typing import Any

import bitsandbytes
import layers
import pytest
import torch
from torch import Tensor

from reports import known

CASE = "linear4bit-nf4-train"


@pytest.fixture
def _decoded_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the decoded weight: 0.1 % too large, whatever the layer."""
    decode = bitsandbytes.functional.dequantize_4bit

    def scaled(*args: Any, **options: Any) -> Tensor:
        weight: Tensor = decode(*args, **options)
        return weight * 1.001

    monkeypatch.setattr(bitsandbytes.functional, "dequantize_4bit", scaled)


@pytest.mark.usefixtures("_decoded_too_large")
@pytest.mark.parametrize(("in_features", "names"), [(128, ()), (96, ("F01",))])
def test_a_fault_outside_of_the_condition_of_f01_is_not_known(in_features: int, names: tuple[str, ...]) -> None:
    """Rows of two whole blocks are none of F01; in those of one and a half it may be what fails."""
    row = layers.seen(CASE, replace(layers.NF4, in_features=in_features)).rows["decode/weight"]

    assert row["status"] == "fail"
    assert known.fitting(row) == names


EVAL8 = replace(layers.INT8, mode="eval", has_fp16_weights=False)
NESTED = replace(layers.NF4, nested=True, in_features=512, out_features=512)


@pytest.fixture
def _larger_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """An int8 output 0.1 % too large, which is fifty times F10; of nested codes each the neighbour of the right one."""
    forward, quantize = bitsandbytes.nn.Linear8bitLt.forward, bitsandbytes.functional.quantize_blockwise

    def scaled(*args: Any) -> Tensor:
        output: Tensor = forward(*args)
        return output * 1.001

    def beside(*args: Any, **options: Any) -> Any:
        codes, state = quantize(*args, **options)
        return torch.where(codes < 255, codes + 1, codes), state

    monkeypatch.setattr(bitsandbytes.nn.Linear8bitLt, "forward", scaled)
    monkeypatch.setattr(bitsandbytes.functional, "quantize_blockwise", beside)


FOUND = [
    ("linear8bitlt-eval", EVAL8, "compute/output", "F10"),
    ("linear4bit-nf4-train", NESTED, "encode/nested_codes", "F23"),
]


def named(case: str, config: Any, check: str) -> tuple[str, ...]:
    """The findings that the row of one check fits, which fails."""
    row = layers.seen(case, config).rows[check]

    assert row["status"] == "fail"
    return known.fitting(row)


@pytest.mark.parametrize(("case", "config", "check", "name"), FOUND)
def test_an_error_of_the_size_of_its_finding_is_known(case: str, config: Any, check: str, name: str) -> None:
    assert named(case, config, check) == (name,)


@pytest.mark.usefixtures("_larger_faults")
@pytest.mark.parametrize(("case", "config", "check", "name"), FOUND)
def test_a_larger_error_in_the_same_cell_is_news(case: str, config: Any, check: str, name: str) -> None:
    """The finding is there as well, but no longer what explains the row."""
    assert name not in named(case, config, check)
