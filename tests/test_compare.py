"""Release against release: what is said of pairs that were made up so that the answer is known."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from accuracy import limits
from accuracy.change import CellChange, Outcome, counts, got_worse
from accuracy.compare import compare

BY = limits.load().change
CELLS = 10
PAIRS = 30


def run(seed: int, *, cells: int = CELLS, pairs: int = PAIRS) -> pd.DataFrame:
    """Judged observations of `cells` cells with `pairs` cases each; sizes spread as those of random layers do."""
    draw = np.random.default_rng(seed)
    rows = [
        {
            "id": f"{cell}-{pair}",
            "device": "cpu",
            "stage": "compute",
            "quantity": "output",
            "case": f"case{cell}",
            "dtype": "float32",
            "origin": "sample",
            "status": "ok",
            "digest": f"d{cell}-{pair}",
            "special_mismatch": 0,
            "rel_fro": float(np.exp(draw.normal(-14, 0.3))),
            "abs_p99": float(np.exp(draw.normal(-13, 0.3))),
            "reason": "",
        }
        for cell in range(cells)
        for pair in range(pairs)
    ]
    return pd.DataFrame(rows)


def changed(base: pd.DataFrame, cell: int, **values: Any) -> pd.DataFrame:
    """`base` with other values, and another digest, in one cell; a function is given the old value."""
    candidate = base.copy()
    where = candidate["case"] == f"case{cell}"
    candidate.loc[where, "digest"] += "'"
    for name, value in values.items():
        candidate.loc[where, name] = value(candidate.loc[where, name]) if callable(value) else value
    return candidate


def noisy(base: pd.DataFrame, seed: int, spread: float = 0.05) -> pd.DataFrame:
    """The same layers with another order of summation: each size moved a little, in either direction."""
    draw = np.random.default_rng(seed)
    candidate = base.copy()
    candidate["digest"] += "'"
    for name in ("rel_fro", "abs_p99"):
        candidate[name] *= np.exp(draw.normal(0, spread, len(candidate)))
    return candidate


def of(changes: list[CellChange], cell: int) -> CellChange:
    return next(change for change in changes if change.case == f"case{cell}")


def test_a_run_is_identical_to_itself() -> None:
    """Bit for bit, so no test is made."""
    base = run(1)

    assert counts(compare(base, base, BY)) == dict.fromkeys(Outcome, 0) | {Outcome.IDENTICAL: CELLS}


@pytest.mark.parametrize(("factor", "outcome"), [(2.0, Outcome.REGRESSED), (0.5, Outcome.IMPROVED)])
def test_twice_or_half_the_error_in_one_cell_is_seen_there_and_nowhere_else(factor: float, outcome: Outcome) -> None:
    """In both directions; only the one is a reason to hold the candidate back."""
    base = run(1)
    changes = compare(base, changed(noisy(base, 2), 7, rel_fro=lambda size: size * factor), BY)

    assert of(changes, 7).outcome is outcome
    assert {change.outcome for change in changes if change.case != "case7"} == {Outcome.WITHIN_NOISE}
    assert of(changes, 7).effect == pytest.approx(math.log(factor), abs=0.05)
    assert got_worse(changes) is (outcome is Outcome.REGRESSED)


def test_five_percent_more_quantization_error_is_flagged_nine_times_in_ten() -> None:
    """Ten runs whose noise is that of NF4 against its own expectation, 0.66 % (numerics of the format)."""
    flagged = 0
    for seed in range(10):
        base = run(seed)
        candidate = changed(noisy(base, 100 + seed, 0.0066), 3, rel_fro=lambda size: size * 1.05)
        flagged += of(compare(base, candidate, BY), 3).outcome is Outcome.REGRESSED

    assert flagged >= 9


def test_a_sure_change_of_one_percent_is_noise() -> None:
    """The floor is two: with enough pairs everything is significant."""
    base = run(1)
    changes = compare(base, changed(base, 3, rel_fro=lambda size: size * 1.01, abs_p99=lambda size: size * 1.01), BY)

    assert of(changes, 3).outcome is Outcome.WITHIN_NOISE
    assert of(changes, 3).p < BY.holm


def test_fifty_comparisons_of_equal_releases_raise_at_most_one_alarm() -> None:
    """Pairs with noise."""
    alarms = sum(got_worse(compare(run(seed), noisy(run(seed), 1000 + seed), BY)) for seed in range(50))

    assert alarms <= 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"status": "fail", "reason": "ratio is 3"}, "new failure in 30 cases; ratio is 3"),
        ({"status": "fail", "special_mismatch": 2, "reason": "nan"}, "new wrong special value in 30 cases; nan"),
        ({"status": "crash", "reason": "signal 11"}, "new crash in 30 cases; signal 11"),
        ({"status": "timeout", "reason": "60 s"}, "new timeout in 30 cases; 60 s"),
    ],
)
def test_what_broke_needs_no_statistics(values: dict[str, Any], words: str) -> None:
    """One case would do."""
    base = run(1)
    change = of(compare(base, changed(base, 2, **values), BY), 2)

    assert (change.outcome, change.reason) == (Outcome.REGRESSED, words)


def test_what_failed_before_and_fails_now_is_not_new() -> None:
    """The nightly says that it fails; the comparison says that nothing changed."""
    base = changed(run(1), 2, status="fail")

    assert of(compare(base, base, BY), 2).outcome is Outcome.IDENTICAL


def test_what_failed_and_passes_is_an_improvement() -> None:
    base = changed(run(1), 2, status="fail")
    change = of(compare(base, changed(base, 2, status="ok"), BY), 2)

    assert (change.outcome, change.reason) == (Outcome.IMPROVED, "30 that failed pass now")


@pytest.mark.parametrize("status", ["not_supported", "not_run"])
def test_what_is_not_measured_any_more_is_gone(status: str) -> None:
    """In the candidate's own words, and never for the better."""
    base = run(1)
    candidate = changed(base, 2, status=status, reason="no longer", rel_fro=math.nan, abs_p99=math.nan)
    change = of(compare(base, candidate, BY), 2)

    assert (change.outcome, change.reason) == (Outcome.GONE, "30 not measured any more: no longer")
    assert got_worse([change])


