"""Change points: worked-out splits, planted shifts, and no more false alarms than are stated."""

import math

import numpy as np
import pytest

from accuracy import trend


def test_the_split_and_its_chance_by_hand() -> None:
    """1 2 3 | 7 8 9: every pair across is in order, so K is 9, and the bound 2 exp(-6 · 81 / 252)."""
    chance = trend.pettitt(np.array([1.0, 3.0, 2.0, 9.0, 7.0, 8.0]))

    assert chance == pytest.approx(2 * math.exp(-6 * 81 / (216 + 36)))


def test_ties_count_for_neither_side() -> None:
    assert trend.pettitt(np.ones(40)) == 1.0
    assert trend.change_points([0.0] * 40, series=1) == ()


@pytest.mark.parametrize("place", [20, 30, 45])
@pytest.mark.parametrize("seed", range(5))
def test_a_planted_shift_is_named_to_the_night(place: int, seed: int) -> None:
    """A quarter more from some night on, against a spread of 3 %: the night itself is named."""
    rng = np.random.default_rng(seed)
    level = np.where(np.arange(60) < place, 0.4, 0.5)

    assert trend.change_points(list(level * np.exp(rng.normal(0, 0.03, 60))), series=100) == (place,)


def test_there_and_back_are_two_changes() -> None:
    rng = np.random.default_rng(1)
    level = np.repeat([0.4, 0.6, 0.4], 40)

    assert trend.change_points(list(level * np.exp(rng.normal(0, 0.05, 120))), series=20) == (40, 80)


def test_what_is_no_number_is_a_higher_level() -> None:
    """NaN from some night on is a change like any other."""
    assert trend.change_points([0.5] * 30 + [math.nan] * 30, series=100) == (30,)
    assert trend.change_points([0.5] * 30 + [math.inf] * 30, series=100) == (30,)


@pytest.mark.parametrize(("nights", "series"), [(10, 1), (40, 20), (120, 20)])
def test_false_alarms_stay_below_the_stated_rate(nights: int, series: int) -> None:
    """Pages of series without any shift, heavy-tailed: at most one in a hundred names one.

    2,000 pages: a true rate of 1 % gives more than 1.7 % with a probability of 0.002.
    """
    rng = np.random.default_rng(nights)
    pages = 2000 if series == 1 else 200
    alarms = sum(
        any(trend.change_points(list(rng.standard_cauchy(nights)), series=series) for _ in range(series))
        for _ in range(pages)
    )

    assert alarms <= 0.017 * pages


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [math.nan]])
def test_too_short_a_series_has_no_change(values: list[float]) -> None:
    assert trend.change_points(values, series=1) == ()
