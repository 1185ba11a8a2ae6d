"""Histograms: edges worked out by hand, quantiles against sorted values, merging as a commutative sum."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accuracy import histogram

magnitudes = st.lists(st.floats(min_value=0, width=32, allow_nan=False, allow_subnormal=False), min_size=1, max_size=60)


def count(values: list[float]) -> histogram.Counts:
    """The histogram of values, straight from the definition."""
    index = np.asarray(values, dtype=np.float32).view(np.uint32).astype(np.int64) >> histogram.SHIFT
    return histogram.merge([(index, np.ones_like(index))])


@pytest.mark.parametrize(("value", "bin_index"), [(0.0, 0), (1.0, 4064), (2.0, 4096), (0.5, 4032), (math.inf, 8160)])
def test_lower_edge_of_powers_of_two(value: float, bin_index: int) -> None:
    """1.0 has the bits 0x3F800000, and 0x3F800000 >> 18 is 4064; a binade is 32 bins."""
    assert histogram.lower_edge(bin_index) == value
    assert count([value])[0].tolist() == [bin_index]


def test_bins_above_infinity_are_nan() -> None:
    """float32 NaN is 0x7FC00000, bin 8176."""
    assert math.isnan(histogram.lower_edge(8176))
    assert math.isnan(histogram.quantile([4064, 8176], [9, 1], 1.0))


def test_quantiles_of_a_histogram_worked_out_by_hand() -> None:
    """Nine in [1, 1 + 1/32) and one infinity: the median is the middle 1 + 1/64, the maximum +inf."""
    bins, counts = [4064, 8160], [9, 1]

    assert histogram.quantile(bins, counts, 0.5) == 1 + 1 / 64
    assert histogram.quantile(bins, counts, 0.9) == 1 + 1 / 64
    assert histogram.quantile(bins, counts, 0.91) == math.inf


def test_an_empty_histogram_has_no_quantile() -> None:
    """Nothing measured is NaN, which passes no limit."""
    assert math.isnan(histogram.quantile([], [], 0.5))


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_quantile_outside_0_to_1_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match=r"0 \.\. 1"):
        histogram.quantile([1], [1], q)


def test_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 bins but 1 counts"):
        histogram.merge([([1, 2], [3])])
    with pytest.raises(ValueError, match="never negative"):
        histogram.merge([([1], [-3])])
    with pytest.raises(ValueError, match=r"8192 .* 0 \.\. 8191"):
        histogram.merge([([8192], [1])])


@given(values=magnitudes, q=st.floats(0, 1))
def test_a_quantile_is_within_one_sixty_fourth_of_the_sorted_value(values: list[float], q: float) -> None:
    """The bin's middle is at most 2**-6 away from every value in the bin."""
    ordered = sorted(values)
    expected = ordered[max(1, math.ceil(q * len(ordered))) - 1]

    assert histogram.quantile(*count(values), q) == pytest.approx(expected, rel=2**-6)


@given(parts=st.lists(magnitudes, min_size=1, max_size=5), order=st.randoms())
def test_merging_is_counting_everything_at_once(parts: list[list[float]], order: random.Random) -> None:
    """Whatever the order, the parts' histograms add up to the histogram of the whole."""
    shuffled = list(parts)
    order.shuffle(shuffled)
    merged = histogram.merge(count(part) for part in shuffled)
    whole = count([value for part in parts for value in part])

    assert [column.tolist() for column in merged] == [column.tolist() for column in whole]
