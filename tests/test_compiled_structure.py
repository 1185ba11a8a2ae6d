"""The compiled strongest structure and projections are what numpy defines, to the bit, and read nothing else."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vectors import bits, widths

from accuracy import structure

SPECIAL = (math.inf, -math.inf, math.nan)


@given(
    rows=st.integers(1, 30),
    columns=st.integers(1, 40),
    blocks=st.integers(0, 8),
    seed=st.integers(0, 2**32),
    scales=st.lists(st.sampled_from((0.0, 5e-324, 1e-160, 1.0, 3.0, 1e150, 1e300)), min_size=1, max_size=5),
    least=st.sampled_from((0.0, 1e-9, 0.3, math.inf)),
)
def test_the_strongest_structure_to_the_bit(  # noqa: PLR0917
    rows: int, columns: int, blocks: int, seed: int, scales: list[float], least: float
) -> None:
    """Of numbers so far apart that each order of adding them gives another sum."""
    assert structure.compiled is not None
    dice = np.random.default_rng(seed)
    errors, expected = (dice.normal(size=(rows, columns)) * dice.choice(scales, (rows, columns)) for _ in range(2))
    sums = np.abs(dice.normal(size=(blocks, 3)) * dice.choice(scales, (blocks, 3)))
    defined = structure.strongest_in_numpy(errors, expected, sums, least)

    for _ in widths():
        assert bits(structure.compiled(errors, expected, sums, least)) == bits(defined)


def test_sums_by_row_and_column_by_hand() -> None:
    """Two rows of two."""
    by_column, by_row = structure.sums(np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[1.0, -1.0], [2.0, 4.0]]))
    assert by_column.tolist() == [[7, -6], [37, 20], [5, 17], [4, 1], [10, 5]]
    assert by_row.tolist() == [[-1, 2], [5, 52], [2, 20]]


@pytest.mark.parametrize(("sizes", "blocks"), [((4, 6), 3), ((4, 4), 2), ((0, 0), 3), ((6, 4), 0)])
def test_a_structure_is_of_whole_parts(sizes: tuple[int, int], blocks: int) -> None:
    """As many elements in both, at least one, and three sums a block."""
    assert structure.compiled is not None
    with pytest.raises(ValueError, match=f"arrays of {sizes[0]} and {sizes[1]} elements, and {blocks} sums"):
        structure.compiled(*map(np.ones, sizes), np.ones(blocks), 0.0)


@pytest.mark.parametrize("place", range(3))
def test_a_structure_is_of_float64_without_gaps(place: int) -> None:
    """As totals are."""
    assert structure.compiled is not None
    arrays = [np.ones(6), np.ones(6), np.ones(6)]
    arrays[place] = np.ones(12)[::2]
    with pytest.raises(ValueError, match="without gaps"):
        structure.compiled(*arrays, 0.0)


@given(
    size=st.integers(1, 400),
    number=st.integers(0, 9),
    seed=st.integers(0, 2**32),
    scales=st.lists(st.sampled_from((0.0, 5e-324, 1e-160, 1.0, 3.0, 1e150, *SPECIAL)), min_size=1, max_size=5),
)
def test_projections_to_the_bit(size: int, number: int, seed: int, scales: list[float]) -> None:
    """Of numbers as far apart, and of parts that are not finite."""
    assert structure.compiled_projected is not None
    dice = np.random.default_rng(seed)
    error = dice.normal(size=(1, size)) * dice.choice(scales[:1], size)
    with np.errstate(over="ignore", invalid="ignore"):
        parts = (dice.normal(size=(number, 1, size)) * dice.choice(scales, (number, 1, size))).astype(np.float32)
        defined = structure.projected_in_numpy(error, parts)

    for _ in widths():
        np.testing.assert_array_equal(structure.projected(error, parts), defined)  # NaN equals NaN


def test_projections_by_hand() -> None:
    """An error of 2 and 3 on 5 and -1, on nothing, and on what is not finite and 1."""
    error = np.array([[2.0, 3.0]])
    parts = np.array([[[5.0, -1.0]], [[0.0, 0.0]], [[math.inf, 1.0]]], np.float32)
    assert structure.projected(error, parts).tolist() == [[7, 109, 26], [0, 0, 0], [3, 9, 1]]


@pytest.mark.parametrize("sizes", [(4, 6), (0, 4), (0, 0)])
def test_projections_are_on_whole_parts(sizes: tuple[int, int]) -> None:
    """Each as long as the error."""
    assert structure.compiled_projected is not None
    error, parts = map(np.ones, sizes)
    with pytest.raises(ValueError, match="as long as the error"):
        structure.compiled_projected(error, parts.astype(np.float32))


@pytest.mark.parametrize(
    ("error", "parts", "wanted"),
    [
        (np.ones(8)[::2], np.ones(4, np.float32), "float64 without gaps"),
        (np.ones(4, np.float32), np.ones(4, np.float32), "float64 without gaps"),
        (np.ones(4), np.ones(8, np.float32)[::2], "float32 without gaps"),
        (np.ones(4), np.ones(4), "float32 without gaps"),
    ],
)
def test_projections_are_of_floats_without_gaps(error: Any, parts: Any, wanted: str) -> None:
    """The error of float64, parts of float32."""
    assert structure.compiled_projected is not None
    with pytest.raises(ValueError, match=wanted):
        structure.compiled_projected(error, parts)
