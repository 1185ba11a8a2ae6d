"""A fault of one block of the inner dimension is found, and no block is passed over that could hold one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from accuracy import structure
from accuracy.tally import Array

LEAST = 0.05 * 2.0**-8


def problem(seed: int, rows: int, columns: int, inner: int) -> tuple[Array, Array, Array]:
    """Two factors, and the rounding errors of their product in bfloat16."""
    dice = np.random.default_rng(seed)
    left, right = dice.normal(size=(rows, inner)), dice.normal(size=(columns, inner))
    product = left @ right.T
    rounded = torch.from_numpy(product).to(torch.bfloat16).double().numpy()
    return rounded - product, left, right


def can_reach(errors: Array, left: Array, right: Array, size: int) -> NDArray[np.bool_]:
    """Which blocks of so many columns can have the least effect."""
    cuts = structure._cut(left, size), structure._cut(right, size)
    return structure._can_reach(errors, (left, right), cuts, LEAST)


@pytest.mark.parametrize(("rows", "inner"), [(200, 84), (200, 85), (10, 84)])
@pytest.mark.parametrize("block", [0, 5, 7])
def test_a_scale_fault_of_one_block_is_found(rows: int, inner: int, block: int) -> None:
    """Half a percent more of what runs 0, 5 or 7 of ⌈K / 8⌉ contribute; by either way to tell where it may be."""
    errors, left, right = problem(1, rows, 120, inner)
    run = slice(block * -(-inner // 8), (block + 1) * -(-inner // 8))
    errors = errors + 0.005 * left[:, run] @ right[:, run].T
    factors = torch.from_numpy(left), torch.from_numpy(right)
    found = structure.strongest(torch.from_numpy(errors), torch.from_numpy(left @ right.T), factors, LEAST)

    assert found.at == f"block {block} of 8 of the inner dimension"
    assert found.effect == pytest.approx(0.005, rel=0.1)
    assert abs(found.z) > 7


@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    inner=st.integers(8, 40),
    scale=st.sampled_from([1e-300, 2.0**-20, 1.0, 1e150]),
    share=st.sampled_from([0.0, 0.9, 0.999999, 1.0, 1.000001, 1.1]),
)
def test_a_block_that_is_passed_over_has_less_than_the_least_effect(  # noqa: PLR0917
    seed: int, rows: int, columns: int, inner: int, scale: float, share: float
) -> None:
    """By the sums themselves, where a block has just as much as counts, a little less or a little more."""
    errors, left, right = problem(seed, rows, columns, inner)
    size = -(-inner // 8)
    errors = (errors + share * LEAST * left[:, :size] @ right[:, :size].T) * scale
    reached = can_reach(errors, left * scale, right, size)
    blocks = (structure._cut(left * scale, size), structure._cut(right, size))
    with np.errstate(over="ignore", invalid="ignore"):
        one, other = (block.astype(np.float32) for block in blocks)
        cross, _, signal = structure.projected(errors, np.matmul(one, other.transpose(0, 2, 1))).T
        beyond = np.abs(cross / signal) > LEAST

    assert not (beyond & ~reached).any()


def test_what_is_not_finite_can_be_reached() -> None:
    """An infinity or NaN in a factor spoils its own block, and an error that is none spoils all."""
    errors, left, right = problem(2, 30, 30, 16)
    quiet = errors * 0.0
    assert not can_reach(quiet, left, right, 2).any()
    for special in (np.inf, np.nan):
        spoiled = left.copy()
        spoiled[3, 5] = special
        assert can_reach(quiet, spoiled, right, 2)[2]
    quiet[0, 0] = np.nan
    assert can_reach(quiet, left, right, 2).all()