def test_a_cell_that_only_one_run_has_is_gone_or_new() -> None:
    base = run(1)
    without = base[base["case"] != "case2"]

    assert of(compare(base, without, BY), 2).outcome is Outcome.GONE
    assert of(compare(without, base, BY), 2).outcome is Outcome.NEW


def test_the_ratio_trap() -> None:
    """Compute error and quantization error both shrink, the one more than the other: a ratio of the two would grow.

    Sizes are compared one by one, so neither is a regression.
    """
    base = run(1)
    candidate = changed(base, 1, rel_fro=lambda size: size * 0.9)
    candidate = changed(candidate, 2, rel_fro=lambda size: size * 0.5)
    changes = compare(base, candidate, BY)

    assert {of(changes, cell).outcome for cell in (1, 2)} == {Outcome.IMPROVED}
    assert not got_worse(changes)


def test_an_error_where_there_was_none_is_a_regression() -> None:
    """Log 0 is no number, and no excuse."""
    base = changed(run(1), 4, rel_fro=0.0, abs_p99=0.0)
    change = of(compare(base, changed(base, 4, rel_fro=1e-9, abs_p99=1e-9), BY), 4)

    assert change.outcome is Outcome.REGRESSED
    assert "was 0 in one of the runs" in change.reason


def test_a_few_pairs_are_no_test() -> None:
    """Nine differing pairs, all worse: noise is not excluded, so it is not said."""
    base = run(1, pairs=9)

    assert of(compare(base, changed(base, 2, rel_fro=lambda size: size * 2), BY), 2).outcome is Outcome.WITHIN_NOISE


def test_what_a_search_found_is_left_out() -> None:
    """Explored cases differ from run to run."""
    base = run(1, cells=1)
    explored = base.assign(origin="explored", id="x" + base["id"])

    assert [change.outcome for change in compare(base, pd.concat([base, explored]), BY)] == [Outcome.IDENTICAL]


def test_what_a_case_does_not_come_to_since_it_breaks_off_is_told_once() -> None:
    """The failure to complete has regressed; the outputs that never were are no news of their own."""
    base = pd.concat([run(1, cells=1), run(1, cells=1).assign(stage="contract", quantity="completes")])
    candidate = run(1, cells=1).assign(stage="contract", quantity="completes", status="fail", reason="raised")
    changes = compare(base, candidate, BY)

    assert {change.quantity: change.outcome for change in changes} == {
        "completes": Outcome.REGRESSED,
        "output": Outcome.NOT_COMPARED,
    }
    assert "broke off before" in next(change.reason for change in changes if change.quantity == "output")
