"""Rounding to a dtype: ties worked out by hand, and every draw against exact rational arithmetic."""

import math
from fractions import Fraction

import mpmath  # type: ignore[import-untyped]  # it has no stubs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accuracy.oracles.rounding import (
    MANTISSA_BITS,
    SMALLEST_NORMAL,
    SMALLEST_SUBNORMAL,
    UNIT_ROUNDOFF,
    overflow_threshold,
    rounded,
    rounding_error,
    ulp,
)
from accuracy.roundoff import gamma, probabilistic_gamma

dtypes = st.sampled_from((torch.float32, torch.float16, torch.bfloat16))
finite = st.floats(allow_nan=False, allow_infinity=False)
LARGEST_EXPONENT = {torch.float32: 127, torch.float16: 15, torch.bfloat16: 127}


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def once(value: float, dtype: torch.dtype) -> float:
    return rounded(tensor(value), dtype).item()


def quantum(value: float, dtype: torch.dtype) -> Fraction:
    """Spacing of the dtype at `value`, from its definition."""
    exponent = math.frexp(max(abs(value), SMALLEST_NORMAL[dtype]))[1] - 1
    return Fraction(2) ** (exponent - MANTISSA_BITS[dtype])


def nearest_even(value: float, dtype: torch.dtype) -> float:
    """`value` to nearest, ties to even, in rational arithmetic: Python rounds a Fraction's half to even."""
    step = quantum(value, dtype)
    exact = round(Fraction(value) / step) * step
    return math.copysign(math.inf, value) if abs(exact) >= 2 ** (LARGEST_EXPONENT[dtype] + 1) else float(exact)


@st.composite
def near_ties(draw: st.DrawFn) -> tuple[float, torch.dtype]:
    """A value on, or by one float64 bit beside, the middle between two neighbours of a dtype."""
    dtype = draw(dtypes)
    bits = MANTISSA_BITS[dtype]
    smallest = math.frexp(SMALLEST_SUBNORMAL[dtype])[1] - 1
    exponent = draw(st.integers(smallest, LARGEST_EXPONENT[dtype] - bits))
    middle = math.ldexp(draw(st.integers(0, 2 ** (bits + 1) - 1)) + 0.5, exponent)
    beside = draw(st.sampled_from((middle, math.nextafter(middle, 0), math.nextafter(middle, math.inf))))
    return draw(st.sampled_from((1, -1))) * beside, dtype


@pytest.mark.parametrize(
    ("dtype", "threshold"),
    [
        (torch.float16, 65520.0),
        (torch.float32, 2.0**128 - 2.0**103),
        (torch.bfloat16, 2.0**128 - 2.0**119),
    ],
)
def test_overflow_begins_half_an_ulp_above_the_largest_number(dtype: torch.dtype, threshold: float) -> None:
    """65504 is the largest float16, its spacing 32: from 65520 on the nearest is infinity."""
    assert overflow_threshold(dtype) == threshold
    assert once(threshold, dtype) == math.inf
    assert once(-threshold, dtype) == -math.inf
    assert once(math.nextafter(threshold, 0), dtype) == torch.finfo(dtype).max


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1 + 2**-11, torch.float16, 1.0),
        (1 + 3 * 2**-11, torch.float16, 1 + 2**-9),
        (1 + 2**-11 + 2**-40, torch.float16, 1 + 2**-10),
        (1 + 2**-8, torch.bfloat16, 1.0),
        (1 + 2**-8 + 2**-40, torch.bfloat16, 1 + 2**-7),
        (-(1 + 2**-8 + 2**-40), torch.bfloat16, -(1 + 2**-7)),
        (2**-25, torch.float16, 0.0),
        (2**-25 + 2**-60, torch.float16, 2**-24),
    ],
)
def test_ties_worked_out_by_hand(value: float, dtype: torch.dtype, expected: float) -> None:
    """Through float32 the excess of 2**-40 would be lost, and the tie would go to the even neighbour."""
    assert once(value, dtype) == expected


@given(near_ties())
def test_rounding_near_a_tie_is_exact(case: tuple[float, torch.dtype]) -> None:
    """Against rational arithmetic, subnormals and overflow among the draws."""
    value, dtype = case
    assert once(value, dtype) == nearest_even(value, dtype)


@given(value=finite, dtype=dtypes)
def test_rounding_any_number_is_exact(value: float, dtype: torch.dtype) -> None:
    """Against rational arithmetic, over all float64."""
    assert once(value, dtype) == nearest_even(value, dtype)


@given(value=finite, dtype=dtypes)
def test_rounding_twice_is_rounding_once(value: float, dtype: torch.dtype) -> None:
    """A value of the dtype is its own nearest."""
    assert once(once(value, dtype), dtype) == once(value, dtype)


