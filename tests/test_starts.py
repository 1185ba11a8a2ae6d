"""When a start that failed is tried again."""

from accuracy.starts import FIRST_PAUSE_S, LONGEST_PAUSE_S, PATIENCE_S, Starts


def test_what_is_not_busy_is_tried_once_more_at_once() -> None:
    """A library that cannot be imported will not be importable in a minute."""
    starts = Starts()
    assert not starts.fail(100.0, busy=False)
    assert starts.next_at == 100.0
    assert starts.fail(101.0, busy=False)


def test_a_busy_device_is_tried_after_longer_and_longer_pauses_until_patience_ends() -> None:
    """Twice as long each time, up to the longest."""
    starts, now, pauses = Starts(), 100.0, []
    while not starts.fail(now, busy=True):
        pauses.append(starts.next_at - now)
        now = starts.next_at

    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert max(pauses) == pauses[-1] == LONGEST_PAUSE_S
    assert PATIENCE_S <= now - 100.0 <= PATIENCE_S + LONGEST_PAUSE_S


def test_one_start_that_succeeds_ends_the_row() -> None:
    """The next that fails is the first again, and may be tried at once until then."""
    starts = Starts()
    starts.fail(100.0, busy=True)
    starts.succeed()
    assert starts.next_at == 0.0
    assert not starts.fail(500.0, busy=False)
    assert starts.since == 500.0
