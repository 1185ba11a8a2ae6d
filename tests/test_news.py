"""A new defect in a cell that has a finding is news, where that finding speaks of other layers: seen on real ones."""

from dataclasses import replace
from typing import Any

import bitsandbytes
import layers
import pytest
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
    assert known.fitting(CASE, "cpu", "decode/weight", row["reason"], row["config"]) == names
