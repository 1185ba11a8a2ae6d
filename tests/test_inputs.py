"""Config and seed to tensors: the same each time, independent of each other, with the values they are named for."""

import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator

from accuracy import inputs
from accuracy.behaviour import Linear8bitCalls, Linear8bitChain
from accuracy.case import Embedding8bitConfig, LinearConfig
from accuracy.strategies import ACTIVATIONS, INITIAL, SPECIALS, WEIGHTS, seeds

LINEAR = LinearConfig(
    mode="train",
    dtype="float16",
    batch=(2, 3),
    in_features=40,
    out_features=24,
    bias=True,
    weight="normal",
    weight_dtype="bfloat16",
    activation="uniform",
)
EMBEDDING = Embedding8bitConfig(dtype="bfloat16", rows=50, dim=16, index=(4, 5), weight="normal")
NAMES = ("weight", "bias", "x", "grad_output")


@given(seeds)
def test_the_same_seed_gives_the_same_tensors(seed: int) -> None:
    """All 64 bits of the seed are allowed."""
    one, other = inputs.dense(LINEAR, seed), inputs.dense(LINEAR, seed)
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in NAMES)


@given(seed=seeds, bit=st.integers(0, 63))
def test_every_bit_of_the_seed_counts(seed: int, bit: int) -> None:
    one, other = inputs.dense(LINEAR, seed), inputs.dense(LINEAR, seed ^ (1 << bit))
    assert not any(torch.equal(getattr(one, name), getattr(other, name)) for name in NAMES)


def test_no_tensor_repeats_another() -> None:
    """Each has its own stream of the seed: equal operands would hide a transposed product."""
    square = replace(LINEAR, batch=(40,), out_features=40, dtype="float32", weight_dtype="float32", activation="normal")
    drawn = inputs.dense(square, 7)

    assert not torch.equal(drawn.weight, drawn.x)
    assert not torch.equal(drawn.weight, drawn.grad_output)
    assert not torch.equal(drawn.x, drawn.grad_output)


def test_a_change_of_one_tensor_moves_no_other() -> None:
    """Without bias, with another batch or another activation, the weight stays, and so does the rest."""
    before = inputs.dense(LINEAR, 7)
    without = inputs.dense(replace(LINEAR, bias=False), 7)
    batch = inputs.dense(replace(LINEAR, batch=(9,), activation="constant"), 7)

    assert without.bias is None
    assert torch.equal(without.x, before.x)
    assert torch.equal(batch.weight, before.weight)
    assert batch.bias is not None
    assert before.bias is not None
    assert torch.equal(batch.bias, before.bias)


def test_shapes_and_dtypes_are_those_of_the_config() -> None:
    """Weights have the dtype from before quantization, all else that of the input."""
    drawn = inputs.dense(LINEAR, 7)
    assert drawn.bias is not None

    assert (drawn.weight.shape, drawn.weight.dtype) == ((24, 40), torch.bfloat16)
    assert (drawn.bias.shape, drawn.bias.dtype) == ((24,), torch.float16)
    assert (drawn.x.shape, drawn.x.dtype) == ((2, 3, 40), torch.float16)
    assert (drawn.grad_output.shape, drawn.grad_output.dtype) == ((2, 3, 24), torch.float16)
    assert inputs.dense(replace(LINEAR, batch=()), 7).x.shape == (40,)


def test_values_are_drawn_in_float32_and_cast() -> None:
    """So the same seed gives the same layer in every dtype, save rounding."""
    wide = inputs.dense(replace(LINEAR, dtype="float32", weight_dtype="float32"), 7)
    drawn = inputs.dense(LINEAR, 7)

    assert torch.equal(drawn.x, wide.x.half())
    assert torch.equal(drawn.weight, wide.weight.bfloat16())


