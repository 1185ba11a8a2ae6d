"""Comparisons of runs of different plans: who is held against whom, what a shift replaces, what is said of it."""

from pathlib import Path

import pandas as pd
import pytest
from test_unpaired import larger, run

from accuracy import limits, unpaired
from accuracy.selftest import plant
from bench import power
from bench.power import Planted

BY = limits.load().change
WHERE = Planted(
    shift="twice", case="case1", dtype="float32", stage="compute", quantity="output", words="twice as large"
)


def test_every_run_is_held_against_every_other() -> None:
    """Three runs, six comparisons, no alarm."""
    runs = {seed: unpaired.side(run(seed, cells=3)) for seed in (1, 2, 3)}
    found = list(power.null(runs, BY))

    assert [each.names for each in found] == [(a, b) for a in "123" for b in "123" if a != b]
    assert {each.cells for each in found} == {3}
    assert [each.blocking for each in found] == [()] * 6


def test_candidates_are_held_against_the_nearest_first() -> None:
    """Each once, then each against the one before that."""
    assert power.turned([5, 6, 7]) == [(7, 5), (5, 6), (6, 7), (6, 5), (7, 6), (5, 7)]


def test_a_shift_replaces_the_rows_of_its_cases_alone() -> None:
    """Three cells, one of them measured again with errors twice as large, and seen there."""
    base, candidate = run(1, cells=3), run(2, cells=3)
    again = larger(candidate, 1, 2.0)
    shifted = power.planted_in(candidate, again[again["case"] == "case1"], WHERE)
    change, flagged = power.seen(unpaired.compare(base, shifted, BY), WHERE)

    assert sorted(shifted["id"]) == sorted(candidate["id"])
    pd.testing.assert_frame_equal(
        shifted[shifted["case"] != "case1"].reset_index(drop=True),
        candidate[candidate["case"] != "case1"].reset_index(drop=True),
    )
    assert flagged
    assert change.effect == pytest.approx(0.69, abs=0.05)


def test_scales_make_the_quantization_error_five_percent_larger_in_real_workers(tmp_path: Path) -> None:
    """By its definition, where nothing is rounded to 16 bits on the way; and all from the first task on."""
    wanted = {"nested": False, "weight_dtype": "float32", "dtype": "float32"}
    drawn = power.tasks(1, ["linear4bit-nf4-train"], 60)
    tasks = [task for task in drawn if wanted.items() <= vars(task.config).items()][:4]
    plant.write_overlay(tmp_path, faults="bench.shifts:SHIFTS", awake="scales")
    was, now = (
        rows[(rows["stage"] == "quantization") & (rows["quantity"] == "weight")].set_index("id")["rel_fro"]
        for rows in (power.measured(tasks, jobs=1), power.measured(tasks, jobs=1, overlay=(tmp_path,)))
    )
    with_error = was > 0

    assert with_error.sum() >= 3
    assert (now / was)[with_error].to_numpy() == pytest.approx(1.05, abs=1e-3)


def test_an_alarm_and_a_shift_that_is_missed_are_told() -> None:
    """One of two comparisons has grown in a cell, one of two shifts was seen."""
    one, two = run(1, cells=2), run(2, cells=2)
    compared = list(power.null({1: unpaired.side(one), 2: unpaired.side(larger(two, 1, 2.0))}, BY))
    same, grown = (power.seen(unpaired.compare(one, each, BY), WHERE) for each in (two, larger(two, 1, 2.0)))
    alarms, shifts = power.sections(compared, {WHERE: [same, grown]}, runs=2)

    assert ("comparisons with a blocking alarm", "1") in alarms.rows
    assert alarms.rows[-1][0].startswith("1 and 2: case1 float32 compute/output: regressed, ratio_mean is ")
    assert [row[-1] for row in shifts.rows] == ["1 of 2"]


def test_a_plan_of_the_sample_alone_has_the_draws_of_a_night() -> None:
    """Neither strata nor published points, and the first draws of a longer plan."""
    short, long = (power.tasks(3, ["embedding8bit"], count) for count in (2, 4))

    assert [task.origin for task in long] == ["sample"] * 4
    assert short == long[:2]
