"""A fault of one block of the inner dimension is found, and no block is passed over that could hold one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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


def out_of_reach(errors: Array, left: Array, right: Array, least: float = LEAST) -> bool:
    """Whether it is told that no block can have the least effect."""
    with np.errstate(over="ignore", invalid="ignore"):
        expected = left @ right.T
        narrow = left.astype(np.float32), right.astype(np.float32)
        return structure._out_of_reach(
            errors, expected, narrow, (structure._cut(narrow[0]), structure._cut(narrow[1])), least
        )


@pytest.mark.parametrize(("rows", "inner"), [(200, 84), (200, 85), (10, 84)])
@pytest.mark.parametrize("block", [0, 5, 7])
def test_a_scale_fault_of_one_block_is_found(rows: int, inner: int, block: int) -> None:
    """Half a percent more of what runs 0, 5 or 7 of ⌈K / 8⌉ contribute; by either way to make the contributions."""
    errors, left, right = problem(1, rows, 120, inner)
    run = slice(block * -(-inner // 8), (block + 1) * -(-inner // 8))
    errors = errors + 0.005 * left[:, run] @ right[:, run].T
    factors = torch.from_numpy(left), torch.from_numpy(right)
    found = structure.strongest(errors, left @ right.T, factors, LEAST)

    assert found.at == f"block {block} of 8 of the inner dimension"
    assert found.effect == pytest.approx(0.005, rel=0.1)
    assert abs(found.z) > 7


@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(60, 90),
    columns=st.integers(60, 90),
    inner=st.integers(8, 24),
    scale=st.sampled_from([1e-300, 2.0**-100, 2.0**-80, 2.0**-50, 2.0**-20, 1.0, 1e150]),
    noise=st.sampled_from([0.0, 1e-4, 1e-2, 1.0]),
    share=st.sampled_from([0.0, 0.9, 0.999999, 1.0, 1.000001, 1.1]),
    run=st.sampled_from([7, 16, 4096]),
)
def test_where_nothing_is_made_no_block_has_the_least_effect(  # noqa: PLR0917
    seed: int, rows: int, columns: int, inner: int, scale: float, noise: float, share: float, run: int
) -> None:
    """By the sums themselves, where a block has just as much as counts, a little less or a little more."""
    errors, left, right = problem(seed, rows, columns, inner)
    size = -(-inner // 8)
    errors = (noise * errors + share * LEAST * left[:, :size] @ right[:, :size].T) * scale
    left = left * scale
    with np.errstate(over="ignore", invalid="ignore"):
        one, other = (structure._cut(factor.astype(np.float32)) for factor in (left, right))
        cross, _, signal = structure.projected(errors, np.matmul(one, other.transpose(0, 2, 1))).T
        beyond = np.abs(cross / signal) > LEAST

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure, "RUN", run)
        assert not (beyond.any() and out_of_reach(errors, left, right))


@pytest.mark.parametrize("exponent", range(-150, 121, 10))
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_a_block_is_not_passed_over_where_products_of_float32_underflow_or_overflow(exponent: int, side: str) -> None:
    """Of a tenth more than counts, whatever the size of the operands: their own squares may be nothing in float32."""
    errors, left, right = problem(1, 80, 80, 16)
    scales = [2.0**exponent if side in {each, "both"} else 1.0 for each in ("left", "right")]
    left, right = (factor * scale for factor, scale in zip((left, right), scales, strict=True))
    errors = 0.01 * errors * scales[0] * scales[1] + 1.1 * LEAST * left[:, :2] @ right[:, :2].T

    assert not out_of_reach(errors, left, right)


def test_errors_out_of_reach_by_hand() -> None:
    """Rounding to bfloat16 of many elements by its slopes, a hundredth of it by its size alone; not of few elements."""
    errors, left, right = problem(2, 120, 120, 16)
    assert out_of_reach(errors, left, right)
    assert out_of_reach(errors / 100, left, right)
    assert not out_of_reach(errors * 10, left, right)  # which chance may bring there
    assert not out_of_reach(errors + 2 * LEAST * left[:, :2] @ right[:, :2].T, left, right)
    assert not out_of_reach(errors * 0, left, right)  # nothing, beside which float32 may lose anything
    errors, left, right = problem(2, 4, 120, 64)
    assert not out_of_reach(errors / 100, left, right)  # as contributions of few rows cost less


def test_many_rows_are_out_of_reach_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of float16 served in bfloat16; one float32 sum over 65,600 rows could lose more than the effects looked for."""
    errors, left, right = problem(2, 65_600, 16, 16)
    spoiled = errors + LEAST / 4 * left[:, :2] @ right[:, :2].T
    assert out_of_reach(errors, left, right, LEAST / 8)
    assert not out_of_reach(spoiled, left, right, LEAST / 8)
    monkeypatch.setattr(structure, "RUN", len(left))
    assert not out_of_reach(errors, left, right, LEAST / 8)


def test_what_is_not_finite_is_not_out_of_reach() -> None:
    """An infinity or NaN in a factor, or in the error."""
    errors, left, right = problem(2, 90, 90, 16)
    quiet = errors / 1000
    assert out_of_reach(quiet, left, right)
    for special in (np.inf, np.nan):
        spoiled = left.copy()
        spoiled[3, 5] = special
        with np.errstate(invalid="ignore"):
            assert not out_of_reach(quiet, spoiled, right)
    quiet[0, 0] = np.nan
    assert not out_of_reach(quiet, left, right)
