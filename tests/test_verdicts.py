"""Statuses to verdicts: what makes a cell fail, what excuses it, and what the run may then be called."""

import datetime
import itertools
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observed import ROW, frame

from accuracy import judge, limits, verdicts
from accuracy.case import Verdict
from accuracy.cell import Cell
from accuracy.summary import summarize
from accuracy.waivers import Waiver

BUILT_IN = limits.load()
TODAY = datetime.date(2026, 11, 22)
CRASH = {"stage": "contract", "quantity": "completes", "status": "crash", "ratio": math.nan, "count": 0}
NOT_RUN = {"status": "not_run", "ratio": math.nan, "count": 0, "observed": "no such device"}
NOT_SUPPORTED = {"status": "not_supported", "ratio": math.nan, "count": 0, "observed": "NotImplementedError"}
EXPLAINED = {"ratio": 300.0, "lower": "bfloat16", "lower_ratio": 0.8}
WARNED = {"structure_z": 6.5}
WAIVER = Waiver(
    id="F08",
    case="linear4bit-*",
    stage="compute",
    quantity="output",
    owner="A. Person",
    reason="known",
    link="docs/findings.md#f08",
    expires=TODAY,
    at_least=1.0,
    at_most=300.0,
)


def cells(*changes: dict[str, Any], strata: dict[str, list[str]] | None = None) -> list[Cell]:
    return verdicts.cells(judge.judge_rows(frame(*changes), BUILT_IN), strata or {})


def cell(*changes: dict[str, Any]) -> Cell:
    """The only cell that these rows make."""
    (made,) = cells(*changes)
    return made


def summary(*changes: dict[str, Any], waivers: tuple[Waiver, ...] = ()) -> dict[str, Any]:
    judged = judge.judge_rows(frame(*changes), BUILT_IN)
    return summarize(judged, verdicts.waive(verdicts.cells(judged, {}), waivers, TODAY))


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([{}], Verdict.PASS),
        ([{"ratio": 2.0}], Verdict.FAIL),
        ([{"ratio": math.nan}], Verdict.FAIL),
        ([EXPLAINED], Verdict.WARN),
        ([WARNED], Verdict.WARN),
        ([NOT_RUN], Verdict.NOT_RUN),
        ([NOT_SUPPORTED], Verdict.NOT_SUPPORTED),
        ([{"status": "crash", "ratio": math.nan}], Verdict.FAIL),
        ([{"status": "timeout", "ratio": math.nan}], Verdict.FAIL),
        ([{}, {}, {"ratio": 2.0}, NOT_RUN], Verdict.FAIL),
        ([{}, {}, NOT_RUN], Verdict.NOT_RUN),
        ([EXPLAINED, NOT_RUN], Verdict.NOT_RUN),
        ([EXPLAINED, {"ratio": 2.0}], Verdict.FAIL),
        ([{}, EXPLAINED], Verdict.WARN),
        ([{}, WARNED], Verdict.WARN),
        ([{}, NOT_SUPPORTED], Verdict.PASS),
        ([NOT_RUN, NOT_SUPPORTED], Verdict.NOT_RUN),
    ],
)
def test_the_worst_row_decides_its_cell(rows: list[dict[str, Any]], verdict: Verdict) -> None:
    """Fail before not run before warn before pass; what is not supported decides only alone."""
    assert cell(*rows).verdict is verdict


@settings(max_examples=30)
@given(st.permutations([{"ratio": 0.2}, {"ratio": 2.0}, {"ratio": 3.0}, NOT_RUN, EXPLAINED]))
def test_the_order_of_rows_does_not_matter(rows: list[dict[str, Any]]) -> None:
    made = cell(*rows)
    assert (made.verdict, made.worst_ratio, made.n, made.failing) == (Verdict.FAIL, 3.0, 4, 3)


def test_the_worst_failing_row_is_shown() -> None:
    """The largest ratio among the rows that decide; NaN is worse than any number."""
    rows = [{"id": name, "ratio": ratio} for name, ratio in (("a", 2.0), ("b", 7.0), ("c", 0.1))]

    assert (cell(*rows).worst_id, cell(*rows).worst_ratio) == ("b", 7.0)
    assert cell(*rows, {"id": "d", "ratio": math.nan}).worst_id == "d"
    assert cell({"id": "explained"} | EXPLAINED, *rows).worst_id == "b"


