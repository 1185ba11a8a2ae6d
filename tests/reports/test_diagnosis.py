"""Causes come back from another process as they were found there."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import data
import pytest

from reports import aside, diagnosis, frames


def shown(found: Sequence[diagnosis.Diagnosis]) -> list[str]:
    """All but what has no order."""
    return [repr(replace(each.cause, members=frozenset())) for each in found]


@pytest.mark.parametrize("made", [data.failing, data.nan_storm, data.all_pass])
def test_causes_and_scripts_survive_their_way_through_json(made: Callable[..., data.Run]) -> None:
    """All fields, with their types: conditions on text, truth and numbers, no condition, no cause."""
    run = made(per_case=40)
    prepared = frames.prepare(run.manifest, run.observations, run.verdicts)
    found = diagnosis.find(prepared, run.manifest, run.observations, (), "RUN")
    again = diagnosis.read(diagnosis.text(found))

    assert again == found
    assert shown(again) == shown(found)  # True is not 1


def test_a_fork_has_what_this_process_has_and_gives_its_answer() -> None:
    words = ["däta"] * 50_000  # more than a pipe holds
    answer = aside.forked(lambda: f"{os.getpid()} {' '.join(words)}")()
    number, *rest = answer.split(" ")

    assert rest == words
    assert (int(number) == os.getpid()) == (len(os.sched_getaffinity(0)) == 1)


def test_what_a_fork_dies_of_is_met_here() -> None:
    """Killed, the work is done here; raised, it is raised here as well."""
    here = os.getpid()

    def killed() -> str:
        if os.getpid() != here:
            os.kill(os.getpid(), 9)
        return "done"

    def wrong() -> str:
        raise ValueError("no such case")

    assert aside.forked(killed)() == "done"
    with pytest.raises(ValueError, match="no such case"):
        aside.forked(wrong)()
