"""How far ahead workers are given tasks."""

import pytest

from accuracy.pace import DEPTH, PAUSE, Pace


@pytest.mark.parametrize(
    ("pace", "waiting", "workers", "tasks"),
    [
        (Pace(), 1000, 2, 2),  # nothing is known yet
        (Pace(answered=10, seconds=10 * PAUSE), 1000, 2, DEPTH),
        (Pace(answered=50, seconds=10 * PAUSE), 1000, 2, 5 * DEPTH),
        (Pace(answered=10, seconds=600.0), 1000, 2, 2),  # one to do and one to follow, however long they take
        (Pace(answered=50, seconds=10 * PAUSE), 20, 2, 5),  # a quarter of what waits, for each of two
        (Pace(answered=10, seconds=600.0), 5, 2, 2),
        (Pace(answered=10, seconds=600.0), 4, 2, 1),  # two for each are all
        (Pace(), 1, 2, 1),
        (Pace(), 0, 0, 1),
    ],
)
def test_a_worker_has_enough_for_some_pauses_and_no_more_than_its_part(
    pace: Pace, waiting: int, workers: int, tasks: int
) -> None:
    assert pace.depth(waiting, workers) == tasks


def test_answers_may_lie_where_what_is_left_lasts_for_two_pauses() -> None:
    pace = Pace()
    assert not pace.lasts(100)  # who knows
    for seconds in (PAUSE, 3 * PAUSE):  # two pauses in the mean
        pace.note(seconds)
    assert not pace.lasts(0)
    assert not pace.lasts(1)
    assert pace.lasts(2)
