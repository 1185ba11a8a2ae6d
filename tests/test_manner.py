"""How a cause is wrong, in words, by rows written by hand."""

from typing import Any

import numpy as np

from reports import manner


def said(**row: Any) -> str:
    """What is said of one failing row."""
    plain = {
        "status": "fail", "stage": "compute", "quantity": "output", "reason": "ratio is 3, at most 1 is allowed",
        "ratio": 3.0, "slope": 0.0, "rel_fro": 1e-3,
    }  # fmt: skip
    return manner.of({name: np.array([value]) for name, value in (plain | row).items()})


def test_an_error_of_size_is_told_by_how_many_times_its_limit() -> None:
    assert said() == "exceeds its limit up to 3-fold"


def test_a_common_factor_is_told_as_one() -> None:
    assert said(slope=0.02, rel_fro=0.02) == "is 2 % too large"


def test_what_stays_within_its_bound_is_told_by_the_limit_that_it_breaks() -> None:
    """And not as a hundredth-fold excess."""
    reason = "structure_z is 11.1, at most 7 is allowed: row 3"

    assert said(ratio=0.0111, reason=reason) == f"is wrong though within its bound ({reason})"