def test_every_part_of_a_cells_name_separates_it() -> None:
    """A failure on one device does not hide in another's cell."""
    others = [
        {},
        {"case": "embedding8bit"},
        {"device": "cuda"},
        {"dtype": "float16"},
        {"stage": "decode"},
        {"quantity": "weight"},
    ]
    made = cells(*others)
    assert len({(c.case, c.device, c.dtype, c.stage, c.quantity) for c in made}) == len(others)


@pytest.mark.parametrize(
    ("earlier", "later", "excused"),
    [
        ("decode", "compute", True),
        ("encode", "quantization", True),
        ("decode", "quantization", True),
        ("compute", "quantization", True),
        ("encode", "decode", False),
        ("encode", "compute", False),
        ("contract", "compute", False),
        ("compute", "invariant", False),
    ],
)
def test_a_stage_is_excused_by_what_it_starts_from(*, earlier: str, later: str, excused: bool) -> None:
    """The compute oracle starts from our own decoding of the stored bytes, so wrong codes excuse nothing there."""
    by_stage = {
        made.stage: made
        for made in cells(
            {"stage": earlier, "quantity": "weight", "ratio": 2.0},
            {"stage": later, "quantity": "grad_bias", "ratio": 3.0},
        )
    }
    assert by_stage[earlier].verdict is Verdict.FAIL
    assert by_stage[later].verdict is (Verdict.WARN if excused else Verdict.FAIL)
    assert by_stage[later].caused_by == (f"{earlier}/weight" if excused else "")
    assert by_stage[later].reason.startswith("only where") is excused


def test_an_excuse_holds_only_in_the_same_case_on_the_same_device() -> None:
    """Decoding fails in one case; compute fails in that and in another: the other is a failure of its own."""
    decode = {"stage": "decode", "quantity": "weight", "ratio": 2.0}
    here, there = {"id": "a", "ratio": 3.0}, {"id": "b", "ratio": 3.0}

    def computed(*rows: dict[str, Any]) -> Cell:
        return next(
            made for made in cells(decode | {"id": "a"}, *rows) if made.stage == "compute" and made.device == "cpu"
        )

    assert computed(here).verdict is Verdict.WARN
    assert computed(here, there).verdict is Verdict.FAIL
    assert computed(here, there).caused_by == ""
    assert computed(here | {"device": "cuda"}, there).verdict is Verdict.FAIL


def test_a_crash_excuses_nothing() -> None:
    """What was compared before the crash and fails is a failure of its own."""
    by_stage = {made.stage: made.verdict for made in cells(CRASH, {"ratio": 2.0})}
    assert by_stage == {"contract": Verdict.FAIL, "compute": Verdict.FAIL}


def test_a_stratum_that_never_occurred_did_not_run() -> None:
    """In each dtype and on each device that ran the case, and in no other."""
    rows: list[dict[str, Any]] = [{"strata": ("odd",)}, {"dtype": "float16"}, {"case": "embedding8bit"}]
    missing = [
        made for made in cells(*rows, strata={"linear4bit-nf4-train": ["odd"]}) if made.verdict is Verdict.NOT_RUN
    ]

    assert [(each.dtype, each.quantity, each.n) for each in missing] == [("float16", "stratum odd", 0)]
    assert missing[0].reason == "the stratum 'odd' never occurred"


def test_a_stratum_that_a_device_refused_is_not_supported() -> None:
    """In the dtype in which others ran, whose cell is green without it; where all is refused one cell says so."""
    contract = {"stage": "contract", "quantity": "completes"}
    refused = NOT_SUPPORTED | contract | {"origin": "stratum:odd"}
    rows: list[dict[str, Any]] = [
        {"id": "a", "strata": ("even",)} | contract,
        {"id": "b"} | refused,
        {"id": "c", "dtype": "float16"} | refused,
    ]
    found = {(made.dtype, made.quantity): made for made in cells(*rows, strata={"linear4bit-nf4-train": ["odd"]})}

    assert {place: made.verdict for place, made in found.items()} == {
        ("float32", "completes"): Verdict.PASS,
        ("float16", "completes"): Verdict.NOT_SUPPORTED,
        ("float32", "stratum odd"): Verdict.NOT_SUPPORTED,
    }
    assert found["float32", "stratum odd"].reason == NOT_SUPPORTED["observed"]
    measured = cells(*rows, {"id": "d", "strata": ("odd",)}, strata={"linear4bit-nf4-train": ["odd"]})
    assert [made for made in measured if made.quantity == "stratum odd"] == []


def waived(change: dict[str, Any], waiver: Waiver = WAIVER, today: datetime.date = TODAY) -> Cell:
    (made,) = verdicts.waive([cell(change)], [waiver], today)
    return made


