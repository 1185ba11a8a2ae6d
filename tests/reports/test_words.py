"""Wording: rounding, units and signs, worked out by hand."""

import math

import pytest

from reports import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (1.0, "1"), (0.0123456, "0.0123"), (1.5e-6, "1.5e−6"), (-2.5, "−2.5"), (12345.6, "12346"),
        (123456.7, "1.23e5"), (999.9, "1000"), (math.inf, "∞"), (-math.inf, "−∞"), (math.nan, "NaN"),
    ],
)  # fmt: skip
def test_a_number_has_three_significant_digits(value: float, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.5, "+1.0"),
        (1.0, "+0.0"),
        (1.0001, "−0.0"),
        (2.0, "−1.0"),
        (0.0, "exact"),
        (math.inf, "−∞"),
        (math.nan, "NaN"),
    ],
)
def test_margin_is_the_binary_logarithm_of_limit_over_error(ratio: float, text: str) -> None:
    """Half the limit is one bit of room; a failure never reads as a positive margin."""
    assert words.margin(ratio) == text


@pytest.mark.parametrize("ratio", [1 + 1e-12, 1.0004, 1.5, math.inf, math.nan])
def test_a_failure_sorts_below_zero(ratio: float) -> None:
    """`margin:<0` must find every failure, however near to the limit."""
    assert words.margin_value(ratio) < 0


def test_a_contract_is_kept_or_broken() -> None:
    assert words.standing("contract", 0.0) == "kept"
    assert words.standing("contract", math.nan) == "broken"
    assert words.standing("decode", math.inf) == "inexact"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (252.4, "4 min 12 s"), (3780, "1 h 03 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("stage", "name", "text"),
    [
        ("compute", "grad_input", "Input gradient"),
        ("encode", "first_codes", "Stored codes (first layer)"),
        ("compute", "kbit_grad_input", "Input gradient (k-bit layer)"),
        ("quantization", "published_grad_bias", "Bias gradient (published tolerance)"),
        ("invariant", "row_order", "Row order"),
    ],
)
def test_quantities_are_named_in_words(stage: str, name: str, text: str) -> None:
    assert words.quantity(stage, name) == text


def test_percent_keeps_two_digits() -> None:
    assert words.percent(0.0199) == "2 %"
    assert words.percent(0.00314) == "0.31 %"
    assert words.percent(1.4e-7) == "1.4e−5 %"


def test_lists_are_joined_as_in_a_sentence() -> None:
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"


def test_what_does_not_show_is_spelled_out() -> None:
    """A right-to-left override would reorder what a reader sees; it becomes its escape."""
    assert words.visible("abc\u202edef") == "abc\\u202edef"
    assert words.visible("\x1b[31m\x00\ud800") == "\\u001b[31m\\u0000\\ud800"
    assert words.visible("grüße ✗ 統") == "grüße ✗ 統"


def test_verdicts_are_ordered_worst_first() -> None:
    """A gap is worse than a warning: nobody has looked there."""
    assert words.worst(["pass", "warn", "not_run"]) == "not_run"
    assert words.verdict_order("fail", math.nan) < words.verdict_order("fail", 1e9) < words.verdict_order("fail", 2)


def test_the_command_to_copy_is_safe_in_a_shell() -> None:
    """A run folder may have any name; pasted into a shell it stays one word."""
    assert words.replay("2026-11-22", "0123456789abcdef") == "accuracy replay 2026-11-22 0123456789abcdef"
    assert words.replay("x; rm -rf ~", "01") == "accuracy replay 'x; rm -rf ~' 01"
