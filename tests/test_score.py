"""What a search climbs, against values by hand, and which failures are news."""

import math
from typing import Any

import pytest
from observed import ROW

from accuracy import limits
from accuracy.score import FAILED, Standing, scored, scorer, standing

SCORE = scorer(limits.load())
SCORED = {name: ROW[name] for name in scored(limits.load())}
OUTPUT = ("cpu", "float32", "compute", "output")
COMPLETES = {"stage": "contract", "quantity": "completes", "ratio": 0.0}


def rows(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [SCORED | {"origin": "explored"} | change for change in changes]


@pytest.mark.parametrize(
    ("change", "score"),
    [
        ({"ratio": 0.5}, -1.0),
        ({"ratio": 2.0**-20}, -20.0),
        ({"ratio": 1.0}, 0.0),
        ({"ratio": math.nextafter(1, 2)}, FAILED),
        ({"ratio": math.inf}, FAILED),
        ({"ratio": math.nan}, FAILED),
        ({"status": "crash", "ratio": math.nan}, FAILED),
        ({"status": "timeout", "ratio": math.nan}, FAILED),
        ({"ratio": 300.0, "lower_ratio": 0.25}, -2.0),
        ({"ratio": 300.0, "lower_ratio": 1.5}, FAILED),
        ({"structure_z": 50.0, "ratio": 0.5}, -1.0),
    ],
)
def test_the_score_by_hand(change: dict[str, Any], score: float) -> None:
    """Bits below the limit; whatever fails is one bit above it, and no more the worse it is; a z does not count."""
    assert SCORE(rows(change)) == {OUTPUT: score}


@pytest.mark.parametrize(
    "change", [{"ratio": 0.0}, {"status": "not_supported", "ratio": math.nan}, {"status": "not_run", "ratio": math.nan}]
)
def test_what_is_exact_or_was_not_measured_has_no_score(change: dict[str, Any]) -> None:
    assert SCORE(rows(change)) == {}


def test_an_error_that_an_earlier_stage_must_show_is_its_own() -> None:
    """A wrong decoded weight makes a wrong output in the same task: one finding, not two."""
    decoded = {"stage": "decode", "quantity": "weight", "ratio": math.inf}

    assert SCORE(rows(decoded, {"ratio": 9.0})) == {("cpu", "float32", "decode", "weight"): FAILED}
    assert SCORE(rows(decoded, {"ratio": 9.0, "device": "cpu:avx2"})).keys() >= {("cpu:avx2", *OUTPUT[1:])}


def plan(*changes: dict[str, Any]) -> Standing:
    """What a plan showed whose tasks have one row each."""
    return standing([SCORED | {"id": str(number)} | change for number, change in enumerate(changes)], SCORE)


def test_the_worst_of_the_plan_is_what_there_is_to_beat() -> None:
    """Two bits nearer to the limit than the worst of the plan; what is farther, or in a new cell, gains nothing."""
    known = plan({"ratio": 0.125}, {"ratio": 0.01})

    assert known.worst == {OUTPUT: -3.0}
    assert known.beyond(SCORE(rows({"ratio": 0.5}))) == {OUTPUT: 2.0}
    assert known.beyond(SCORE(rows({"ratio": 0.1}))) == {}
    assert known.beyond(SCORE(rows({"ratio": 0.9, "dtype": "float16"}))) == {}


def test_a_cell_that_fails_in_the_plan_does_not_swallow_the_search() -> None:
    """Its failures are neither news nor a height to climb; its passing rows still count against each other."""
    known = plan({"ratio": 8.0}, {"ratio": 0.25})

    assert known.found(SCORE(rows({"ratio": 8.0}))) == set()
    assert known.beyond(SCORE(rows({"ratio": 8.0}))) == {}
    assert known.beyond(SCORE(rows({"ratio": 0.5}))) == {OUTPUT: 1.0}


def test_a_failure_in_a_cell_that_passed_is_news() -> None:
    known = plan({"ratio": 0.25})

    assert known.found(SCORE(rows({"ratio": math.nan}))) == {OUTPUT}
    assert known.beyond(SCORE(rows({"ratio": math.nan}))) == {}


def test_explored_rows_of_an_earlier_part_are_no_plan() -> None:
    """A run that is resumed finds the same news again."""
    assert plan({"ratio": 8.0, "origin": "explored"}).failing == frozenset()


def test_origins_that_completed_are_told() -> None:
    """One task that ran to its end will do; an exception, a crash or a refusal will not."""
    known = plan(
        COMPLETES | {"origin": "stratum:odd", "ratio": math.inf},
        COMPLETES | {"origin": "stratum:odd"},
        COMPLETES | {"origin": "stratum:raises", "ratio": math.inf},
        COMPLETES | {"origin": "stratum:dies", "ratio": math.nan, "status": "crash"},
        COMPLETES | {"origin": "stratum:refused", "ratio": math.nan, "status": "not_supported"},
    )
    assert known.completed == {"stratum:odd"}
