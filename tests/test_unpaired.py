"""Runs of different plans: what is said of cells whose cases were made up so that the answer is known."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from accuracy import histogram, limits, unpaired
from accuracy.change import CellChange, Outcome, counts, exit_code, got_worse

BY = limits.load().change
CELLS = 10
CASES = 30


def run(seed: int, *, cells: int = CELLS, cases: int = CASES, **values: Any) -> pd.DataFrame:
    """Judged observations of `cells` cells with `cases` layers each, none of which is in another run.

    Layers differ a lot in the norms of their errors, and by 2 % in what these are of their bounds.
    """
    draw = np.random.default_rng(seed)
    rows = []
    for cell in range(cells):
        for case in range(cases):
            bins, number = histogram.count(draw.uniform(0, 0.5 * math.exp(draw.normal(0, 0.02)), 2000))
            rows.append(
                {
                    "id": f"{seed}-{cell}-{case}",
                    "device": "cpu",
                    "stage": "compute",
                    "quantity": "output",
                    "case": f"case{cell}",
                    "dtype": "float32",
                    "origin": "sample",
                    "status": "ok",
                    "rel_fro": float(np.exp(draw.normal(-14, 1))),
                    "ratio_bins": bins,
                    "ratio_counts": number,
                }
                | values
            )
    return pd.DataFrame(rows)


def larger(frame: pd.DataFrame, cell: int, factor: float) -> pd.DataFrame:
    """All errors of one cell so many times as large, the bounds as they were."""
    where = frame["case"] == f"case{cell}"
    counted = [
        histogram.count(np.repeat([histogram.centre(each) * (factor if there else 1.0) for each in bins], number))
        for bins, number, there in zip(frame["ratio_bins"], frame["ratio_counts"], where, strict=True)
    ]
    return frame.assign(
        rel_fro=frame["rel_fro"].where(~where, frame["rel_fro"] * factor),
        ratio_bins=pd.Series([bins for bins, _ in counted]),
        ratio_counts=pd.Series([number for _, number in counted]),
    )


def of(changes: list[CellChange], cell: int) -> CellChange:
    return next(change for change in changes if change.case == f"case{cell}")


def test_equal_releases_are_within_noise() -> None:
    """Other layers, other errors, no cell is said to have changed."""
    found = [unpaired.compare(run(seed), run(100 + seed), BY) for seed in range(5)]

    assert sum(counts(each)[Outcome.WITHIN_NOISE] for each in found) == 5 * CELLS


@pytest.mark.parametrize(("factor", "outcome"), [(2.0, Outcome.REGRESSED), (0.5, Outcome.IMPROVED)])
def test_twice_or_half_the_error_in_one_cell_is_seen_there_and_nowhere_else(factor: float, outcome: Outcome) -> None:
    changes = unpaired.compare(run(1), larger(run(2), 7, factor), BY)

    assert of(changes, 7).outcome is outcome
    assert of(changes, 7).metric == "ratio_mean"
    assert {change.outcome for change in changes if change.case != "case7"} == {Outcome.WITHIN_NOISE}
    assert got_worse(changes) is (outcome is Outcome.REGRESSED)


def test_five_percent_is_seen_in_units_of_the_bound() -> None:
    """The norms, which differ by a factor of 2.7 from layer to layer, would not tell."""
    change = of(unpaired.compare(run(3), larger(run(4), 2, 1.05), BY), 2)

    assert (change.outcome, change.metric) == (Outcome.REGRESSED, "ratio_mean")


def test_cases_that_fail_are_counted() -> None:
    """One or two more are chance; ten of thirty where none failed before are not, nor a case that crashes."""
    base, other = run(1, cells=2), run(2, cells=2)
    other.loc[other.index[:2], "status"] = "fail"
    other.loc[other.index[CASES : CASES + 12], "status"] = "crash"
    few, many = (of(unpaired.compare(base, other, BY), cell) for cell in (0, 1))

    assert few.outcome is Outcome.WITHIN_NOISE
    assert (many.outcome, many.metric) == (Outcome.REGRESSED, "failing")
    assert many.reason.startswith("12 of 30 cases fail, 0 of 30 before")
    assert many.worst_id == "2-1-0"


def test_a_known_failure_is_no_news() -> None:
    """All cases fail in both runs."""
    changes = unpaired.compare(run(1, cells=2, status="fail"), run(2, cells=2, status="fail"), BY)

    assert {change.outcome for change in changes} == {Outcome.WITHIN_NOISE}


def test_a_cell_that_no_case_has_any_more_is_gone() -> None:
    """The layers are still drawn, but say nothing of it."""
    other = run(2, cells=2)
    other.loc[other["case"] == "case1", "status"] = "not_supported"
    change = of(unpaired.compare(run(1, cells=2), other, BY), 1)

    assert change.outcome is Outcome.GONE
    assert change.reason.startswith("measured in none of 30 cases, in 30 of 30 before")


def test_a_few_cases_are_not_compared() -> None:
    """Nine are too few for a test, and what was not tested is not green."""
    changes = unpaired.compare(run(1, cases=9), run(2, cases=9), BY)

    assert {change.outcome for change in changes} == {Outcome.NOT_COMPARED}
    assert changes[0].reason == "9 cases in one of the runs, 10 make a test"
    assert exit_code(changes) == 3


def with_errors(frame: pd.DataFrame, *, norm: float, wrong: int) -> pd.DataFrame:
    """Two hundred elements in each layer that must be exact, so many of which are not."""
    bins, number = histogram.count(np.where(np.arange(200) < wrong, math.inf, 0.0))
    return frame.assign(
        ratio_bins=pd.Series([bins] * len(frame)), ratio_counts=pd.Series([number] * len(frame)), rel_fro=norm
    )


def test_exact_values_stay_exact() -> None:
    """No error in either run: nothing to test. Errors where a value was exact are infinitely many bounds."""
    base, same = (with_errors(run(seed, cells=2), norm=0.0, wrong=0) for seed in (1, 2))
    wrong = with_errors(run(3, cells=2), norm=1e-9, wrong=1)

    assert {change.outcome for change in unpaired.compare(base, same, BY)} == {Outcome.WITHIN_NOISE}
    assert {change.outcome for change in unpaired.compare(base, wrong, BY)} == {Outcome.REGRESSED}


def test_only_the_sample_is_compared() -> None:
    """Strata and published points are chosen, and explored cases by what was seen before."""
    base = run(1, cells=1)
    chosen = [run(5, cells=2, origin=origin) for origin in ("explored", "published", "stratum:edge")]

    assert len(unpaired.compare(base, pd.concat([run(2, cells=1), *chosen], ignore_index=True), BY)) == 1
