"""Row-wise int8: rows worked out by hand, outlier columns, ties, and bounds true for every draw."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from accuracy.oracles import int8
from accuracy.oracles.int8 import Stored8bit

TIE_SLACK = 4e-7
half_values = st.floats(-100, 100, width=16)
rows = st.lists(st.lists(half_values, min_size=5, max_size=5), min_size=1, max_size=6).map(torch.tensor)


def test_a_row_coded_by_hand() -> None:
    """With a largest value of 127 a code is the value, rounded; a half goes to the even neighbour."""
    scaled, scales = int8.scaled_rows(torch.tensor([[127.0, -1.0, 2.25, 0.5, 1.5, -2.5]]))

    assert scales.tolist() == [127]
    assert scaled.round().tolist() == [[127, -1, 2, 0, 2, -2]]
    assert int8.near_tie(scaled, TIE_SLACK).tolist() == [[False, False, False, True, True, True]]


def test_weights_pass_through_float16() -> None:
    """1 + 2**-12 is 1 in float16, so the largest value is 1."""
    _, scales = int8.scaled_rows(torch.tensor([[1 + 2**-12, 0.5]]))
    assert scales.tolist() == [1]


def test_a_row_of_zeros_has_codes_and_scale_zero() -> None:
    """127/0 is infinite, and its product with zero NaN: neither may reach a code."""
    scaled, scales = int8.scaled_rows(torch.zeros(2, 3))

    assert scales.tolist() == [0, 0]
    assert not scaled.any()


def test_decoding_by_hand() -> None:
    """Codes 127, -127 and 0 mean the scale, its negative and zero; 64 means 64/127 of it."""
    stored = Stored8bit(codes=torch.tensor([[127, -127, 0, 64]], dtype=torch.int8), scales=torch.tensor([2.0]))
    expected = [[2, -2, 0, 128 / 127]]

    assert int8.decode(stored, torch.float32)[0].tolist() == pytest.approx(expected[0], rel=2e-7)
    assert int8.decode_float32(stored)[0].tolist() == pytest.approx(expected[0], rel=2e-7)
    assert int8.decode(stored, torch.float16).tolist() == [[2, -2, 0, torch.tensor(128 / 127).half().item()]]


def test_the_scale_is_rounded_before_the_codes_in_training_and_after_them_for_outliers() -> None:
    """fl(q·fl(S/127)) and fl(fl(q·S)/127) differ in the last bit for some codes; each kernel has its own."""
    stored = Stored8bit(
        codes=torch.arange(-127, 128, dtype=torch.int8).reshape(1, -1), scales=torch.tensor([1.2345678])
    )
    difference = int8.decode(stored, torch.float32) - int8.decode_float32(stored)

    assert difference.any()
    assert difference.abs().max().item() <= 2**-23


@given(values=rows)
def test_the_decoded_row_is_within_half_a_step(values: Tensor) -> None:
    """Half a step, and a few float32 roundings of up to 127 steps."""
    scaled, scales = int8.scaled_rows(values)
    stored = Stored8bit(codes=scaled.round().to(torch.int8), scales=scales)
    step = scales.double().unsqueeze(1) / 127
    error = (int8.decode_float32(stored) - values.double()).abs()

    assert (error <= step * (0.5 + 4 * 127 * 2**-24)).all()


@given(values=rows, exponent=st.integers(-3, 3))
def test_codes_ignore_powers_of_two(values: Tensor, exponent: int) -> None:
    """Scaling by a power of two is exact among normal float16 numbers: the scale takes it, the codes do not."""
    values = values.masked_fill(values.abs() < 2**-10, 0)
    scaled, scales = int8.scaled_rows(values)
    scaled_more, scales_more = int8.scaled_rows(values * 2.0**exponent)

    assert torch.equal(scaled_more, scaled)
    assert torch.equal(scales_more, scales * 2.0**exponent)


def test_outlier_columns_by_hand() -> None:
    """Threshold 6: column 1 has an 8, so it leaves the codes; its 3 in row 1 still sets that row's scale."""
    quantized = int8.quantize_rows(torch.tensor([[1.0, 8.0, -0.5], [0.5, 3.0, 1.5]]), 6.0, TIE_SLACK)

    assert quantized.outliers.tolist() == [False, True, False]
    assert quantized.scales.tolist() == [1, 3]
    assert quantized.codes.tolist() == [[127, 0, -64], [21, 0, 64]]
    assert quantized.ties.tolist() == [[False, False, True], [False, False, True]]


@pytest.mark.parametrize(("value", "is_outlier"), [(6.0, True), (-6.0, True), (5.996, False)])
def test_a_value_at_the_threshold_is_an_outlier(*, value: float, is_outlier: bool) -> None:
    """5.996 is the float16 before 6."""
    quantized = int8.quantize_rows(torch.tensor([[1.0, value]]), 6.0, TIE_SLACK)
    assert quantized.outliers.tolist() == [False, is_outlier]


def test_threshold_zero_turns_outliers_off() -> None:
    quantized = int8.quantize_rows(torch.tensor([[1.0, 100.0]]), 0.0, TIE_SLACK)

    assert not quantized.outliers.any()
    assert quantized.codes.tolist() == [[1, 127]]


def test_rows_of_outliers_alone_have_no_codes() -> None:
    """Every value above the threshold: nothing is left to quantize, and 0/0 does not reach a code."""
    quantized = int8.quantize_rows(torch.tensor([[7.0, -9.0]]), 6.0, TIE_SLACK)

    assert quantized.scales.tolist() == [0]
    assert quantized.codes.tolist() == [[0, 0]]


@given(values=rows, threshold=st.floats(0.125, 50, width=16))
def test_rows_do_not_see_each_other_outside_outlier_columns(values: Tensor, threshold: float) -> None:
    """Outlier columns depend on the whole batch, all else on one row."""
    whole = int8.quantize_rows(values, threshold, TIE_SLACK)
    for number, row in enumerate(values):
        alone = int8.quantize_rows(row.unsqueeze(0), threshold, TIE_SLACK)
        assert torch.equal(alone.scales, whole.scales[number : number + 1])
        assert torch.equal(alone.codes[0, ~whole.outliers], whole.codes[number, ~whole.outliers])


def test_a_product_of_columns_by_hand() -> None:
    """One column on either side, each value ±its largest: 2·3 - 2·3 = 0, with magnitudes 6 + 6 = 12."""
    value, magnitude = int8.product(torch.tensor([[2.0], [-2.0]]), torch.tensor([[3.0], [3.0]]))

    assert value.tolist() == [[0]]
    assert magnitude.tolist() == [[12]]


@given(left=rows)
def test_a_product_of_columns_is_close_to_the_product(left: Tensor) -> None:
    """Each operand is within half a step of its column, so the product is within what that can move."""
    value, _ = int8.product(left, left)
    exact = left.double().T @ left.double()
    step = left.double().abs().amax(dim=0) / 254 * 1.001
    total = left.double().abs().sum(dim=0)
    moved = step[:, None] * total + total[:, None] * step + len(left) * step[:, None] * step

    assert ((value - exact).abs() <= moved + 1e-300).all()
