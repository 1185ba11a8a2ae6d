"""The library's warnings are counted once, by whichever way they come, and nobody else's are."""

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from accuracy.upstream.facts import agreed, placed, present, raised
from accuracy.upstream.messages import recorded, times

LOGGER = logging.getLogger("bitsandbytes.nn.modules")


def test_a_record_and_a_warning_count_alike() -> None:
    """Older releases warn, newer ones log."""
    for say in (LOGGER.warning, warnings.warn):
        with recorded() as said:
            say("slow inference.")
        assert said == {"slow inference.": 1}


def test_a_message_that_comes_both_ways_counts_once() -> None:
    with recorded() as said:
        for _ in range(3):
            LOGGER.warning("slow inference.")
            warnings.warn("slow inference.", UserWarning, stacklevel=1)
    assert said == {"slow inference.": 3}


def test_every_time_counts_wherever_python_would_count_once() -> None:
    """By default Python shows a warning of one line once, and logging knows no such rule."""
    with recorded() as said:
        for _ in range(4):
            warnings.warn("slow inference.", UserWarning, stacklevel=1)
    assert said == {"slow inference.": 4}


def test_what_others_say_does_not_count() -> None:
    """Another logger, torch's own warnings from the library's lines, other categories, and what is no warning."""
    with recorded() as said:
        logging.getLogger("torch").warning("slow inference.")
        logging.getLogger("bitsandbytes_like").warning("slow inference.")
        LOGGER.info("slow inference.")
        warnings.warn("inference is slow (Triggered internally at x.cpp:1.)", UserWarning, stacklevel=1)
        warnings.warn("old inference", DeprecationWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert said == Counter()


def test_a_message_on_another_subject_counts_if_it_is_the_librarys() -> None:
    with recorded() as said:
        LOGGER.warning("weights are %s", "odd")
        warnings.warn_explicit("weights are odd too", UserWarning, "/x/bitsandbytes/nn/modules.py", 1)
    assert set(said) == {"weights are odd", "weights are odd too"}


@contextmanager
def quiet(level: int) -> Iterator[None]:
    before = LOGGER.level
    LOGGER.setLevel(level)
    try:
        yield
    finally:
        LOGGER.setLevel(before)


def test_a_logger_that_was_turned_down_is_heard_and_left_as_it_was() -> None:
    handlers = list(LOGGER.handlers)
    with quiet(logging.CRITICAL):
        with recorded() as said:
            LOGGER.warning("slow inference.")
        assert LOGGER.level == logging.CRITICAL

    assert said == {"slow inference.": 1}
    assert LOGGER.handlers == handlers


def test_a_logger_that_hands_nothing_on_is_heard() -> None:
    """And one that does hands its records on to us twice, which counts once."""
    LOGGER.propagate = False
    try:
        with recorded() as said:
            LOGGER.warning("slow inference.")
    finally:
        LOGGER.propagate = True
    assert said == {"slow inference.": 1}


def test_loggers_are_left_as_they_were_after_an_exception() -> None:
    handlers = list(LOGGER.handlers)
    with pytest.raises(ZeroDivisionError), recorded():
        _ = 1 / 0
    assert LOGGER.handlers == handlers


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "never"),
        ({"other": 5}, "never"),
        ({"slow inference.": 1}, "once"),
        ({"slow inference.": 10}, "once each"),
        ({"slow inference.": 9}, "9 times"),
        ({"slow inference.": 20}, "20 times"),
        ({"slow inference.": 1, "very slow inference.": 1}, "2 different"),
    ],
)
def test_how_often_in_words(said: dict[str, int], words: str) -> None:
    """Of ten layers: one message lost or one said twice is neither once nor once each."""
    assert times(Counter(said), r"inference\.", 10) == words


def test_facts_in_words() -> None:
    def fails() -> None:
        raise NotImplementedError

    assert placed(None) == "none"
    assert (present(None), present(0)) == ("not set", "set")
    assert agreed(["a", "a"]) == "a"
    assert agreed(["a", "b", "a"]) == "a, then b"
    assert agreed([]) == "never seen"
    assert (raised(fails), raised(list)) == ("NotImplementedError", "nothing")