@given(pair=st.tuples(finite, finite).map(sorted), dtype=dtypes)
def test_rounding_keeps_the_order(pair: list[float], dtype: torch.dtype) -> None:
    assert once(pair[0], dtype) <= once(pair[1], dtype)


@given(value=st.floats(1, 2), exponent=st.integers(-13, 14), dtype=dtypes)
def test_rounding_commutes_with_powers_of_two(value: float, exponent: int, dtype: torch.dtype) -> None:
    """Among normal numbers the spacing scales with the binade."""
    assert once(math.ldexp(value, exponent), dtype) == math.ldexp(once(value, dtype), exponent)


@pytest.mark.parametrize("dtype", UNIT_ROUNDOFF)
def test_special_values_stay_what_they_are(dtype: torch.dtype) -> None:
    seen = rounded(tensor(math.nan, math.inf, -math.inf, -0.0), dtype)

    assert seen[0].isnan()
    assert seen[1:].tolist() == [math.inf, -math.inf, 0.0]
    assert seen[3].signbit()


@given(value=finite, dtype=dtypes)
def test_the_bound_of_one_rounding_holds(value: float, dtype: torch.dtype) -> None:
    """For every value that does not overflow, subnormals too: half a spacing, and never less than the error."""
    if abs(value) < overflow_threshold(dtype):
        error = abs(Fraction(once(value, dtype)) - Fraction(value))
        assert error <= Fraction(rounding_error(tensor(value), dtype).item())
        assert error <= Fraction(ulp(tensor(once(value, dtype)).numpy(), dtype).item()) / 2


def test_the_bound_of_one_rounding_is_attained() -> None:
    """The tie 1 + 2**-11 is 2**-11 away; a smaller constant than u would be wrong."""
    error = 1 + 2**-11 - once(1 + 2**-11, torch.float16)
    assert error / rounding_error(tensor(1 + 2**-11), torch.float16).item() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    ("value", "dtype", "spacing"),
    [
        (1.0, torch.float16, 2**-10),
        (-1.0, torch.float16, 2**-10),
        (math.nextafter(1, 0), torch.float16, 2**-11),
        (65504.0, torch.float16, 32.0),
        (2**-14, torch.float16, 2**-24),
        (0.0, torch.float16, 2**-24),
        (1.0, torch.bfloat16, 2**-7),
        (1.5, torch.float32, 2**-23),
        (0.0, torch.float32, 2**-149),
    ],
)
def test_ulps_worked_out_by_hand(value: float, dtype: torch.dtype, spacing: float) -> None:
    """From 1 on float16 has 10 bits below the point; below its normals the spacing stays that of the subnormals."""
    assert ulp(tensor(value).numpy(), dtype).item() == spacing


@given(value=finite, dtype=dtypes)
def test_ulp_is_the_spacing_by_definition(value: float, dtype: torch.dtype) -> None:
    assert Fraction(ulp(tensor(value).numpy(), dtype).item()) == quantum(value, dtype)


def test_gamma_worked_out_by_hand() -> None:
    """3·¼ / (1 - 3·¼) = 3; from n·u = 1 on nothing is known."""
    assert gamma(3, 0.25) == 3
    assert gamma(4, 0.25) == math.inf
    assert gamma(0, 0.25) == 0


@given(n=st.integers(0, 10**7), confidence=st.floats(0, 20), unit=st.sampled_from(list(UNIT_ROUNDOFF.values())))
def test_probabilistic_gamma_against_arbitrary_precision(n: int, confidence: float, unit: float) -> None:
    """Theorem 2.4 of Higham and Mary in 50 digits, capped by lemma 3.1 of Higham."""
    with mpmath.workdps(50):
        u = mpmath.mpf(unit)
        wanted = mpmath.expm1(mpmath.mpf(confidence) * mpmath.sqrt(n) * u + n * u * u / (1 - u))
        if n * unit < 1:
            wanted = min(wanted, n * u / (1 - n * u))
        assert probabilistic_gamma(n, unit, confidence) == pytest.approx(float(wanted), rel=1e-12)


@given(n=st.integers(0, 10**6), more=st.integers(0, 10**6), confidence=st.floats(0, 20), wider=st.floats(0, 20))
def test_bounds_grow_with_terms_and_confidence(n: int, more: int, confidence: float, wider: float) -> None:
    """A bound that shrank with more terms would hide errors of the longer sum."""
    u = UNIT_ROUNDOFF[torch.float32]
    here = probabilistic_gamma(n, u, confidence)

    assert here <= gamma(n, u) <= gamma(n + more, u)
    assert here <= probabilistic_gamma(n + more, u, confidence + wider)
