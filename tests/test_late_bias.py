"""A bias that is added to products already rounded to 16 bits: the same error down a column is no fault of a scale."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from layers import INT8, LIMITS, NF4
from torch import Tensor

from accuracy import inputs, metrics, structure, subjects
from accuracy.adapter import Adapter
from accuracy.adapters import cpu, cuda
from accuracy.case import Config
from accuracy.checks import dense, fused, int8
from accuracy.checks.four_bit import compute
from accuracy.checks.setting import Setting
from accuracy.comparison import Model
from accuracy.oracles import codes, four_bit
from accuracy.oracles import int8 as oracle
from accuracy.structure import Structure

CONFIG = replace(
    NF4, mode="eval", dtype="bfloat16", batch=(80,), in_features=512, weight="all_positive", activation="all_positive"
)
SEEDS = (1, 2, 3, 4, 5)


def setting(config: Config, drawn: inputs.LinearInputs, parts: dict[str, Any], adapter: Adapter) -> Setting:
    """A layer that gave these parts on a device of this adapter."""
    return Setting(
        config=config,
        inputs=drawn,
        parts=parts,
        device_type="cpu",
        arithmetic=adapter.arithmetic,
        bounds=LIMITS.bounds,
    )


@pytest.fixture
def independent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that take the error of adding a bias for independent of it."""
    monkeypatch.setattr(dense, "error_of_adding", lambda _bias, product, _dtype: torch.zeros_like(product))


def layer(seed: int, gain: float = 1.0) -> tuple[Tensor, Model]:
    """What the packed kernel computes of a real layer, column 7 times `gain`, and the model of it."""
    drawn = inputs.dense(CONFIG, seed)
    stored = dict(subjects.linear_4bit(CONFIG, drawn, torch.device("cpu")))["stored"]
    scales = four_bit.per_element(four_bit.block_scales(stored).bfloat16().double(), 64, drawn.weight.numel())
    weight = codes.four_bit("nf4").bfloat16().double()[four_bit.unpack(stored)] * scales
    product = drawn.x.double() @ weight.reshape(drawn.weight.shape).T
    product[:, 7] *= gain
    assert drawn.bias is not None
    output = product.bfloat16() + drawn.bias
    packed = setting(CONFIG, drawn, {"stored": stored, "output": output}, cpu.ADAPTER)
    return output.double(), fused.packed_bfloat16(packed)


def residual(output: Tensor, model: Model) -> Structure:
    floor = LIMITS.bounds.structure_effect * 2**-8
    errors = (output - model.expected).numpy()
    return structure.strongest(errors, model.expected.numpy(), model.factors, floor)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_right_kernel_leaves_no_structure(seed: int) -> None:
    """Of positive inputs and weights, whose results in one column lie next to each other."""
    output, model = layer(seed)

    assert abs(residual(output, model).z) < 5
    assert ((output - model.expected).abs() <= model.bound).all()


@pytest.mark.usefixtures("independent")
def test_without_the_error_of_the_bias_it_would() -> None:
    """Which is what the model has it for."""
    assert max(abs(residual(*layer(seed)).z) for seed in SEEDS) > 7


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scale_that_is_off_in_one_column_is_seen_there(seed: int) -> None:
    """By five percent, some ten ulps; 80 rows bound |z| by 8.9."""
    found = residual(*layer(seed, gain=1.05))

    assert abs(found.z) > 7
    assert found.at.endswith("column 7")


def test_the_error_of_adding_by_hand() -> None:
    """In [256, 512) the spacing is 2: adding 0.75 is lost, adding 1.25 becomes 2; infinity and NaN add no error."""
    product = torch.tensor([[300.0, 302.0, torch.inf, torch.nan]], dtype=torch.float64)

    assert dense.error_of_adding(torch.tensor(0.75).double(), product, torch.bfloat16).tolist() == [
        [-0.75, -0.75, 0, 0]
    ]
    assert dense.error_of_adding(torch.tensor(1.25).double(), product, torch.bfloat16).tolist() == [[0.75, 0.75, 0, 0]]


