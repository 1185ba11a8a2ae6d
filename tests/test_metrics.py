"""Error metrics against arbitrary precision, and what never passes: NaN, nothing, a wrong shape, a wrong class."""

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import product
from typing import Any

import mpmath  # type: ignore[import-untyped]  # it has no stubs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from accuracy import histogram, metrics, sent, tally, totals
from accuracy.case import Observation, Stage
from accuracy.comparison import Comparison, Model, exact
from accuracy.rows import DEFAULTS
from accuracy.tally import Tally

values = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)
pairs = st.lists(st.tuples(values, values), min_size=1, max_size=30)
CLASSES = {"finite": 1.0, "inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def tensor(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def columns(pair: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    return tensor(*(one for one, _ in pair)), tensor(*(other for _, other in pair))


def comparison(
    actual: Tensor,
    expected: Tensor,
    *,
    bound: float = 1.0,
    dtype: torch.dtype = torch.float32,
    lower: Callable[[], list[tuple[str, Model]]] | None = None,
    oracle: Tensor | None = None,
) -> Comparison:
    whole = torch.full_like(expected, bound)
    return Comparison(
        stage=Stage.COMPUTE,
        quantity="output",
        actual=actual,
        dtype=dtype,
        model=Model(expected=expected, bound=whole, scale=torch.zeros_like(expected)),
        basis="exact",
        lower=lower,
        oracle=oracle,
    )


def described(actual: Tensor, expected: Tensor, **options: Any) -> dict[str, Any]:
    return metrics.describe(comparison(actual, expected, **options))


def counted(row: dict[str, Any], which: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """A histogram of a row, bins and counts."""
    return sent.array(row[f"{which}_bins"]), sent.array(row[f"{which}_counts"])


def told(error: Tensor, expected: Tensor, *, bound: Tensor | None = None, scale: Tensor | None = None) -> Tally:
    """The tally of these errors, by default under bounds of 1 and scales of 0."""
    found = tally.block(
        tally.array(error),
        tally.array(expected),
        tally.array(torch.ones_like(error) if bound is None else bound),
        tally.array(torch.zeros_like(error) if scale is None else scale),
        below=math.inf,
        dtype=torch.float16,
    )
    assert found
    return found.told


def test_sqnr_of_a_known_error() -> None:
    """Signal 1, noise a tenth of it in amplitude: 20 dB, worked out by hand."""
    assert totals.sqnr_db(told(tensor(0.0, 0.1), tensor(1.0, 0.0))) == pytest.approx(20.0)


def test_ratios_at_the_edges() -> None:
    """Exact agreement is perfect even of nothing; an error on a zero signal has no finite ratio."""
    zero, one = tensor(0.0), tensor(1.0)

    assert totals.relative_frobenius(told(zero, zero)) == 0
    assert totals.relative_frobenius(told(one, zero)) == math.inf
    assert totals.sqnr_db(told(zero, one)) == math.inf
    assert totals.sqnr_db(told(one, zero)) == -math.inf
    assert totals.slope(told(zero, one)) == totals.slope(told(one, zero)) == (0, 0)
    assert totals.mean_z(told(zero, one)) == 0
    assert [
        told(tensor(error), one, bound=tensor(bound)).ratio
        for error, bound in ((0.0, 0.0), (0.0, 1.0), (0.0, math.nan), (1e-300, 0.0), (-3.0, 2.0), (1.0, math.inf))
    ] == [0, 0, 0, math.inf, 1.5, 0]


def test_errors_in_ulps_by_hand() -> None:
    """Float16 at 1 has a spacing of 2**-10, at 1000 of a half, and below its normal numbers of 2**-24."""
    for error, expected, ulps in (
        (2**-11, 1.0, 0.5),
        (0.5, 1000.0, 1),
        (-1.0, 1000.0, 2),
        (2**-24, 0.0, 1),
        (2**-25, -(2.0**-20), 0.5),
        (1.0, 1023.9999, 2),
        (1.0, -1024.0, 1),
    ):
        assert told(tensor(error), tensor(expected)).ulps == ulps


def test_the_safe_relative_error_does_not_explode_by_cancellation() -> None:
    """Expected 0 where terms of size 1 cancelled: the scale takes the place of the value."""
    for error, expected, scale, relative in ((1e-7, 0.0, 1e-7, 1), (0.5, 2.0, 1e-7, 0.25), (0.0, 0.0, 0.0, 0)):
        assert told(tensor(error), tensor(expected), scale=tensor(scale)).relative == relative


@given(pairs)
def test_norms_slope_and_mean_against_arbitrary_precision(pair: list[tuple[float, float]]) -> None:
    """Each in 60 digits, from the formula in its docstring."""
    sums = told(*columns(pair))
    with mpmath.workdps(60):
        e, y = [mpmath.mpf(one) for one, _ in pair], [mpmath.mpf(other) for _, other in pair]
        products = [a * b for a, b in zip(e, y, strict=True)]
        noise, signal, spread = (mpmath.sqrt(mpmath.fsum(part, squared=True)) for part in (e, y, products))
        total, cross = mpmath.fsum(e), mpmath.fsum(products)
        lost, lost_products = (float(mpmath.fsum(part, absolute=True)) * 1e-14 for part in (e, products))

    if noise and signal:
        assert totals.relative_frobenius(sums) == pytest.approx(float(noise / signal), rel=1e-12)
        assert totals.sqnr_db(sums) == pytest.approx(float(-20 * mpmath.log10(noise / signal)), abs=1e-9)
    if noise:
        assert totals.mean_z(sums) * float(noise) == pytest.approx(float(total), rel=1e-12, abs=lost)
    if spread:
        beta, z = totals.slope(sums)
        assert beta * float(signal) ** 2 == pytest.approx(float(cross), rel=1e-12, abs=lost_products)
        assert z * float(spread) == pytest.approx(float(cross), rel=1e-12, abs=lost_products)


@given(pair=pairs, exponent=st.integers(-30, 30))
def test_relative_metrics_ignore_a_common_scale(pair: list[tuple[float, float]], exponent: int) -> None:
    """Scaling by a power of two is exact, so no ratio may move by a bit."""
    error, expected = columns(pair)
    factor = 2.0**exponent
    one = told(error, expected, scale=expected.abs())
    other = told(error * factor, expected * factor, scale=expected.abs() * factor)

    assert totals.relative_frobenius(other) == totals.relative_frobenius(one)
    assert totals.slope(other) == totals.slope(one)
    assert totals.mean_z(other) == totals.mean_z(one)
    assert (other.kappa, other.relative) == (one.kappa, one.relative)


def test_a_common_scale_fault_is_seen_by_its_slope() -> None:
    """1000 outputs a part in 1e6 too large, far below a float16 ulp: β says 1e-6, and is sure of it."""
    expected = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    beta, z = totals.slope(told(expected * 1e-6, expected))

    assert beta == pytest.approx(1e-6)
    assert z > 7


def test_truncation_is_seen_by_its_mean() -> None:
    """Errors that all point down: n equal errors give z = -√n."""
    errors = torch.full((400,), -1e-9, dtype=torch.float64)
    assert totals.mean_z(told(errors, torch.ones_like(errors))) == pytest.approx(-20)


@pytest.mark.parametrize(("seen", "wanted"), list(product(CLASSES, CLASSES)))
def test_the_confusion_of_special_values_is_diagonal(seen: str, wanted: str) -> None:
    """Four classes seen, four wanted: only the right class passes, whatever the bound."""
    row = described(tensor(CLASSES[seen]), tensor(CLASSES[wanted]), bound=1e30)

    assert row["special_mismatch"] == (seen != wanted)
    assert row["ratio"] == (0 if seen == wanted else math.inf)
    assert ("wrong class" in row.get("observed", "")) == (seen != wanted)


@pytest.mark.parametrize(
    ("actual", "expected", "bound", "right"),
    [
        (math.inf, 65520.0, 0.0, True),
        (65504.0, 65520.0, 0.0, False),
        (math.inf, 65519.0, 0.0, False),
        (65504.0, 65519.0, 20.0, True),
        (math.inf, 65519.0, 20.0, True),
        (-math.inf, 65530.0, 20.0, False),
        (-math.inf, -65600.0, 20.0, True),
        (65504.0, 65600.0, 20.0, False),
        (math.nan, 65600.0, 1e9, False),
        (-math.inf, 40000.0, 105520.0, True),
        (-math.inf, 40000.0, 105519.0, False),
        (math.inf, -40000.0, 105520.0, True),
        (0.0, 40000.0, 105520.0, True),
    ],
)
def test_overflow_of_float16_by_hand(*, actual: float, expected: float, bound: float, right: bool) -> None:
    """From 65520 on infinity is right; between 65520 ± bound either; the interval must reach the sign's side."""
    row = described(tensor(actual), tensor(expected), bound=bound, dtype=torch.float16)
    assert (row["ratio"] <= 1) is right


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nan_never_passes(dtype: torch.dtype) -> None:
    """One NaN among a thousand right values."""
    expected = torch.ones(1000, dtype=torch.float64)
    actual = expected.to(dtype)
    actual[617] = math.nan
    row = described(actual, expected)

    assert row["ratio"] == math.inf
    assert json.loads(row["worst"])[0]["index"] == [617]
    assert row["observed"] == "1 of 1000 elements of the wrong class: nan, expected 1.0"


def test_a_bound_that_is_nan_never_passes() -> None:
    """A bound that could not be computed allows for no error."""
    assert not described(tensor(1.5), tensor(1.0), bound=math.nan)["ratio"] <= 1


def test_nothing_never_passes() -> None:
    """Zero elements were compared: NaN, which lies in no interval."""
    assert math.isnan(described(tensor(), tensor())["ratio"])


@pytest.mark.parametrize("shape", [(4,), (1, 4), (2, 2, 1), (1,), (2, 1), ()])
def test_a_wrong_shape_fails_even_where_it_would_broadcast(shape: tuple[int, ...]) -> None:
    """Equal values all over: only the shape is wrong."""
    row = described(torch.ones(shape), torch.ones(2, 2, dtype=torch.float64))

    assert row["ratio"] == math.inf
    assert row["observed"] == f"shape {shape}, expected (2, 2)"


def test_zeros_of_either_sign_are_equal() -> None:
    assert metrics.describe(comparison(tensor(-0.0), tensor(0.0), bound=0.0))["ratio"] == 0


def test_an_exact_value_missed_by_one_bit_fails() -> None:
    """The model of an exact value has a bound of zero."""
    model = exact(tensor(1.0, 1.0))
    missed = Comparison(
        stage=Stage.DECODE,
        quantity="weight",
        actual=torch.tensor([1.0, 1 + 2**-23]),
        dtype=torch.float32,
        model=model,
        basis="exact",
    )
    row = metrics.describe(missed)

    assert row["ratio"] == math.inf
    assert row["ulp_max"] == 1


def test_a_row_by_hand() -> None:
    """Errors 0, ½, -2 and 1 under a bound of 1: the worst is at (1, 0), twice its limit."""
    expected = torch.tensor([[1.0, 2.0], [4.0, 8.0]], dtype=torch.float64)
    row = described(expected + torch.tensor([[0.0, 0.5], [-2.0, 1.0]]), expected)

    assert row["count"] == 4
    assert row["ratio"] == 2
    assert row["limit"] == 1
    assert (row["abs_mean"], row["abs_max"]) == (0.875, 2)
    assert row["rel_max"] == 0.5
    assert row["rel_fro"] == pytest.approx(math.sqrt(5.25 / 85))
    worst = json.loads(row["worst"])
    assert [element["index"] for element in worst[:3]] == [[1, 0], [1, 1], [0, 1]]
    assert worst[0] == {"index": [1, 0], "actual": 2.0, "expected": 4.0, "limit": 1.0, "ratio": 2.0}


def test_what_json_has_no_number_for_is_a_word() -> None:
    """NaN where 1 is expected has an infinite ratio; the numbers beside it stay numbers."""
    worst = json.loads(described(tensor(2.0, math.nan), tensor(2.0, 1.0))["worst"])

    assert worst[0] == {"index": [1], "actual": "nan", "expected": 1.0, "limit": 1.0, "ratio": "inf"}


def test_at_most_eight_worst_elements_are_kept() -> None:
    errors = torch.arange(100, dtype=torch.float64) / 100
    worst = json.loads(described(errors, torch.zeros(100, dtype=torch.float64))["worst"])

    assert [element["index"] for element in worst] == [[index] for index in range(99, 91, -1)]


def test_elements_without_an_error_are_not_among_the_worst() -> None:
    """The limit beside them is then that of the first element."""
    row = described(tensor(1.0, 2.0), tensor(1.0, 2.0), bound=0.25)

    assert ((DEFAULTS | row)["worst"], row["limit"]) == ("[]", 0.25)
    assert [element["index"] for element in json.loads(described(tensor(1.0, 2.5), tensor(1.0, 2.0))["worst"])] == [[1]]


def test_a_scalar_has_an_empty_index() -> None:
    row = described(torch.tensor(1.5), torch.tensor(1.0, dtype=torch.float64))
    assert json.loads(row["worst"])[0]["index"] == []


def test_every_metric_has_its_column() -> None:
    """What is described and not stored would be lost without a word."""
    row = described(
        tensor(3.0),
        tensor(1.0),
        lower=lambda: [("half", Model(expected=tensor(3.0), bound=tensor(0.0), scale=tensor(0.0)))],
        oracle=tensor(1.0),
    )
    assert row.keys() <= {field.name for field in fields(Observation)}


@given(pair=pairs, cut=st.integers(0, 30))
def test_histograms_of_two_halves_add_up_to_the_whole(pair: list[tuple[float, float]], cut: int) -> None:
    """Errors are counted bin by bin, so it does not matter how elements were split among rows."""
    actual, expected = columns(pair)
    whole, left, right = (
        described(actual[part], expected[part]) for part in (slice(None), slice(cut), slice(cut, None))
    )
    parts = [counted(half, "abs") for half in (left, right) if "abs_bins" in half]
    bins, counts = histogram.merge(parts)

    assert (bins.tolist(), counts.tolist()) == tuple(part.tolist() for part in counted(whole, "abs"))
    assert counted(whole, "ratio")[1].sum() == len(pair)


def test_special_values_are_left_out_of_every_error() -> None:
    """An infinity that is right adds nothing to norms and histograms; the finite error beside it does."""
    row = described(tensor(math.inf, 1.5), tensor(math.inf, 1.0))

    assert row["ratio"] == 0.5
    assert row["abs_max"] == 0.5
    assert counted(row, "abs")[1].sum() == 1


def lower_model(expected: float, bound: float) -> Callable[[], list[tuple[str, Model]]]:
    return lambda: [("half", Model(expected=tensor(expected), bound=tensor(bound), scale=tensor(0.0)))]


@pytest.mark.parametrize(
    ("actual", "lower", "ratio"),
    [(3.0, (3.05, 0.1), 0.5), (3.0, (4.0, 0.1), 10.0), (math.nan, (1.0, 9.0), math.inf), (2.5, (2.5, 0.1), 0.0)],
)
def test_a_lower_precision_explains_only_what_it_predicts(
    actual: float, lower: tuple[float, float], ratio: float
) -> None:
    """It has to predict value and class itself, within its own bound."""
    row = described(tensor(actual), tensor(1.0), lower=lower_model(*lower))

    assert row["lower"] == "half"
    assert row["lower_ratio"] == pytest.approx(ratio)


def test_of_two_lower_precisions_the_nearer_one_is_named() -> None:
    """Whichever is tried first."""
    row = described(tensor(3.0), tensor(1.0), lower=lambda: [*lower_model(3.5, 0.1)(), *lower_model(3.05, 0.1)()])

    assert (row["lower"], row["lower_ratio"]) == ("half", pytest.approx(0.5))


def test_what_holds_and_leaves_no_structure_needs_no_other_model() -> None:
    """A model of a lower precision may cost more than all the rest."""

    def never() -> list[tuple[str, Model]]:
        raise AssertionError("asked for")

    assert "lower" not in described(tensor(1.0), tensor(1.0), lower=never)


def test_what_has_no_lower_precision_is_explained_by_none() -> None:
    assert "lower" not in described(tensor(3.0), tensor(1.0))


@pytest.mark.parametrize(("outliers", "ratio"), [(0, 6.0), (1, 5.0), (2, 2.0), (3, 0.0)])
def test_outliers_are_left_out_of_each_entry_of_the_first_dimension(*, outliers: int, ratio: float) -> None:
    """Two comparisons of three elements: the worst of the second largest ratios is 5, of the third largest 2."""
    error = tensor(3.0, -6.0, 2.0, 1.0, 5.0, 5.0).reshape(2, 3)
    allowing = replace(comparison(error, torch.zeros(2, 3, dtype=torch.float64)), outliers=outliers)

    assert metrics.describe(allowing)["ratio"] == ratio


@given(
    st.lists(st.lists(st.sampled_from((0.0, 1.0, -2.0, 3.0)), min_size=4, max_size=4), min_size=1, max_size=6),
    st.integers(0, 3),
)
def test_the_ratio_beyond_outliers_is_the_largest_of_its_rank(errors: list[list[float]], outliers: int) -> None:
    """Of each entry the one so far from its largest, with entries that are alike and elements that have no error."""
    flat = tensor(*(error for entry in errors for error in entry)).reshape(-1, 4)
    allowing = replace(comparison(flat, torch.zeros_like(flat)), outliers=outliers)

    assert metrics.describe(allowing)["ratio"] == max(sorted(map(abs, entry))[-1 - outliers] for entry in errors)


def test_the_ratio_beyond_outliers_is_found_beyond_the_worst_that_are_kept() -> None:
    """Twelve entries whose largest are the eight worst and more: the second largest of all is in none of these."""
    error = tensor(*range(1, 25)).reshape(12, 2).flip(0)
    error[:, 1] = 0.25
    allowing = replace(comparison(error, torch.zeros_like(error)), outliers=1)

    assert metrics.describe(allowing)["ratio"] == 0.25


def test_no_outlier_may_be_nan() -> None:
    """A tolerance for one element far away is none for one that is no number."""
    allowing = replace(comparison(tensor(1.0, math.nan).reshape(1, 2), torch.zeros(1, 2).double()), outliers=1)
    assert metrics.describe(allowing)["ratio"] == math.inf


def test_an_infinity_that_is_wanted_is_no_outlier() -> None:
    """Its error has no size, so it takes no place from those that have."""
    infinite = tensor(math.inf, 3.0, 0.0).reshape(1, 3)
    allowing = replace(comparison(infinite, tensor(math.inf, 0.0, 0.0).reshape(1, 3)), outliers=1)
    assert metrics.describe(allowing)["ratio"] == 0.0


@given(pairs)
def test_the_two_terms_of_the_total_error_add_up(pair: list[tuple[float, float]]) -> None:
    """(out - reference) = (out - oracle) + (oracle - reference) holds to float64 rounding, by columns and norms."""
    actual, expected = columns(pair)
    oracle = (actual + expected) / 3
    row = described(actual, expected, oracle=oracle)

    assert row["identity_error"] <= 1e-15
    assert row["total_fro"] == pytest.approx((actual - expected).norm().item())
    assert row["total_fro"] <= row["compute_fro"] + row["quantization_fro"] + 1e-9
