"""Codes of double-quantized scales: the guard that a block of zeros may carry leaves them open, nothing else does."""

import math
from dataclasses import replace

import pytest
import torch
from layers import LIMITS, NF4

from accuracy import metrics
from accuracy.adapters import cpu
from accuracy.checks import four_bit as checks
from accuracy.checks.setting import Setting
from accuracy.inputs import LinearInputs
from accuracy.oracles import codes
from accuracy.oracles.four_bit import NestedScales, Stored4bit

GUARD = 1.0e-38


def nested(  # noqa: PLR0917 - what a layer stores of its scales
    quantity: str, maxima: list[float], code: list[int], second: float, offset: float, table: torch.Tensor
) -> dict[str, object]:
    """One row of the second-level codes of a weight whose blocks of 64 hold one value each."""
    weight = torch.tensor(maxima).repeat_interleave(64).reshape(len(maxima), 64)
    stored = Stored4bit(
        packed=torch.zeros(32 * len(maxima), dtype=torch.uint8),
        scales=NestedScales(
            codes=torch.tensor(code, dtype=torch.uint8),
            scales=torch.tensor([second]),
            offset=torch.tensor(offset),
            table=table,
        ),
        blocksize=64,
        quant_type="nf4",
        shape=(len(maxima), 64),
        dtype=torch.float32,
    )
    drawn = LinearInputs(weight=weight, bias=None, x=torch.zeros(1, 64), grad_output=torch.zeros(1, len(maxima)))
    config = replace(NF4, nested=True, in_features=64, out_features=len(maxima))
    setting = Setting(
        config=config,
        inputs=drawn,
        parts={"stored": stored},
        device_type="cpu",
        arithmetic=cpu.ADAPTER.arithmetic,
        bounds=LIMITS.bounds,
    )
    found = {comparison.quantity: comparison for comparison in checks.encode(setting)}
    return metrics.describe(found[quantity])


def nested_codes(maxima: list[float], code: list[int], second: float, offset: float) -> dict[str, object]:
    """The row of the codes themselves, by the pinned table."""
    return nested("nested_codes", maxima, code, second, offset, codes.dynamic_8bit())


def nearest(value: float) -> int:
    return int((codes.dynamic_8bit() - value).abs().argmin().item())


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_weight_of_zeros_may_carry_the_guard_or_not(value: float) -> None:
    """Scale 0 or 1e-38, mean 1e-38: their difference is -1 or 0 in units of itself, and either code is right."""
    assert nested_codes([0.0], [nearest(value)], GUARD, GUARD)["ratio"] <= 1  # type: ignore[operator]  # a number


def test_beside_other_blocks_a_zero_one_has_one_right_code() -> None:
    """Scales 0 and 2, mean 1: -1 and 1, where the guard is nothing."""
    right = nested_codes([0.0, 2.0], [nearest(-1.0), nearest(1.0)], 1.0, 1.0)
    wrong = nested_codes([0.0, 2.0], [nearest(0.0), nearest(1.0)], 1.0, 1.0)

    assert right["ratio"] <= 1 < wrong["ratio"]  # type: ignore[operator]  # numbers


@pytest.mark.parametrize(
    ("relative", "verdict"), [(0.0, "right"), (6e-8, "right"), (1e-5, "wrong"), (math.nan, "wrong")]
)
def test_the_stored_table_is_held_to_the_pinned_one(relative: float, verdict: str) -> None:
    """An ulp is what another order of its operations does; more, or NaN, is another table."""
    table = codes.dynamic_8bit().clone()
    table[200] *= 1 + relative
    row = nested("nested_table", [0.0, 2.0], [nearest(-1.0), nearest(1.0)], 1.0, 1.0, table)

    assert ("right" if row["ratio"] <= 1 else "wrong") == verdict  # type: ignore[operator]  # a number


def test_a_table_that_is_none_fails() -> None:
    row = nested("nested_table", [0.0, 2.0], [nearest(-1.0), nearest(1.0)], 1.0, 1.0, torch.zeros(16))

    assert row["ratio"] == math.inf
    assert row["observed"] == "shape (16,), expected (256,)"