def test_a_known_deviation_within_its_interval_is_a_warning() -> None:
    """On its last day still, and it says who answers for it."""
    made = waived({"ratio": 40.0})

    assert made.verdict is Verdict.WARN
    assert made.reason.startswith("waived by A. Person until 2026-11-22: known (docs/findings.md#f08); ratio is 40")


@pytest.mark.parametrize(
    ("change", "waiver", "today", "words"),
    [
        ({"ratio": 40.0}, WAIVER, TODAY + datetime.timedelta(days=1), "waiver F08 expired on 2026-11-22"),
        ({"ratio": 301.0}, WAIVER, TODAY, "ratio 301 is outside waiver F08, which expects 1 to 300"),
        (
            {"ratio": 5.0},
            replace(WAIVER, at_least=10.0),
            TODAY,
            "ratio 5 is outside waiver F08, which expects 10 to 300",
        ),
        ({"ratio": math.inf}, WAIVER, TODAY, "ratio inf is outside waiver F08"),
        ({"ratio": math.nan}, WAIVER, TODAY, "ratio nan is outside waiver F08"),
        ({"status": "crash", "ratio": math.nan}, WAIVER, TODAY, "ratio nan is outside waiver F08"),
    ],
)
def test_a_waiver_does_not_cover_more_than_it_says(
    change: dict[str, Any], waiver: Waiver, today: datetime.date, words: str
) -> None:
    """Expired, larger or smaller than expected, or no number at all: it fails, and says why."""
    made = waived(change, waiver, today)

    assert made.verdict is Verdict.FAIL
    assert made.reason.startswith(words)


def test_a_waiver_that_is_not_needed_any_more_is_a_warning() -> None:
    made = waived({"ratio": 0.5})

    assert made.verdict is Verdict.WARN
    assert made.reason == "waiver F08 is not needed any more: remove it (docs/findings.md#f08)"


@pytest.mark.parametrize("change", [NOT_RUN, NOT_SUPPORTED, {"stage": "decode"}])
def test_a_waiver_that_met_nothing_says_nothing(change: dict[str, Any]) -> None:
    """The cell did not run, or is another one: whether the deviation is gone is not known."""
    assert (waived(change).verdict, waived(change).reason) == (cell(change).verdict, cell(change).reason)


@pytest.mark.parametrize(
    ("rows", "verdict", "exit_code"),
    [
        ([], "incomplete", 3),
        ([{}], "release", 0),
        ([{"ratio": 2.0}], "do-not-release", 1),
        ([CRASH], "do-not-release", 1),
        ([CRASH | {"status": "timeout"}], "do-not-release", 1),
        ([NOT_RUN], "incomplete", 3),
        ([NOT_SUPPORTED], "incomplete", 3),
        ([{}, {"dtype": "float16"} | NOT_RUN], "incomplete", 3),
        ([{}, {"dtype": "float16"} | NOT_SUPPORTED], "release", 0),
        ([{"ratio": 2.0}, {"dtype": "float16"} | NOT_RUN], "do-not-release", 1),
        ([EXPLAINED], "release", 0),
        ([{"ratio": math.nan}], "do-not-release", 1),
    ],
)
def test_verdict_and_exit_code_of_a_run(rows: list[dict[str, Any]], verdict: str, exit_code: int) -> None:
    """Nothing measured is incomplete, and one failure outweighs everything."""
    made = summary(*rows) if rows else summarize(judge.judge_rows(frame({}).iloc[:0], BUILT_IN), [])
    assert (made["verdict"], made["exit_code"]) == (verdict, exit_code)


def test_counts_add_up() -> None:
    """Two cases and a device more: each cell is counted under one verdict, each case once a device."""
    made = summary({}, {"quantity": "grad_input", "ratio": 3.0}, {"id": "b"}, {"device": "cuda"} | NOT_RUN)
    counts = made["counts"]

    assert counts == {
        "cells": 3,
        "pass": 1,
        "warn": 0,
        "fail": 1,
        "not_run": 1,
        "not_supported": 0,
        "cases": 3,
        "observations": 4,
        "elements": 300,
    }
    assert len(made["cells"]) == counts["cells"]


