"""The CUDA kernels for few rows, simulated step by step: what they round is explained, what they break is not."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from layers import LIMITS, NF4
from torch import Tensor

from accuracy import inputs, metrics, structure, subjects
from accuracy.adapters import cuda
from accuracy.checks import dense, four_bit, fused
from accuracy.checks.setting import Setting
from accuracy.comparison import Comparison
from accuracy.oracles.four_bit import NestedScales

POSITIVE = replace(
    NF4,
    quant_type="fp4",
    dtype="bfloat16",
    batch=(64,),
    in_features=64,
    out_features=512,
    weight="all_positive",
    activation="all_positive",
)


def simulated(seed: int, *, config: object = POSITIVE, products: bool, gain: float = 1.0) -> Setting:
    """A layer whose output comes from the kernel for few rows, as on NVIDIA (`products` rounded) or on AMD's RDNA."""
    drawn = inputs.dense(config, seed)  # type: ignore[arg-type]  # a config of a dense layer
    stored = dict(subjects.linear_4bit(config, drawn, torch.device("cpu")))["stored"]  # type: ignore[arg-type]  # likewise
    setting = Setting(
        config=config,
        inputs=drawn,
        parts={"stored": stored},
        device_type="cuda",
        arithmetic=cuda.ADAPTER.arithmetic,
        bounds=LIMITS.bounds,
    )
    weight = fused.rounded_weight(setting).float()
    x = drawn.x.float()
    terms = x.unsqueeze(1) * weight
    sums = (terms.to(drawn.x.dtype).float() if products else terms).sum(dim=2)
    sums[:, 7] *= gain
    output = sums if drawn.bias is None else sums + drawn.bias.float()
    return replace(setting, parts={"stored": stored, "output": output.to(drawn.x.dtype)})


def row(setting: Setting) -> dict[str, object]:
    (comparison,) = [each for each in four_bit.compute(setting) if each.quantity == "output"]
    assert isinstance(comparison, Comparison)
    return metrics.describe(comparison)


@pytest.mark.parametrize(
    ("products", "name"), [(True, fused.ROUNDED_PRODUCTS), (False, "codes and scales rounded to 16 bits")]
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_kernel_is_explained_by_its_own_model(seed: int, name: str, *, products: bool) -> None:
    """Its size within a bound of a float32 sum, and nothing of its structure left."""
    described = row(simulated(seed, products=products))

    assert described["lower"] == name
    assert described["lower_ratio"] <= 1  # type: ignore[operator]  # a number
    assert described["structure_z"] < 6  # type: ignore[operator]  # a number


def test_roundings_that_repeat_have_a_structure_that_the_exact_product_does_not_explain() -> None:
    """Which is why they are summed as they are: positive inputs, weights of few values."""
    seen = []
    for seed in (1, 2):
        setting = simulated(seed, products=True)
        exact = dense.expected_output(setting, fused.rounded_weight(setting))
        output: Tensor = setting.parts["output"].double()
        floor = LIMITS.bounds.structure_effect * 2**-8
        errors, expected = (output - exact.expected).numpy(), exact.expected.numpy()
        seen.append(abs(structure.strongest(errors, expected, exact.factors, floor).z))

    assert min(seen) > 7


@pytest.mark.parametrize("products", [True, False])
def test_a_column_that_is_off_by_three_percent_is_not_explained(*, products: bool) -> None:
    assert row(simulated(1, products=products, gain=1.03))["lower_ratio"] > 1  # type: ignore[operator]  # a number


def test_a_product_that_overflows_is_no_matter_of_precision() -> None:
    """70000 in float16 is infinite on the way, though the sum is zero."""
    config = replace(POSITIVE, dtype="float16", batch=(2,), in_features=64, out_features=32, activation="normal")
    setting = simulated(1, config=config, products=True)
    weight = fused.rounded_weight(setting)
    x = torch.zeros_like(setting.inputs.x)
    x[:, 0] = 60000.0
    weight[:, 0] = 1.5
    model = fused.rounded_products(replace(setting, inputs=replace(setting.inputs, x=x)), weight)

    assert (model.expected - (90000 + setting.inputs.bias.double())).abs().max() <= 64


TIED = NestedScales(
    codes=torch.tensor([0], dtype=torch.uint8),
    scales=torch.tensor([1 + 2.0**-12]),
    offset=torch.tensor(2.0**-25),
    table=torch.full((256,), 1 + 2.0**-12),
)
"""(1 + 2^-12)² + 2^-25 is rounded to 1 + 2^-10 in float16, and to 1 if the square is rounded to float32 first."""


def tied(output: float) -> Setting:
    """Four rows of one and 64 weights of one, at a tie, in FP4, in float16, without a bias."""
    config = replace(POSITIVE, dtype="float16", batch=(4,), bias=False, out_features=8)
    setting = simulated(1, config=config, products=False)
    ones = torch.full((32,), 0x33, dtype=torch.uint8)
    stored = replace(setting.parts["stored"], packed=ones, scales=TIED, shape=(1, 64))
    seen = torch.full((4, 1), output, dtype=torch.float16)
    drawn = replace(setting.inputs, x=torch.ones(4, 64, dtype=torch.float16))
    return replace(setting, inputs=drawn, parts={"stored": stored, "output": seen})


def test_double_quantized_scales_are_multiplied_and_added_at_once() -> None:
    assert set(fused.rounded_weight(tied(64.0)).tolist()[0]) == {1 + 2.0**-10}


def test_a_scale_at_a_tie_may_be_multiplied_and_added_at_once_or_not() -> None:
    """64, or 64 + 2^-4, an ulp more; not 64 + 2^-3 or an ulp less."""
    assert row(tied(64.0))["ratio"] == 0
    assert row(tied(64.0625))["ratio"] <= 1  # type: ignore[operator]  # a number
    assert row(tied(64.1875))["ratio"] > 1  # type: ignore[operator]  # a number
    assert row(tied(63.8125))["ratio"] > 1  # type: ignore[operator]  # a number


def test_a_scale_away_from_ties_leaves_the_bound_alone() -> None:
    """64 is known to an ulp then."""
    setting = tied(64.0625)
    away = replace(TIED, table=torch.full((256,), 1.0), offset=torch.tensor(-(2.0**-12)))
    stored = replace(setting.parts["stored"], scales=away)
    described = row(replace(setting, parts={**setting.parts, "stored": stored}))

    assert described["ratio"] > 1  # type: ignore[operator]  # a number


def test_a_block_far_smaller_than_the_offset_is_less_certain_in_float32() -> None:
    """1 + 2^-11 + 2^-24 less 1 + 2^-11 is 0 if the square is rounded first, and 2^-24 at once: 64 of them are 2^-18."""
    setting = tied(0.0)
    scales = replace(TIED, offset=torch.tensor(-(1 + 2.0**-11)))
    stored = replace(setting.parts["stored"], scales=scales)

    def ratio(output: float) -> Any:
        seen = torch.full((4, 1), output)
        parts = {"stored": stored, "output": seen}
        config = replace(setting.config, dtype="float32", compute_dtype="float32")
        drawn = replace(setting.inputs, x=torch.ones(4, 64))
        return row(replace(setting, config=config, inputs=drawn, parts=parts))["ratio"]

    assert ratio(0.0) == 0
    assert 0.9 < ratio(2.0**-18) <= 1
    assert ratio(-(2.0**-17)) > 1.9