@given(seed=seeds, rows=st.integers(1, 60), index=st.sampled_from(((1,), (2,), (7,), (3, 4), (2, 3, 4))))
def test_an_embedding_looks_up_its_last_and_its_first_row(seed: int, rows: int, index: tuple[int, ...]) -> None:
    """The ends of the table come first, as far as there is room, and no index leaves it."""
    drawn = inputs.embedding(replace(EMBEDDING, rows=rows, index=index), seed)
    flat = drawn.index.reshape(-1).tolist()

    assert drawn.index.shape == index
    assert drawn.weight.shape == (rows, 16)
    assert flat[:2] == [rows - 1, 0][: len(flat)]
    assert all(0 <= row < rows for row in flat)


def test_half_way_is_as_far_from_one_neighbour_as_from_the_other() -> None:
    """In float16 for elements of even number, in bfloat16 for odd ones: the two nearest numbers are equally near."""
    values = sample("half_way").reshape(-1)
    for part, dtype in ((values[::2], torch.float16), (values[1::2], torch.bfloat16)):
        nearest = part.to(dtype)
        below, above = ((nearest.view(torch.int16) + step).view(dtype) for step in (-1, 1))
        away = (part - nearest).abs()
        plain = part.abs() > 2**-14  # numbers below are subnormal in float16

        assert plain.sum() > 30000
        assert ((away == (part - below).abs()) | (away == (part - above).abs()))[plain].all()
        assert (away > 0).all()


@pytest.mark.parametrize("name", inputs.DISTRIBUTIONS)
def test_every_distribution_gives_float32_of_the_shape(name: str) -> None:
    """Finite, but for those that are named for what is not."""
    for shape in ((1,), (1, 1), (3, 70), (2, 3, 33)):
        drawn = inputs.DISTRIBUTIONS[name](shape, Generator().manual_seed(3))
        assert (drawn.shape, drawn.dtype) == (shape, torch.float32)
        assert drawn.isfinite().all() == (name not in {"with_nan", "with_infinities"})


def sample(name: str) -> torch.Tensor:
    return inputs.DISTRIBUTIONS[name]((200, 320), Generator().manual_seed(3))


def test_distributions_are_what_their_names_say() -> None:
    """64000 values: means within four standard errors, ends where they belong."""
    assert sample("normal").mean().abs() < 4 / 64000**0.5
    assert sample("normal").std() == pytest.approx(1, abs=0.02)
    assert -1 <= sample("uniform").min() < -0.99
    assert 0.99 < sample("uniform").max() < 1
    assert 0 <= sample("all_positive").min() < 0.01
    assert len(set(sample("constant").flatten().tolist())) == 1
    assert set(sample("signs").flatten().tolist()) == {-1, 1}
    assert sample("tiny_scale").std() == pytest.approx(inputs.TINY, rel=0.02)
    assert sample("huge_scale").std() == pytest.approx(inputs.HUGE, rel=0.02)


def test_heavy_tails_are_heavier_than_normal() -> None:
    """P(|t₃| > 6) is 0.9 %, P(|N(0, 1)| > 6) is 2e-9."""
    beyond = (sample("heavy_tailed").abs() > 6).float().mean().item()
    assert beyond == pytest.approx(0.0093, abs=0.002)


def test_outlier_columns_are_few_and_twenty_times_as_large() -> None:
    """At most 10 of 320 columns, and in a single column that one."""
    large = sample("outlier_columns").std(dim=0) > 10
    single = inputs.DISTRIBUTIONS["outlier_columns"]((500, 1), Generator().manual_seed(3))

    assert 1 <= large.sum() <= 10
    assert single.std() == pytest.approx(inputs.OUTLIER_FACTOR, rel=0.1)


def test_zero_blocks_are_whole_blocks_of_64() -> None:
    """About a third of 1000 blocks are all zero, and no other element is."""
    blocks = sample("zero_blocks").reshape(-1, 64)
    zeros = (blocks == 0).sum(dim=1)

    assert set(zeros.tolist()) == {0, 64}
    assert (zeros == 64).float().mean().item() == pytest.approx(1 / 3, abs=0.06)


