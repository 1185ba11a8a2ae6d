"""Axes: places, ticks and label fitting."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.axes import LinearAxis, LogAxis, covering, fitted

AXIS = LogAxis(low=1e-4, high=1.0, start=0, end=100)
positive = st.floats(1e-30, 1e30)


def test_a_decade_takes_an_equal_share() -> None:
    """Four decades over a hundred units are 25 units each."""
    assert [AXIS.place(value) for value in (1e-4, 1e-3, 1e-2, 1e-1, 1)] == [0, 25, 50, 75, 100]


@pytest.mark.parametrize(("value", "place"), [(0.0, 0), (1e-9, 0), (5.0, 100), (math.inf, 100), (math.nan, 100)])
def test_what_lies_off_the_axis_is_held_at_its_ends(value: float, place: float) -> None:
    """NaN stands at the far end, where it looks as bad as it is."""
    assert AXIS.place(value) == place


def test_ticks_are_decades_and_keep_one() -> None:
    assert [tick.label for tick in AXIS.ticks(8)] == ["1e−4", "0.001", "0.01", "0.1", "1"]
    thinned = LogAxis(low=1e-9, high=1e3, start=0, end=100).ticks(5)
    assert "1" in [tick.label for tick in thinned]
    assert len(thinned) <= 5


def test_a_short_axis_has_more_than_one_tick() -> None:
    """Within one decade 1, 2 and 5 are marked, or no distance could be read."""
    ticks = LogAxis(low=1.5, high=8, start=0, end=100).ticks(8)
    assert [tick.label for tick in ticks] == ["2", "5"]


@given(values=st.lists(positive, min_size=1, max_size=8), other=positive)
def test_places_keep_the_order_of_values(values: list[float], other: float) -> None:
    """A larger value never lies nearer to the start, and all lie on the axis."""
    axis = covering([*values, other], start=10, end=90)
    places = [axis.place(value) for value in sorted([*values, other])]
    assert places == sorted(places)
    assert 10 <= places[0] <= places[-1] <= 90


def test_an_axis_for_nothing_still_stands() -> None:
    """Zeros, infinities and NaN give no decade; the axis then spans 1 to 10."""
    axis = covering([0.0, math.inf, math.nan], start=0, end=1)
    assert (axis.low, axis.high) == (1, 10)


def test_a_linear_axis_may_point_upwards() -> None:
    axis = LinearAxis(low=0, high=1, start=134, end=14)
    assert [axis.place(share) for share in (0, 0.5, 1, math.nan)] == [134, 74, 14, 14]


@given(text=st.text(max_size=40), width=st.floats(1, 400))
def test_a_fitted_label_is_never_wider_than_its_place(text: str, width: float) -> None:
    """At 0.58 of the size a character; one character always remains."""
    label = fitted(text, width=width, size=10)
    assert len(label) <= max(1, width / 5.8)
    assert label == text or label.endswith("…")
