"""How far a run is, as plain lines on stderr."""

import pytest

from accuracy import progress
from accuracy.record import Progress, summed


def at(seconds: float, done: int, waits: str = "") -> Progress:
    return Progress(done=done, total=100, resumed=0, seconds=seconds, silent=10.0 if waits else 0.0, waits=waits)


def test_a_line_every_ten_seconds_and_one_that_says_what_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown() as show:
        for now in (at(0.0, 0), at(4.0, 20), at(10.0, 40), at(20.0, 40, "cuda: 8 working, the longest for 10 of 60 s")):
            show(now)
        show(at(20.1, 40, "cuda: the same of another library"))
        show(at(40.0, 100))

    assert capsys.readouterr().err.splitlines() == [
        "0/100 cases, 0/s, time left unknown",
        "40/100 cases, 4/s, 15 s left",
        "40/100 cases, nothing new for 10 s (cuda: 8 working, the longest for 10 of 60 s)",
        "100/100 cases, 2/s, 0 s left",
    ]


def test_two_libraries_side_by_side_wait_when_both_do() -> None:
    told: list[Progress] = []
    one, other = summed(told.append, 2)
    one(at(1.0, 1))
    other(at(1.0, 1))
    one(at(20.0, 1, "cpu: 1 starting"))
    other(at(20.1, 1, "cpu: importing"))

    assert [(now.done, now.waits) for now in told] == [(2, ""), (2, ""), (2, "cpu: 1 starting; cpu: importing")]
