"""What overflows on the way to a result stays infinite, in the model as in the library."""

import math
from dataclasses import replace

import pytest
import torch
from layers import INT8, LIMITS, NF4, SEED, seen

from accuracy import errors, inputs, metrics, subjects
from accuracy.adapters import cpu
from accuracy.case import Linear4bitConfig, Stage
from accuracy.checks import int8 as checks
from accuracy.checks import int8_product
from accuracy.checks.setting import Setting
from accuracy.comparison import Comparison
from accuracy.inputs import LinearInputs
from accuracy.oracles import int8, linear

CONFIG = {**vars(INT8), "mode": "eval", "dtype": "float16", "has_fp16_weights": False, "bias": False}


def compared(outputs: list[list[float]], *, fused: bool = True) -> dict[Stage, Comparison]:
    """Compute and quantization of outputs 150·(254 + 254) - 500·150 = 1200 and 1·(254 + 254) - 1·150 = 358.

    The first input feature reaches the threshold, so 150·508 = 76200, infinite in float16, is stored before
    -75000 is added. Every value is a code times its scale: quantization adds no error.
    """
    weight = torch.tensor([[-150.0, 254.0, 254.0]], dtype=torch.float16)
    scaled, scales = int8.scaled_rows(weight)
    setting = Setting(
        config=type(INT8)(**CONFIG | {"batch": (2,), "in_features": 3, "out_features": 1, "threshold": 200.0}),
        inputs=LinearInputs(
            weight=weight,
            bias=None,
            x=torch.tensor([[500.0, 150.0, 150.0], [1.0, 1.0, 1.0]], dtype=torch.float16),
            grad_output=torch.zeros(2, 1, dtype=torch.float16),
        ),
        parts={
            "stored": int8.Stored8bit(codes=scaled.round().to(torch.int8), scales=scales),
            "weight": scaled.round() * scales.unsqueeze(1) / 127,
            "output": torch.tensor(outputs, dtype=torch.float16),
        },
        device_type="cpu",
        arithmetic=replace(cpu.ADAPTER.arithmetic, fused_outliers=fused),
        bounds=LIMITS.bounds,
    )
    found = [*checks.compute(setting), *checks.quantization(setting)]
    return {comparison.stage: comparison for comparison in found if comparison.quantity == "output"}


def test_an_int8_part_that_overflows_is_infinite_whatever_is_added() -> None:
    """76200 is stored as infinity; adding -75000 does not bring back the 1200 of the float32 layer."""
    found = compared([[math.inf], [358.0]])

    assert found[Stage.COMPUTE].model.expected[0].item() == math.inf
    assert {stage: metrics.describe(each)["special_mismatch"] for stage, each in found.items()} == dict.fromkeys(
        (Stage.COMPUTE, Stage.QUANTIZATION), 0
    )


@pytest.mark.parametrize(("fused", "value", "wrong"), [
    (True, math.inf, 0), (True, math.nan, 1), (False, math.inf, 0), (False, math.nan, 0), (False, -math.inf, 1),
    (False, 1200.0, 1),
])  # fmt: skip
def test_two_parts_that_overflow_apart_make_nan(fused: bool, value: float, wrong: int) -> None:  # noqa: FBT001  a case of the test
    """-75000 is an infinity, too, where an accelerator rounds it before it is added, which it need not."""
    found = compared([[value], [358.0]], fused=fused)

    assert metrics.describe(found[Stage.COMPUTE])["special_mismatch"] == wrong


def test_a_finite_value_in_its_place_fails() -> None:
    """1200 cannot come of an int8 part that was stored in float16."""
    found = compared([[1200.0], [358.0]])

    assert metrics.describe(found[Stage.COMPUTE])["ratio"] == math.inf


def test_a_part_that_is_stored_finite_has_its_value() -> None:
    """The second row, 508 - 150, is far from any overflow."""
    found = compared([[math.inf], [358.0]])[Stage.COMPUTE]

    assert found.model.expected[1].item() == pytest.approx(358)
    assert abs(found.model.expected[1].item() - 358) <= found.model.bound[1].item() < 1


def test_what_may_or_may_not_overflow_is_right_either_way() -> None:
    """65520 is the first value that float16 rounds to infinity; an error of one leaves both open."""
    first, error = torch.tensor([[65519.5, -65519.5]], dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    infinite = torch.tensor([[math.inf, -math.inf]], dtype=torch.float16)
    largest = torch.tensor([[65504.0, -65504.0]], dtype=torch.float16)

    assert int8_product._as_stored(first, error, torch.float16, infinite).tolist() == infinite.tolist()
    assert int8_product._as_stored(first, error, torch.float16, largest).tolist() == first.tolist()
    assert int8_product._as_stored(first, error, torch.float16, -infinite).tolist() == first.tolist()


def test_a_product_that_overflows_in_the_compute_dtype_is_infinite_in_a_wider_one() -> None:
    """Sums of 128 products of values near 150 are beyond float16, in which they are computed, not float32."""
    config = replace(NF4, compute_dtype="float16", weight="huge_scale", activation="huge_scale")
    result = seen("linear4bit-nf4-train", config)

    assert result.failing == []
    assert not math.isfinite(float(measured_output(config).abs().max()))


def test_a_bias_gradient_that_overflows_in_the_compute_dtype_is_infinite_in_a_wider_one() -> None:
    """Eight gradients of 2e4 and more, summed in float16."""
    model = linear.column_sums(torch.full((8, 1), 2.0e4, dtype=torch.float64), torch.float16, torch.float32)

    for value, wrong in ((math.inf, 0), (1.6e5, 1)):
        found = errors.against(torch.tensor([value]).double(), model, torch.float32)
        assert found.wrong is not None
        assert found.wrong.size == wrong


def measured_output(config: Linear4bitConfig) -> torch.Tensor:
    """The output of the real layer."""
    parts = dict(subjects.linear_4bit(config, inputs.dense(config, SEED), torch.device("cpu")))
    return torch.as_tensor(parts["output"])
