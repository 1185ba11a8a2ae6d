"""Dense products: values by hand, and bounds that every order of summation keeps and a lower precision breaks."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from accuracy.oracles import linear
from accuracy.oracles.rounding import UNIT_ROUNDOFF
from accuracy.roundoff import gamma

CERTAIN = 1e6
"""A confidence at which the bound is the deterministic one, which no sum can exceed."""

exact_values = st.integers(-64, 64).map(lambda count: count / 64)
seeds = st.integers(0, 2**32 - 1)


def operands(seed: int, rows: int, terms: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs [rows, terms], weight [columns, terms] and bias [columns], all exact in float16, bfloat16 and float32."""
    draw = np.random.default_rng(seed).integers(-128, 129, size=(rows + columns + 1, max(terms, columns)))
    values = torch.from_numpy(draw / 64.0)
    return values[:rows, :terms], values[rows : rows + columns, :terms], values[-1, :columns]


def summed_in(dtype: Any, x: Tensor, weight: Tensor, order: NDArray[np.int64]) -> Tensor:
    """x·Wᵀ, term by term in this order, product and sum each rounded to the dtype."""
    lefts, rights = x.numpy().astype(dtype), weight.numpy().astype(dtype)
    total: NDArray[Any] = np.zeros((len(lefts), len(rights)), dtype=dtype)
    for term in order:
        total += lefts[:, [term]] * rights[:, term]
    return torch.from_numpy(total)


def test_a_product_by_hand() -> None:
    """[1, -2]·[3, 4] + 10 = 5; the magnitudes add to 1·3 + 2·4 + 10 = 21, in three terms."""
    x, weight, bias = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([10.0])
    exact = linear.affine(x, weight, bias)

    assert (exact.product.item(), exact.total.item()) == (-5, 5)
    assert 21 <= exact.magnitude.item() <= 21 * (1 + 4 * gamma(6, UNIT_ROUNDOFF[torch.float32]))
    assert (exact.terms, exact.biased) == (3, True)
    assert linear.affine(x, weight, None).terms == 2


@given(
    seed=seeds,
    shape=st.tuples(st.integers(0, 5), st.integers(0, 40), st.integers(0, 5)),
    scales=st.lists(
        st.sampled_from((0.0, 5e-324, 1e-160, 1e-40, 2.0**-30, 1.0, 3e4, 2.0**60, 1e200)), min_size=1, max_size=4
    ),
)
def test_at_least_is_no_less_and_hardly_more(seed: int, shape: tuple[int, int, int], scales: list[float]) -> None:
    """Than the sum of fractions, also where float32 underflows, overflows or holds nothing of one operand."""
    rows, terms, columns = shape
    dice = np.random.default_rng(seed)
    left, right = (dice.normal(size=(size, terms)) * dice.choice(scales, (size, terms)) for size in (rows, columns))
    found = linear.at_least(torch.from_numpy(left), torch.from_numpy(right)).numpy()

    assert found.shape == (rows, columns)
    slack = 4 * gamma(terms + 4, UNIT_ROUNDOFF[torch.float32])
    for row, column in np.ndindex(rows, columns):
        exact = sum(
            (abs(Fraction(a) * Fraction(b)) for a, b in zip(left[row].tolist(), right[column].tolist(), strict=True)),
            Fraction(),
        )
        seen = found[row, column].item()
        if not np.isfinite(seen):
            assert exact > Fraction(1e308)
            continue
        lost = Fraction(terms + 1, 2**1074) + exact * Fraction(terms, 2**52)  # of a product in float64
        assert exact - lost <= Fraction(seen) <= exact * (1 + Fraction(slack)) + lost


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (2, 3, 4)])
def test_every_rank_of_input_has_an_output_of_its_shape(batch: tuple[int, ...]) -> None:
    exact = linear.affine(torch.ones(*batch, 5), torch.ones(7, 5), torch.ones(7))

    assert exact.total.shape == (*batch, 7)
    assert linear.accumulated(exact, torch.float16, torch.float32, 8.0).bound.shape == (*batch, 7)


def test_the_bound_of_one_term_is_two_roundings() -> None:
    """One product of 1: rounding it to float16 costs u, the float32 sum at most γ_1; no bias, no second dtype."""
    one = torch.ones(1, 1, dtype=torch.float64)
    bound = linear.accumulated(linear.affine(one, one, None), torch.float16, torch.float16, CERTAIN).bound.item()

    assert bound == pytest.approx(2**-11 + 2**-24, rel=1e-3)


def test_a_sum_that_cancels_keeps_the_bound_of_its_terms() -> None:
    """1 - 1 = 0 exactly, but each term may have been rounded: γ_2 of the magnitude 2, not of the total 0."""
    exact = linear.affine(torch.tensor([[1.0, -1.0]]).double(), torch.ones(1, 2, dtype=torch.float64), None)
    bound = linear.accumulated(exact, torch.float32, torch.float32, CERTAIN).bound.item()

    assert exact.total.item() == 0
    assert bound == pytest.approx(gamma(2, 2**-24) * 2, rel=1e-6)


