"""Rows to statuses: what breaks a limit, what NaN does, and the words that say so."""

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observed import frame

from accuracy import judge, limits
from accuracy.case import Stage, Verdict
from accuracy.limits import Limit, Limits

BUILT_IN = limits.load()
WARNING = Limit(
    id="soft", stage="*", quantity="*", metric="ratio", at_most=0.9, verdict=Verdict.WARN, basis="why", method="where"
)
INTERVAL = replace(WARNING, id="interval", metric="sqnr_db", at_least=19.0, at_most=21.0, verdict=Verdict.FAIL)
FLOOR = replace(INTERVAL, id="floor", at_most=math.inf)


def judged(*changes: dict[str, Any], by: Limits = BUILT_IN) -> pd.DataFrame:
    return judge.judge_rows(frame(*changes), by)


def only(*limit: Limit) -> Limits:
    return replace(BUILT_IN, limits=limit)


@pytest.mark.parametrize(
    ("ratio", "status"),
    [
        (0.0, "ok"),
        (1.0, "ok"),
        (math.nextafter(1, 2), "fail"),
        (math.inf, "fail"),
        (math.nan, "fail"),
        (-math.inf, "ok"),
    ],
)
def test_the_hard_limit_by_hand(ratio: float, status: str) -> None:
    """An error as large as its bound is allowed, anything above it fails, and so does what was not measured."""
    (row,) = judged({"ratio": ratio}).to_dict("records")

    assert row["status"] == status
    assert row["broken"] == ("hard" if status == "fail" else "")


@pytest.mark.parametrize("stage", list(Stage))
def test_nan_fails_in_every_stage(stage: Stage) -> None:
    assert judged({"stage": stage.value, "ratio": math.nan}).at[0, "status"] == "fail"


@settings(max_examples=30)
@given(ratio=st.floats(), passed=st.booleans())
def test_a_row_passes_exactly_when_its_ratio_is_at_most_one(ratio: float, *, passed: bool) -> None:
    """Whatever status the worker gave it: the judge decides."""
    row = judged({"ratio": ratio, "status": "ok" if passed else "fail"})
    assert (row.at[0, "status"] == "ok") is (ratio <= 1)


def test_the_first_broken_limit_is_named() -> None:
    """A row that breaks two is named after the first of the file."""
    row = judged({"stage": "quantization", "ratio": 2.0, "identity_error": 1.0})
    assert row.at[0, "broken"] == "hard"


def test_a_decomposition_that_was_not_measured_fails() -> None:
    """The identity of total, compute and quantization error is wanted in each row that has both terms."""
    row = judged({"stage": "quantization", "identity_error": math.nan})

    assert row.at[0, "broken"] == "decomposition-output"
    assert judged({"stage": "compute", "identity_error": math.nan}).at[0, "status"] == "ok"


@pytest.mark.parametrize("status", ["crash", "timeout", "not_run", "not_supported"])
def test_what_was_not_measured_keeps_its_status_and_reason(status: str) -> None:
    """A crash is no number; limits do not speak of it."""
    row = judged({"status": status, "ratio": math.nan, "observed": "SIGSEGV", "reason": "SIGSEGV"})

    assert row.at[0, "status"] == status
    assert row.at[0, "reason"] == "SIGSEGV"
    assert row.at[0, "broken"] == ""


def test_a_warning_limit_leaves_the_status() -> None:
    row = judged({"ratio": 0.95}, by=only(*BUILT_IN.limits, WARNING))

    assert (row.at[0, "status"], row.at[0, "broken"], row.at[0, "warned"]) == ("ok", "", "soft")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ratio": 1.5}, "ratio is 1.5, at most 1 is allowed"),
        ({"ratio": math.nan}, "ratio is nan, at most 1 is allowed"),
        ({"ratio": math.inf}, "ratio is inf: an error where none is allowed"),
        ({"ratio": math.inf, "observed": "shape (1,), expected (2,)"}, "shape (1,), expected (2,)"),
        ({"ratio": 0.5, "observed": "a remark"}, ""),
        (
            {"ratio": 2.0, "lower": "half", "lower_ratio": 0.7},
            "ratio is 2, at most 1 is allowed; explained by half",
        ),
        ({"ratio": 2.0, "lower": "half", "lower_ratio": 1.7}, "ratio is 2, at most 1 is allowed"),
    ],
)
def test_reasons_in_words(change: dict[str, Any], words: str) -> None:
    """What the worker saw, else the number and its limit; a row that passes has none."""
    assert judged(change).at[0, "reason"] == words


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (INTERVAL, "sqnr_db is 18, 19 to 21 is wanted"),
        (FLOOR, "sqnr_db is 18, at least 19 is wanted"),
    ],
)
def test_both_ends_of_a_limit_are_judged_and_told(limit: Limit, words: str) -> None:
    """An error that is suspiciously small is a finding too."""
    rows = judged({"sqnr_db": 18.0}, {"sqnr_db": 19.0}, {"sqnr_db": 22.0}, by=only(limit))

    assert rows["status"].tolist() == ["fail", "ok", "fail" if limit is INTERVAL else "ok"]
    assert rows.at[0, "reason"] == words


