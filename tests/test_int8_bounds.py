"""Bounds of the int8 product, by hand: each rounding is one of what has come before it, with its error."""

import math
from dataclasses import replace
from typing import Any

import torch
from layers import INT8, LIMITS
from torch import Tensor

from accuracy import metrics
from accuracy.adapter import Arithmetic
from accuracy.adapters import cuda
from accuracy.case import Dtype, Stage
from accuracy.checks import int8 as checks
from accuracy.checks.setting import Setting
from accuracy.inputs import LinearInputs
from accuracy.oracles import int8

ACCELERATOR = Arithmetic()


def compared(
    weight: Tensor,
    x: Tensor,
    output: float,
    *,
    dtype: Dtype,
    threshold: float = 0.0,
    bias: Tensor | None = None,
    arithmetic: Arithmetic = ACCELERATOR,
) -> dict[str, Any]:
    """The compute row of one output of a layer of one row in inference."""
    scaled, scales = int8.scaled_rows(weight)
    setting = Setting(
        config=replace(
            INT8,
            mode="eval",
            dtype=dtype,
            has_fp16_weights=False,
            bias=bias is not None,
            batch=(1,),
            in_features=x.shape[1],
            out_features=1,
            threshold=threshold,
        ),
        inputs=LinearInputs(weight=weight, bias=bias, x=x, grad_output=torch.zeros(1, 1, dtype=x.dtype)),
        parts={
            "stored": int8.Stored8bit(codes=scaled.round().to(torch.int8), scales=scales),
            "output": torch.tensor([[output]], dtype=x.dtype),
        },
        device_type="cpu",
        arithmetic=arithmetic,
        bounds=LIMITS.bounds,
    )
    (row,) = [metrics.describe(each) for each in checks.compute(setting) if each.stage is Stage.COMPUTE]
    return row


def flipped(output: float) -> float:
    """The ratio of what 0.5 of a largest 127 gives with a weight of 131.5: its code is 0, or, by a fast division, 1."""
    weight, x = torch.tensor([[0.0, 131.5]], dtype=torch.float16), torch.tensor([[127.0, 0.5]], dtype=torch.bfloat16)
    ratio = compared(weight, x, output, dtype="bfloat16")["ratio"]
    assert isinstance(ratio, float)
    return ratio


def test_a_code_that_went_the_other_way_at_a_tie_is_rounded_with_what_it_moved() -> None:
    """131.5 lies between 131 and 132 in bfloat16: what is stored is 132 away from the 0 that is expected."""
    assert flipped(0.0) == 0
    assert 0.99 < flipped(132.0) <= 1


def test_two_steps_of_a_code_at_a_tie_are_no_tie() -> None:
    assert flipped(264.0) > 1.9


def beyond(output: float, *, part: float) -> dict[str, Any]:
    """A float32 layer on CUDA whose int8 part, written in float16, is 2·150·part, and 500·150 come on top."""
    return compared(
        torch.tensor([[150.0, part, part]], dtype=torch.float16),
        torch.tensor([[500.0, 150.0, 150.0]]),
        output,
        dtype="float32",
        threshold=200.0,
        arithmetic=cuda.ADAPTER.arithmetic,
    )


def test_a_sum_may_lie_beyond_float16_where_only_its_int8_part_is_written_in_it() -> None:
    """2·150·190.5 = 57150 is rounded by up to 16 in float16, and 132150 is no number of float16."""
    row = beyond(132160.0, part=190.5)

    assert row["ratio"] > 1
    assert row["lower_ratio"] <= 1
    assert row["lower"] == "a result in float16"
    assert beyond(132250.0, part=190.5)["lower_ratio"] > 2


def test_an_int8_part_beyond_float16_is_infinite_there_and_a_fault_in_float32() -> None:
    """2·150·254 = 76200."""
    row = beyond(math.inf, part=254.0)

    assert (row["ratio"], row["special_mismatch"]) == (math.inf, 1)
    assert row["lower_ratio"] == 0
    assert beyond(151200.0, part=254.0)["ratio"] == 0