ODD = replace(NF4, dtype="float16", batch=(79,), in_features=2050, nested=True)
UNLUCKY = 86190531350472380
"""Seed of a layer whose outputs, with the bias added to rounded sums, are 3.5e-5 of their size too small on average."""


def computed(seed: int, gain: float = 1.0, *, late: bool = True) -> dict[str, Any]:
    """What the compute stage says of a layer in float16, its products times `gain`, the bias added late or not.

    cuBLAS was seen to add it late, to sums already rounded, for an inner dimension of 2050 and 2052.
    """
    drawn = inputs.dense(ODD, seed)
    parts = dict(subjects.linear_4bit(ODD, drawn, torch.device("cpu")))
    product = gain * drawn.x.double() @ parts["weight_in_compute_dtype"].double().T
    assert drawn.bias is not None
    parts["output"] = product.half() + drawn.bias if late else (product + drawn.bias.double()).half()
    return metrics.describe(next(compute(setting(ODD, drawn, parts, cpu.ADAPTER))))


@pytest.mark.parametrize("late", [True, False])
def test_either_order_of_rounding_and_adding_is_right(*, late: bool) -> None:
    row = computed(UNLUCKY, late=late)

    assert row["ratio"] <= 1
    assert row["structure_z"] < 5


@pytest.mark.usefixtures("independent")
def test_a_late_bias_against_the_model_of_the_other_order_is_not() -> None:
    """Which is what its own model is for; a night on a GPU met this layer."""
    row = computed(UNLUCKY)

    assert row["structure_z"] > 8
    assert row["structure_at"] == "mean of all"


@pytest.mark.parametrize("late", [True, False])
def test_a_scale_that_is_off_by_a_ten_thousandth_is_seen_with_either(*, late: bool) -> None:
    """A tenth of an ulp of float16, in 5,056 results."""
    row = computed(UNLUCKY, gain=1.0001, late=late)

    assert row["ratio"] <= 1
    assert row["structure_z"] > 7
    assert row["structure_at"] == "all"


WIDE = replace(
    INT8,
    mode="eval",
    has_fp16_weights=False,
    dtype="bfloat16",
    batch=(600,),
    in_features=64,
    out_features=96,
    threshold=2.0,
)
"""Six hundred N(0, 1) of a column hold one above 2: all columns are outlier columns, and the int8 part is the bias."""


def mixed(seed: int, gain: float = 1.0) -> dict[str, Any]:
    """What the compute stage says of LLM.int8() that rounds the outlier columns' products, times `gain`, first."""
    drawn = inputs.dense(WIDE, seed)
    parts = dict(subjects.linear_8bit(WIDE, drawn, torch.device("cpu")))
    weight = oracle.decode_float32(parts["stored"]).bfloat16().double()
    assert drawn.bias is not None
    parts["output"] = drawn.bias.bfloat16() + (gain * drawn.x.double() @ weight.T).bfloat16()
    return metrics.describe(next(int8.compute(setting(WIDE, drawn, parts, cuda.ADAPTER))))


@pytest.mark.parametrize("seed", SEEDS)
def test_products_of_outlier_columns_that_are_added_to_a_bias_leave_no_structure(seed: int) -> None:
    row = mixed(seed)

    assert row["ratio"] <= 1
    assert row["structure_z"] < 5


@pytest.mark.usefixtures("independent")
def test_against_a_model_of_independent_roundings_they_would() -> None:
    """Which is what the model of a late sum is for."""
    assert max(mixed(seed)["structure_z"] for seed in SEEDS) > 7


def test_products_of_outlier_columns_with_a_wrong_scale_do() -> None:
    """By half a thousandth, a sixteenth of an ulp of bfloat16."""
    row = mixed(SEEDS[0], gain=1.0005)

    assert row["ratio"] <= 1
    assert row["structure_z"] > 7
    assert row["structure_at"] == "all"
