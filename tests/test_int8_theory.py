"""The squared error of int8 weights against theory: N(0, 1) where it holds, not asked where it does not."""

from dataclasses import replace

import pytest
import torch
from layers import INT8, LIMITS, seen

from accuracy import inputs
from accuracy.adapters import cpu
from accuracy.case import Dtype
from accuracy.checks import int8 as checks
from accuracy.checks.setting import Setting
from accuracy.oracles import int8, theory

WIDE = replace(INT8, in_features=4096, out_features=4, bias=False, batch=(1,))


def z(weight: torch.Tensor) -> float:
    """Of codes that are the nearest."""
    scaled, scales = int8.scaled_rows(weight)
    decoded = scaled.round().double() * scales.double().unsqueeze(1) / 127
    return theory.int8_z(weight.half().double() - decoded, scales.double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_right_codes_are_standard_normal(dtype: torch.dtype) -> None:
    """Mean and variance over 200 draws, each within four of their own standard deviations."""
    draws = torch.tensor(
        [z(torch.randn((4, 1024), generator=torch.Generator().manual_seed(seed)).to(dtype)) for seed in range(200)]
    )

    assert abs(draws.mean()) < 4 / 200**0.5
    assert abs(draws.var() - 1) < 4 * (2 / 199) ** 0.5


def test_bfloat16_has_too_few_values_a_step_for_the_theory() -> None:
    """Right codes of this weight are five standard deviations away in bfloat16, and two in float16."""
    weight = torch.randn((4, 4096), generator=torch.Generator().manual_seed(554))

    assert z(weight.bfloat16()) > 5
    assert z(weight.half()) < 2.2


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_check_asks_where_the_theory_holds(dtype: Dtype) -> None:
    """A stored weight with codes of its own is given to the check, as a layer leaves it."""
    config = replace(WIDE, weight_dtype=dtype)
    drawn = inputs.dense(config, seed=5)
    scaled, scales = int8.scaled_rows(drawn.weight)
    stored = int8.Stored8bit(codes=scaled.round().to(torch.int8), scales=scales)
    parts = {"stored": stored, "weight": stored.codes * scales.unsqueeze(1) / 127}
    setting = Setting(
        config=config,
        inputs=drawn,
        parts=parts,
        device_type="cpu",
        arithmetic=cpu.ADAPTER.arithmetic,
        bounds=LIMITS.bounds,
    )

    assert [each.theory_z != 0 for each in checks.quantization(setting)] == [dtype != "bfloat16"]


def test_a_layer_of_bfloat16_weights_is_still_held_to_its_bounds() -> None:
    """Codes, decoded weight and output have their own comparisons."""
    rows = seen("linear8bitlt-train", replace(WIDE, weight_dtype="bfloat16", has_fp16_weights=False)).rows

    assert {"encode/codes", "decode/weight", "quantization/weight"} <= rows.keys()
    assert all(row["status"] == "ok" for row in rows.values())
