"""The 4-bit format: bytes packed by hand, and codes against a search over the whole table."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accuracy.oracles import codes, four_bit
from accuracy.oracles.four_bit import NestedScales, Stored4bit

quant_types = st.sampled_from(("nf4", "fp4"))
code_lists = st.lists(st.integers(0, 15), min_size=1, max_size=70)
normalized_values = st.floats(-1, 1, allow_subnormal=False)


def stored(
    chosen: list[int],
    scales: Tensor | NestedScales,
    *,
    blocksize: int = 64,
    quant_type: str = "nf4",
    dtype: torch.dtype = torch.float32,
) -> Stored4bit:
    """A weight of one row with these codes, packed as the format says: the first of two codes is the high half."""
    even = [*chosen, *([0] if len(chosen) % 2 else [])]
    packed = [16 * high + low for high, low in zip(even[::2], even[1::2], strict=True)]
    return Stored4bit(
        packed=torch.tensor(packed, dtype=torch.uint8),
        scales=scales,
        blocksize=blocksize,
        quant_type=quant_type,
        shape=(1, len(chosen)),
        dtype=dtype,
    )


def test_a_block_decoded_by_hand() -> None:
    """Bytes 0xF0 and 0x78 hold codes 15, 0, 7, 8: in NF4 1, -1, 0 and 0.0796, here times 2."""
    weight = Stored4bit(
        packed=torch.tensor([0xF0, 0x78], dtype=torch.uint8),
        scales=torch.tensor([2.0]),
        blocksize=64,
        quant_type="nf4",
        shape=(2, 2),
        dtype=torch.float32,
    )

    assert four_bit.unpack(weight).tolist() == [15, 0, 7, 8]
    assert four_bit.decode(weight, torch.float32).tolist() == [[2.0, -2.0], [0.0, 2 * 0.07958029955625534]]


def test_an_odd_weight_leaves_half_a_byte() -> None:
    """Three codes take two bytes; the last half belongs to no element."""
    assert four_bit.unpack(stored([3, 2, 1], torch.ones(1))).tolist() == [3, 2, 1]


def test_bytes_that_cannot_hold_the_weight_are_refused() -> None:
    weight = Stored4bit(
        packed=torch.zeros(1, dtype=torch.uint8),
        scales=torch.ones(1),
        blocksize=64,
        quant_type="nf4",
        shape=(1, 3),
        dtype=torch.float32,
    )
    with pytest.raises(ValueError, match="1 packed bytes cannot hold 3"):
        four_bit.unpack(weight)


@given(chosen=code_lists)
def test_unpacking_is_the_inverse_of_packing(chosen: list[int]) -> None:
    assert four_bit.unpack(stored(chosen, torch.ones(2))).tolist() == chosen


def test_each_block_has_its_own_scale_and_the_last_may_be_short() -> None:
    """Five ones in blocks of two: scales 1, 10 and 100, the last for one element."""
    weight = stored([15] * 5, torch.tensor([1.0, 10.0, 100.0]), blocksize=2)

    assert four_bit.decode(weight, torch.float32).tolist() == [[1, 1, 10, 10, 100]]
    assert four_bit.block_maxima(torch.tensor([1.0, -3.0, 2.0, 0.5, -5.0]), 2).tolist() == [3, 2, 5]


def test_double_quantized_scales_by_hand() -> None:
    """Code 255 is 1 and 127 is 0, so with a second scale of 2 and an offset of 5 they mean 7 and 5."""
    nested = NestedScales(
        codes=torch.tensor([255, 127], dtype=torch.uint8), scales=torch.tensor([2.0]), offset=torch.tensor(5.0)
    )

    assert four_bit.block_scales(stored([0, 0], nested, blocksize=1)).tolist() == [7, 5]


def test_codes_of_scales_mean_what_their_table_says() -> None:
    """Twice the values, twice the part above the offset; what is no table of 256 values is not read."""
    codes_of = {"codes": torch.tensor([255, 127], dtype=torch.uint8), "scales": torch.tensor([2.0])}
    doubled = NestedScales(**codes_of, offset=torch.tensor(5.0), table=codes.dynamic_8bit() * 2)
    broken = NestedScales(**codes_of, offset=torch.tensor(5.0), table=torch.zeros(16))

    assert four_bit.block_scales(stored([0, 0], doubled, blocksize=1)).tolist() == [9, 5]
    assert four_bit.block_scales(stored([0, 0], broken, blocksize=1)).tolist() == [7, 5]


def test_a_scale_that_is_multiplied_and_added_at_once_by_hand() -> None:
    """(1 + 2^-12)² = 1 + 2^-11 + 2^-24, which float32 rounds to 1 + 2^-11, a tie of float16; 2^-25 more is above it."""
    nested = NestedScales(
        codes=torch.tensor([0], dtype=torch.uint8),
        scales=torch.tensor([1 + 2.0**-12]),
        offset=torch.tensor(2.0**-25),
        table=torch.full((256,), 1 + 2.0**-12),
    )
    twice, once = (
        form(stored([0], nested, blocksize=1)) for form in (four_bit.block_scales, four_bit.block_scales_at_once)
    )

    assert (twice.item(), once.item()) == (1 + 2.0**-11, 1 + 2.0**-11 + 2.0**-23)
    assert (twice.half().item(), once.half().item()) == (1, 1 + 2.0**-10)
    plain = stored([0], torch.tensor([3.0]), blocksize=1)
    assert four_bit.block_scales_at_once(plain).tolist() == [3]


def test_the_257th_block_has_the_second_scale() -> None:
    """Second-level blocks hold 256 scales."""
    nested = NestedScales(
        codes=torch.full((257,), 255, dtype=torch.uint8), scales=torch.tensor([2.0, 3.0]), offset=torch.tensor(0.0)
    )
    scales = four_bit.block_scales(stored([15] * 257, nested, blocksize=1))

    assert set(scales[:256].tolist()) == {2}
    assert scales[256].item() == 3


@given(chosen=code_lists, exponent=st.integers(-8, 8), quant_type=quant_types)
def test_decoding_scales_with_powers_of_two(chosen: list[int], exponent: int, quant_type: str) -> None:
    """The product of code and scale is rounded once, so a power of two changes no bit of its mantissa."""
    scales = torch.tensor([0.7, 1.3])
    here = four_bit.decode(stored(chosen, scales, quant_type=quant_type), torch.float32)
    there = four_bit.decode(stored(chosen, scales * 2.0**exponent, quant_type=quant_type), torch.float32)

    assert torch.equal(there, here * 2.0**exponent)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_decoding_rounds_to_the_dtype_asked_for(dtype: torch.dtype) -> None:
    """Every code of the table, at a scale that no 16-bit type holds."""
    weight = stored(list(range(16)), torch.tensor([1 / 3]))

    assert torch.equal(four_bit.decode(weight, dtype), (codes.four_bit("nf4") * (1 / 3)).to(dtype).double()[None])


def test_excess_distance_of_a_tie_and_of_a_wrong_code() -> None:
    """Halfway between codes 7 (0) and 8 (c) both are nearest; at ¾c code 7 is half a gap too far."""
    table = codes.four_bit("nf4")
    gap = table[8].item()
    values = torch.tensor([gap / 2, gap / 2, gap * 0.75, gap * 0.75], dtype=torch.float64)
    excess = four_bit.excess_distance(values, torch.tensor([7, 8, 7, 8]), table)

    assert excess.tolist() == pytest.approx([0, 0, gap / 2, 0], abs=1e-17)


def test_both_zeros_of_fp4_are_nearest() -> None:
    """Codes 0 and 8 are +0 and -0: either may stand for a tiny value of any sign."""
    table = codes.four_bit("fp4")
    values = torch.tensor([0.001, 0.001, -0.001, -0.001], dtype=torch.float64)

    assert four_bit.excess_distance(values, torch.tensor([0, 8, 0, 8]), table).tolist() == [0, 0, 0, 0]


@given(value=st.floats(-1.5, 1.5), chosen=st.integers(0, 15), quant_type=quant_types)
def test_excess_distance_against_a_search_over_the_table(value: float, chosen: int, quant_type: str) -> None:
    """Also a little outside the table, where the nearest code is an end of it."""
    table = codes.four_bit(quant_type).double()
    distances = (value - table).abs()
    excess = four_bit.excess_distance(
        torch.tensor([value], dtype=torch.float64), torch.tensor([chosen]), codes.four_bit(quant_type)
    )

    assert excess.item() == distances[chosen].item() - distances.min().item()


@given(value=st.floats(-1.2, 1.2), chosen=st.integers(0, 255))
def test_excess_distance_in_the_dynamic_map(value: float, chosen: int) -> None:
    table = codes.dynamic_8bit()
    distances = (value - table.double()).abs()
    excess = four_bit.excess_distance(torch.tensor([value], dtype=torch.float64), torch.tensor([chosen]), table)

    assert excess.item() == distances[chosen].item() - distances.min().item()


def test_half_gaps_by_hand() -> None:
    """Around NF4's zero: half of 0.0796 above, half of 0.0911 below; nothing lies beyond ±1."""
    table = codes.four_bit("nf4").double()
    values = torch.tensor([0.01, -0.01, 1.0, -1.0], dtype=torch.float64)
    gaps = four_bit.half_gap(torch.tensor([7, 7, 15, 0]), values, "nf4")

    assert gaps.tolist() == [table[8].item() / 2, -table[6].item() / 2, 0, (table[1] - table[0]).item() / 2]


@given(value=normalized_values, quant_type=quant_types)
def test_a_nearest_code_is_within_half_a_gap(value: float, quant_type: str) -> None:
    """The bound of the quantization error: whatever the value, and whichever of two nearest codes is chosen."""
    table = codes.four_bit(quant_type).double()
    distances = (value - table).abs()
    for chosen in (distances == distances.min()).nonzero():
        gap = four_bit.half_gap(chosen, torch.tensor([value], dtype=torch.float64), quant_type)
        assert distances.min().item() <= gap.item() + 2**-54