def test_special_distributions_hold_what_they_are_named_for() -> None:
    """In float16, where a weight is subnormal below 2**-14 and infinite from 65520 on."""
    assert 0 < sample("with_nan").isnan().float().mean() < 0.03
    assert {math.inf, -math.inf} < set(sample("with_infinities").flatten().tolist())
    zeros = sample("signed_zeros")[sample("signed_zeros") == 0]
    assert 0.4 < zeros.signbit().float().mean() < 0.6
    assert ((sample("subnormal").half().abs() < 2**-14) & (sample("subnormal") != 0)).float().mean() > 0.9
    assert sample("near_overflow").half().isfinite().all()
    assert sample("near_overflow").abs().max() > 60000
    assert not sample("zeros").any()


def test_initial_weights_have_the_spread_they_are_named_for() -> None:
    """Of 256 columns: within 1/16 with variance 1/768, and N(0, 1/128)."""
    start, he = sample("default_init"), sample("kaiming_normal")

    assert start.abs().max() <= 1 / math.sqrt(start.shape[-1])
    assert start.var().item() == pytest.approx(1 / (3 * start.shape[-1]), rel=0.1)
    assert he.var().item() == pytest.approx(2 / he.shape[-1], rel=0.1)


CALLS = Linear8bitCalls(**vars(LINEAR), threshold=0.0, has_fp16_weights=False, steps=3, moves="to")
CHAIN = Linear8bitChain(**vars(LINEAR), threshold=0.0, has_fp16_weights=False, steps=3, first=7)


def test_each_step_has_an_input_of_its_own() -> None:
    """The steps are the first dimension, and the layer is that of a single call."""
    drawn, once = inputs.drawn(CALLS, 7), inputs.drawn(LINEAR, 7)
    assert isinstance(drawn, inputs.LinearInputs)
    assert isinstance(once, inputs.LinearInputs)

    assert drawn.x.shape == (3, 2, 3, 40)
    assert not torch.equal(drawn.x[0], drawn.x[1])
    assert torch.equal(drawn.weight, once.weight)


def test_a_network_has_two_layers_that_fit() -> None:
    """A chain 7 -> 40 -> 24: batches enter the ordinary layer, the gradient comes back into the one under test."""
    drawn = inputs.drawn(CHAIN, 7)
    assert isinstance(drawn, inputs.NetworkInputs)
    assert drawn.bias is not None

    assert drawn.x.shape == (3, 2, 3, 7)
    assert (drawn.other_weight.shape, drawn.other_bias.shape) == ((40, 7), (40,))
    assert (drawn.weight.shape, drawn.bias.shape) == ((24, 40), (24,))
    assert drawn.grad_output.shape == (2, 3, 24)
    assert drawn.bias.abs().max() <= 1 / math.sqrt(40)
    assert drawn.bias.dtype == torch.float32


def test_strategies_draw_only_distributions_there_are() -> None:
    """And every distribution is drawn by some strategy."""
    assert {*WEIGHTS, *ACTIVATIONS, *SPECIALS, *INITIAL, "signs", "half_way"} == set(inputs.DISTRIBUTIONS)


def test_every_kind_of_processor_draws_the_same_tensors() -> None:
    """Else a difference between two devices could be one of their inputs: bit for bit, whatever the CPU can do."""
    code = (
        "from torch import Generator\n"
        "from accuracy import inputs\n"
        "from accuracy.fingerprint import digest\n"
        "for name, draw in inputs.DISTRIBUTIONS.items():\n"
        "    for shape in ((1,), (5,), (33, 65), (2, 3, 128)):\n"
        "        print(name, shape, digest(draw(shape, Generator().manual_seed(3))))\n"
    )
    said = {
        capability: subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "ATEN_CPU_CAPABILITY": capability},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for capability in ("default", "avx2")
    }
    assert said["default"] == said["avx2"]
    assert len(said["avx2"].splitlines()) == 4 * len(inputs.DISTRIBUTIONS)
