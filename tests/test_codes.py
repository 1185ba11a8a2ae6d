"""The pinned code tables: derived anew from their definitions, and equal to those of the library that was pinned."""

import math
from itertools import pairwise
from statistics import NormalDist

import bitsandbytes.functional
import pytest
import torch

from accuracy.oracles import codes


def test_nf4_is_what_its_paper_derives() -> None:
    """Quantiles of N(0, 1), eight on one side of zero and seven on the other, from half of 1/30 + 1/32 to a half."""
    tail = (1 / 30 + 1 / 32) / 2
    upper = [NormalDist().inv_cdf(1 - tail - (0.5 - tail) * step / 8) for step in range(8)]
    lower = [-NormalDist().inv_cdf(1 - tail - (0.5 - tail) * step / 7) for step in range(7)]
    expected = sorted([*(value / upper[0] for value in upper), 0.0, *(value / upper[0] for value in lower)])

    assert codes.four_bit("nf4").tolist() == pytest.approx(expected, abs=2e-7)


def test_fp4_is_a_sign_two_bits_of_exponent_and_one_of_mantissa() -> None:
    """Exponents 1 to 3 give 2, 3, 4, 6, 8 and 12 twelfths; code 1 is the subnormal, written as 1/192."""
    magnitudes = [0, 1 / 192, 8 / 12, 12 / 12, 4 / 12, 6 / 12, 2 / 12, 3 / 12]

    assert codes.four_bit("fp4").tolist() == pytest.approx(
        [*magnitudes, *(-magnitude for magnitude in magnitudes)], rel=1e-7
    )


def test_the_dynamic_map_is_what_its_paper_derives() -> None:
    """Each of seven decades has 2**decade fractions, evenly spaced from 0.1 to 1; then 0 and 1."""
    magnitudes = []
    for decade in range(7):
        edges = [0.1 + 0.9 * step / 2**decade for step in range(2**decade + 1)]
        magnitudes += [10 ** (decade - 6) * (low + high) / 2 for low, high in pairwise(edges)]
    expected = sorted([*(-magnitude for magnitude in magnitudes), 0.0, *magnitudes, 1.0])

    assert len(expected) == 256
    assert codes.dynamic_8bit().tolist() == pytest.approx(expected, rel=4e-7)


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
def test_four_bit_tables_are_those_of_the_pinned_library(quant_type: str) -> None:
    """To the last bit: one float32 beside would show as an error of the library's decoder."""
    assert torch.equal(codes.four_bit(quant_type), bitsandbytes.functional.get_4bit_type(quant_type, device="cpu"))


def test_the_dynamic_map_is_that_of_the_pinned_library() -> None:
    """To the last bit where torch has vectors, and everywhere within what the order of its operations can do."""
    library = bitsandbytes.functional.create_dynamic_map()

    assert ((library.double() - codes.dynamic_8bit().double()).abs() <= codes.dynamic_8bit_bound()).all()
    if torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"}:
        assert torch.equal(codes.dynamic_8bit(), library)


def test_two_orders_of_making_the_dynamic_map_differ_within_its_bound() -> None:
    """Edges from either end of the line, in float32: they differ, and stay as near to each other as is said."""
    u, seen = 2.0**-24, [torch.zeros(1), torch.ones(1)]
    for decade in range(7):
        count = 2**decade
        step = torch.tensor(0.9) / count
        low = torch.tensor(1.0) - step * torch.arange(count, 0, -1)
        high = torch.tensor(0.1) + step * torch.arange(1, count + 1)
        magnitudes = (low + high) / 2 * 10.0 ** (decade - 6)
        seen += [magnitudes, -magnitudes]
    other = torch.cat(seen).sort().values.double()
    apart, bound = (other - codes.dynamic_8bit().double()).abs(), codes.dynamic_8bit_bound()

    assert apart.max() > 0
    assert (apart <= bound).all()
    assert bound[[127, 255]].tolist() == [0, 0]
    assert (bound <= 66 * u * codes.dynamic_8bit().double().abs()).all()  # (6 + 6·m)/m of units, and m is above 0.1


def test_zero_and_the_ends_have_codes_of_their_own() -> None:
    """A block's largest magnitude is stored without loss, and so is zero."""
    assert codes.four_bit("nf4")[[0, 7, 15]].tolist() == [-1, 0, 1]
    assert codes.four_bit("fp4")[[0, 3, 8, 11]].tolist() == [0, 1, 0, -1]
    assert codes.dynamic_8bit()[[127, 255]].tolist() == [0, 1]


@pytest.mark.parametrize("table", [codes.four_bit("nf4"), codes.dynamic_8bit()])
def test_ordered_tables_rise(table: torch.Tensor) -> None:
    """Two equal entries would be one lost code."""
    assert (table.diff() > 0).all()


def test_an_unknown_quant_type_is_refused() -> None:
    with pytest.raises(KeyError, match="nf3"):
        codes.four_bit("nf3")


def test_tables_are_float32() -> None:
    """The formats multiply code and scale in float32; a float64 table would round differently."""
    tables = (codes.four_bit("nf4"), codes.four_bit("fp4"), codes.dynamic_8bit())
    assert all(table.dtype == torch.float32 and table.isfinite().all() for table in tables)
    assert math.copysign(1, codes.four_bit("nf4")[7].item()) == 1