def test_a_bias_and_another_output_dtype_cost_a_rounding_each() -> None:
    """Adding the bias after the sum was rounded, and casting the result, round once more."""
    one = torch.ones(1, 1, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    plain = linear.accumulated(linear.affine(one, one, None), torch.bfloat16, torch.bfloat16, 8.0).bound.item()
    biased = linear.accumulated(linear.affine(one, one, zero), torch.bfloat16, torch.bfloat16, 8.0).bound.item()
    cast = linear.accumulated(linear.affine(one, one, None), torch.bfloat16, torch.float16, 8.0).bound.item()

    assert biased - plain == pytest.approx(2**-8, rel=1e-3)
    assert cast - plain == pytest.approx(2**-11, rel=1e-2)


@given(seed=seeds, terms=st.integers(1, 80))
def test_no_order_of_float32_sums_exceeds_the_bound(seed: int, terms: int) -> None:
    """Term by term in a random order, bias last: the deterministic bound is a theorem."""
    x, weight, bias = operands(seed, 3, terms, 4)
    order = np.random.default_rng(seed + 1).permutation(terms)
    seen = summed_in(np.float32, x, weight, order) + bias.float()
    model = linear.accumulated(linear.affine(x, weight, bias), torch.float32, torch.float32, CERTAIN)

    assert ((seen.double() - model.expected).abs() <= model.bound).all()


@given(seed=seeds, terms=st.integers(1, 80), dtype=st.sampled_from((torch.float16, torch.bfloat16)))
def test_rounding_the_sum_to_16_bits_stays_within_the_bound(seed: int, terms: int, dtype: torch.dtype) -> None:
    x, weight, bias = operands(seed, 3, terms, 4)
    summed = summed_in(np.float32, x, weight, np.arange(terms))
    model = linear.accumulated(linear.affine(x, weight, bias), dtype, dtype, CERTAIN)

    for seen in ((summed + bias.float()).to(dtype), summed.to(dtype) + bias.to(dtype)):
        assert ((seen.double() - model.expected).abs() <= model.bound).all()


def test_accumulating_in_16_bits_exceeds_the_bound() -> None:
    """A kernel that sums 512 terms in float16 is what the bound is there to see."""
    x, weight, _ = operands(0, 4, 512, 8)
    seen = summed_in(np.float16, x, weight, np.arange(512))
    model = linear.accumulated(linear.affine(x, weight, None), torch.float16, torch.float16, 8.0)

    assert ((seen.double() - model.expected).abs() > model.bound).any()


@given(seed=seeds, exponent=st.integers(-6, 6))
def test_products_and_bounds_scale_with_powers_of_two(seed: int, exponent: int) -> None:
    """In float32, whose subnormals are too small to matter here."""
    x, weight, bias = operands(seed, 2, 9, 3)
    factor = 2.0**exponent
    here = linear.accumulated(linear.affine(x, weight, bias), torch.float32, torch.float32, 8.0)
    there = linear.accumulated(linear.affine(x * factor, weight, bias * factor), torch.float32, torch.float32, 8.0)

    assert torch.equal(there.expected, here.expected * factor)
    assert torch.allclose(there.bound, here.bound * factor, rtol=1e-12, atol=1e-40)


@given(seed=seeds, narrow=st.floats(0, 20), wide=st.floats(0, 20))
def test_the_bound_grows_with_confidence(seed: int, narrow: float, wide: float) -> None:
    x, weight, bias = operands(seed, 2, 20, 3)
    exact = linear.affine(x, weight, bias)
    bounds = [
        linear.accumulated(exact, torch.float32, torch.float32, confidence).bound
        for confidence in sorted((narrow, wide))
    ]

    assert (bounds[0] <= bounds[1]).all()


def test_bias_gradient_by_hand() -> None:
    """Columns of [[1, 2], [3, -2]] sum to 4 and 0; the zero still has the bound of its magnitudes."""
    model = linear.column_sums(torch.tensor([[1.0, 2.0], [3.0, -2.0]]).double(), torch.float32, torch.float32)

    assert model.expected.tolist() == [4, 0]
    assert model.bound[1].item() == pytest.approx(2 * 2**-24 * 4, rel=1e-6)


def test_bias_gradient_of_a_rank_1_input_is_the_gradient() -> None:
    gradient = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert torch.equal(linear.column_sums(gradient, torch.float32, torch.float32).expected, gradient)


def test_a_gradient_of_rank_3_may_be_rounded_once_more() -> None:
    """Summed over the first dimension, rounded, then over the second: two partial sums of 2 each cost 2u more."""
    flat = linear.column_sums(torch.ones(4, 1, dtype=torch.float64), torch.bfloat16, torch.bfloat16)
    deep = linear.column_sums(torch.ones(2, 2, 1, dtype=torch.float64), torch.bfloat16, torch.bfloat16)

    assert deep.expected.tolist() == flat.expected.tolist() == [4]
    assert (deep.bound - flat.bound).item() == pytest.approx(4 * UNIT_ROUNDOFF[torch.bfloat16], rel=1e-6)


@given(value=st.lists(exact_values, min_size=3, max_size=3))
def test_the_reference_is_the_float32_layer(value: list[float]) -> None:
    """`torch.nn.Linear` itself, with these weights, bit for bit."""
    layer = torch.nn.Linear(3, 2)
    x = torch.tensor([value])
    with torch.no_grad():
        expected = layer(x).double()

    assert torch.equal(linear.reference(x.double(), layer.weight.detach().double(), layer.bias.detach()), expected)


def test_operands_are_rounded_to_the_dtype_of_the_product() -> None:
    """2049 lies between two float16; what the product sees is 2048."""
    assert linear.operand(torch.tensor([2049.0]), torch.float16).item() == 2048