@pytest.mark.parametrize(("lower_ratio", "explained"), [(0.9, True), (1.0, True), (1.1, False), (math.nan, False)])
def test_a_lower_precision_explains_only_within_its_own_bound(*, lower_ratio: float, explained: bool) -> None:
    row = judged({"ratio": 5.0, "lower": "half", "lower_ratio": lower_ratio})

    assert bool(row.at[0, "explained"]) is explained
    assert row.at[0, "status"] == "fail"


def test_a_lower_precision_excuses_the_size_of_an_error_but_not_a_structure_in_it() -> None:
    """A scale fault below the bound is small in every precision; that it adds up is what fails."""
    row = judged({"ratio": 0.5, "structure_z": 9.0, "lower": "half", "lower_ratio": 0.5})

    assert (row.at[0, "status"], row.at[0, "broken"]) == ("fail", "structure")
    assert not row.at[0, "explained"]


def test_judging_again_by_other_limits_starts_from_what_was_measured() -> None:
    """Rows that failed under strict limits pass under wide ones, and their reasons go."""
    rows = frame({"ratio": 1.5}, {"ratio": 0.5})
    wide = only(replace(BUILT_IN.limits[0], at_most=2.0))
    strict = judge.judge_rows(rows, BUILT_IN)
    again = judge.judge_rows(strict[list(rows.columns)], wide)

    assert strict["status"].tolist() == ["fail", "ok"]
    assert again["status"].tolist() == ["ok", "ok"]
    assert again["reason"].tolist() == ["", ""]


def test_judging_changes_no_frame_it_is_given() -> None:
    rows = frame({"ratio": 1.5})
    before = rows.copy(deep=True)
    judge.judge_rows(rows, BUILT_IN)

    pd.testing.assert_frame_equal(rows, before)


def test_no_rows_are_judged_to_no_rows() -> None:
    empty = frame({}).iloc[:0]
    assert len(judge.judge_rows(empty, BUILT_IN)) == 0


def test_a_lower_precision_excuses_the_size_of_an_error_but_no_structure_in_it() -> None:
    """A scale fault of a kernel that computes in 16 bits must not hide behind its precision."""
    excused = {"ratio": 50.0, "lower": "bfloat16", "lower_ratio": 0.9}

    rows = judge.judge_rows(frame(excused, excused | {"structure_z": 12.0}), BUILT_IN)

    assert rows["explained"].tolist() == [True, False]
    assert rows["broken"].tolist() == ["hard", "structure"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"ratio": 1.1}, "fail"),
        ({"ratio": math.nan}, "fail"),
        ({"ratio": math.inf, "special_mismatch": 1}, "fail"),
        ({"stage": "contract", "quantity": "completes", "ratio": math.inf}, "fail"),
        ({"stage": "quantization", "identity_error": 1.0}, "fail"),
        ({"structure_z": 50.0}, "ok"),
        ({"stage": "quantization", "quantity": "weight", "theory_z": -50.0}, "ok"),
    ],
)
def test_inputs_that_a_search_chose_are_judged_by_what_holds_for_every_input(
    change: dict[str, Any], status: str
) -> None:
    """Bounds, classes and contracts do. A z that is rare in a sample is not rare where a search looked for it."""
    explored, planned = judged(change | {"origin": "explored"}, change).to_dict("records")

    assert explored["status"] == status
    assert planned["status"] == "fail"


def test_a_warning_limit_does_not_warn_of_what_a_search_found() -> None:
    rows = judged({"structure_z": 6.5, "origin": "explored"}, {"structure_z": 6.5})
    assert rows["warned"].tolist() == ["", "structure-warning"]


def test_an_explored_row_that_no_limit_speaks_of_fails() -> None:
    """Limits that were calibrated on samples are none for it, however wide."""
    calibrated = replace(WARNING, id="calibrated", verdict=Verdict.FAIL, at_most=math.inf)
    assert judged({"origin": "explored"}, by=only(calibrated)).at[0, "broken"] == judge.UNCOVERED
