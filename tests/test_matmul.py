"""Products of oracles, worked out by hand."""

import math

import pytest
import torch

from accuracy.oracles.matmul import times_transposed

RIGHT = [[1.0, 2.0], [3.0, -4.0], [0.0, 0.5]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_times_rows(dtype: torch.dtype) -> None:
    """(1, 2) and (10, 0) by each of three rows; of the dtype of both, whatever comes before the rows."""
    left, right = torch.tensor([[1.0, 2.0], [10.0, 0.0]], dtype=dtype), torch.tensor(RIGHT, dtype=dtype)
    expected = torch.tensor([[5.0, -5.0, 1.0], [10.0, 30.0, 0.0]], dtype=dtype)
    assert times_transposed(left, right).equal(expected)
    assert times_transposed(left[0], right).equal(expected[0])
    assert times_transposed(left.reshape(1, 2, 1, 2), right).equal(expected.reshape(1, 2, 1, 3))
    assert times_transposed(left.T.contiguous().T, right.T.contiguous().T).equal(expected)


@pytest.mark.parametrize("batch", [(0,), (4, 0), (2, 3)])
def test_of_no_rows_or_no_terms(batch: tuple[int, ...]) -> None:
    """No rows give no rows; a sum of nothing is 0."""
    for inner in (0, 5):
        found = times_transposed(torch.ones(*batch, inner).double(), torch.ones(7, inner).double())
        assert found.equal(torch.full((*batch, 7), float(inner), dtype=torch.float64))


def test_what_is_not_finite_is_what_ieee_makes_of_it() -> None:
    """Overflow is an infinity, ∞ - ∞ and ∞·0 are NaN, and a NaN of one row stays there; none of it is a warning."""
    left = torch.tensor([[1e300, 1e300], [math.inf, math.inf], [math.nan, 0.0], [1.0, 1.0]], dtype=torch.float64)
    right = torch.tensor([[1e300, 1e300], [1.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    told = [[f"{value:.3g}" for value in row] for row in times_transposed(left, right).tolist()]
    assert told == [["inf", "0", "1e+300"], ["inf", "nan", "nan"], ["nan"] * 3, ["2e+300", "0", "1"]]