def test_the_summary_is_strict_json_and_names_every_cell() -> None:
    """Infinities and NaN are words, since JSON has no numbers for them."""
    made = summary({"ratio": math.inf}, {"dtype": "float16", "ratio": math.nan}, {"dtype": "bfloat16"})
    text = json.dumps(made, allow_nan=False)

    assert json.loads(text) == made
    assert [cell["worst_ratio"] for cell in made["cells"]] == ["inf", "nan", 0.5]
    assert set(made["cells"][0]) == {
        *("case", "device", "dtype", "stage", "quantity"),
        *("verdict", "worst_ratio", "worst_id", "n"),
    }


def test_reasons_come_worst_first_and_leave_out_consequences() -> None:
    """Failures by ratio, then what did not run, then warnings; a cell excused by another has no line of its own."""
    made = summary(
        {"id": "a", "stage": "decode", "quantity": "weight", "ratio": 4.0},
        {"id": "a", "ratio": 90.0},
        {"id": "b", "quantity": "grad_bias", "ratio": 8.0},
        {"id": "c", "device": "cuda"} | NOT_RUN,
        {"id": "d", "case": "linear4bit-nf4-eval"} | EXPLAINED,
    )
    assert [(reason["verdict"], reason["stage"], reason["quantity"]) for reason in made["reasons"]] == [
        ("fail", "compute", "grad_bias"),
        ("fail", "decode", "weight"),
        ("not_run", "compute", "output"),
        ("warn", "compute", "output"),
    ]


def test_one_reason_speaks_for_all_dtypes() -> None:
    """The same failure in three dtypes is one line, with the worst of them."""
    dtypes = ("float32", "float16", "bfloat16")
    made = summary(*({"dtype": dtype, "id": dtype, "ratio": 2.0 + n} for n, dtype in enumerate(dtypes)), {"id": "good"})
    (reason,) = made["reasons"]

    assert (reason["failing"], reason["n"], reason["worst_id"], reason["worst_ratio"]) == (3, 4, "bfloat16", 4.0)
    assert reason["text"].startswith("linear4bit-nf4-train on cpu in float32, float16, bfloat16: compute/output is off")


def test_the_verdict_table_has_one_row_a_cell() -> None:
    table = verdicts.frame(cells({}, {"dtype": "float16", "ratio": 2.0}))

    assert table["verdict"].tolist() == ["pass", "fail"]
    assert verdicts.frame([]).empty
    assert list(verdicts.frame([]).columns) == list(table.columns)


KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"ratio": 2.0},
    EXPLAINED,
    NOT_RUN,
    NOT_SUPPORTED,
    {"status": "crash", "ratio": math.nan},
)


@pytest.mark.parametrize("rows", list(itertools.combinations(KINDS, 2)))
def test_adding_a_failure_or_a_gap_never_improves_a_verdict(rows: tuple[dict[str, Any], ...]) -> None:
    """Release before incomplete before do-not-release, whatever was there before."""
    order = ["release", "incomplete", "do-not-release"]
    before = summary(*rows)["verdict"]

    assert order.index(summary(*rows, NOT_RUN)["verdict"]) >= order.index(before)
    assert summary(*rows, {"ratio": 2.0})["verdict"] == "do-not-release"


EXPLORED = {"origin": "explored"}


def test_what_a_search_found_fails_its_cell() -> None:
    found = cell({"id": "1"}, {"id": "2", "ratio": 3.0} | EXPLORED)

    assert (found.verdict, found.worst_id, found.worst_ratio, found.failing, found.n) == (Verdict.FAIL, "2", 3.0, 1, 2)


@pytest.mark.parametrize("change", [{}, EXPLAINED])
def test_the_worst_of_a_cell_that_does_not_fail_is_a_planned_one(change: dict[str, Any]) -> None:
    """How far a search got depends on its time; a trend over nights must not."""
    planned, explored = {"id": "1"} | change, {"id": "2"} | change | EXPLORED
    worse = {"lower_ratio": 0.99} if change else {}

    found = cell(planned, explored | {"ratio": 1.01 * planned.get("ratio", 0.5)} | worse)

    assert found.verdict is not Verdict.FAIL
    assert (found.worst_id, found.n) == ("1", 2)


def test_a_cell_of_explored_rows_alone_has_their_worst() -> None:
    assert cell({"id": "1", "ratio": 0.2} | EXPLORED, {"id": "2", "ratio": 0.7} | EXPLORED).worst_id == "2"


def test_a_stratum_that_only_a_search_touched_was_not_planned() -> None:
    rows = [{}, {"strata": ["odd"]} | EXPLORED]
    assert [made.verdict for made in cells(*rows, strata={ROW["case"]: ["odd"]})] == [Verdict.PASS, Verdict.NOT_RUN]
