"""A night held against a baseline: what it decides for cells, when it cannot be, and which run it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import cli
from accuracy import baseline, judgement, limits, store
from accuracy.baseline import Against
from accuracy.case import CELL, Verdict
from accuracy.cell import Cell
from accuracy.change import CellChange, Outcome
from accuracy.summary import summarize

BY = limits.load()
PLACE: dict[str, Any] = dict(zip(CELL, ("embedding8bit", "cpu", "float32", "quantization", "output"), strict=True))
SMALL = ("--profile", "smoke", "--device", "cpu", "--cases", "embedding8bit", "--examples", "40", "--jobs", "1")


def cell(verdict: Verdict, reason: str = "") -> Cell:
    return Cell(
        **PLACE, verdict=verdict, worst_ratio=0.5, worst_id="a" * 16, n=30, failing=int(verdict is Verdict.FAIL),
        caused_by="", limit_id="", basis="b", reason=reason,
    )  # fmt: skip


def found(outcome: Outcome, *, broken: int = 0, effect: float = 0.7) -> Against:
    change = CellChange(
        **PLACE, outcome=outcome, n=30, identical=0, worse=30, better=0, broken=broken, metric="rel_fro",
        effect=effect, p=1e-6, worst_id="b" * 16, reason="rel_fro is larger",
    )  # fmt: skip
    return Against(name="0.1 of then", changes=[change])


@pytest.mark.parametrize(
    ("before", "against", "after", "reason"),
    [
        (Verdict.PASS, found(Outcome.REGRESSED), Verdict.FAIL, "newly worse than 0.1 of then: rel_fro is larger"),
        (Verdict.WARN, found(Outcome.REGRESSED), Verdict.FAIL, "newly worse than 0.1 of then: rel_fro is larger"),
        (Verdict.FAIL, found(Outcome.REGRESSED), Verdict.FAIL, "newly worse than 0.1 of then: rel_fro is larger; old"),
        (Verdict.WARN, found(Outcome.REGRESSED, broken=2), Verdict.WARN, "old"),
        (Verdict.NOT_SUPPORTED, found(Outcome.GONE), Verdict.FAIL, "newly worse than 0.1 of then: rel_fro is larger"),
        (Verdict.NOT_RUN, found(Outcome.GONE), Verdict.NOT_RUN, "old"),
        (Verdict.PASS, found(Outcome.CHANGED), Verdict.WARN, "perhaps worse than 0.1 of then: rel_fro is larger"),
        (Verdict.PASS, found(Outcome.CHANGED, effect=-0.7), Verdict.PASS, "old"),
        (Verdict.PASS, found(Outcome.IMPROVED), Verdict.PASS, "old"),
        (Verdict.FAIL, found(Outcome.WITHIN_NOISE), Verdict.FAIL, "old"),
    ],
)
def test_what_has_grown_fails_and_what_newly_fails_says_so(
    before: Verdict, against: Against, after: Verdict, reason: str
) -> None:
    """A newly failing pair that the judge excuses stays excused; what did not run is not called worse."""
    (told,) = baseline.applied([cell(before, "old")], against)

    assert (told.verdict, told.reason) == (after, reason)
    assert (told.limit_id == "change") is (told.verdict is not before)


def test_a_cell_that_only_the_baseline_has_fails_as_gone() -> None:
    (told,) = baseline.applied([], found(Outcome.GONE))

    assert (told.verdict, told.n, told.worst_id) == (Verdict.FAIL, 0, "b" * 16)


def test_what_cannot_be_compared_is_a_gap_and_not_green() -> None:
    """One cell says so, and makes the run incomplete."""
    cells = baseline.applied([cell(Verdict.PASS)], Against(name="0.1 of then", why_not="no case is in both"))

    assert [each.verdict for each in cells] == [Verdict.PASS, Verdict.NOT_RUN]
    assert cells[1].reason == "not comparable with the baseline, 0.1 of then: no case is in both"
    summary = summarize(pd.DataFrame({"id": [], "device": [], "count": []}), cells)
    assert summary["verdict"] == "incomplete"


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> store.Run:
    folder = tmp_path_factory.mktemp("night") / "run"
    assert invoke("nightly", *SMALL, "--seed", "3", "--out", folder).exit_code == 0
    return store.read(folder)


def scaled(run: store.Run, factor: float) -> store.Run:
    """A run as it would be of a library whose quantization error of float32 outputs is so many times larger."""
    rows = run.observations.copy()
    mine = (rows["stage"] == "quantization") & (rows["dtype"] == "float32")
    rows.loc[mine, ["rel_fro", "abs_p99"]] *= factor
    rows.loc[mine, "digest"] = "0" * 32
    return replace(run, observations=rows)


@pytest.mark.parametrize(("factor", "outcome"), [(0.95, "fail"), (1.05, "pass")])
def test_five_percent_more_error_than_the_baseline_blocks_and_less_does_not(
    run: store.Run, factor: float, outcome: str
) -> None:
    """Within every limit, so that only the comparison sees it; the summary's first reason says so."""
    against = baseline.compared(scaled(run, factor), run.observations, run.manifest, BY.change)
    today = pd.Timestamp("2026-11-22").date()
    judged = judgement.judged_run(run.observations, run.manifest["cases"], BY, (), today, against=against)
    mine = judged.verdicts[(judged.verdicts["stage"] == "quantization") & (judged.verdicts["dtype"] == "float32")]

    assert against.paired
    assert set(mine["verdict"]) == {outcome}
    assert judged.summary["exit_code"] == (1 if outcome == "fail" else 0)
    if outcome == "fail":
        assert "output is newly worse than bitsandbytes" in judged.summary["reasons"][0]["text"]


def test_a_page_can_draw_the_baseline_if_its_limits_were_the_same(run: store.Run) -> None:
    """As many elements as were compared in the baseline's planned rows; other bounds mean another error ÷ limit."""
    against = baseline.compared(run, run.observations, run.manifest, BY.change)
    other = baseline.compared(run, run.observations, run.manifest | {"bounds": {}}, BY.change)
    planned = run.observations[run.observations["origin"] != "explored"]
    rows = planned.groupby(list(CELL))["ratio_counts"]
    elements = {key: sum(map(sum, counts)) for key, counts in rows}

    assert {
        tuple(getattr(each, part) for part in CELL): sum(each.before_counts) for each in against.changes
    } == elements
    assert max(elements.values()) > 0
    assert not any(each.before_counts for each in other.changes)


def test_other_draws_are_compared_by_size_if_the_same_version_drew_them(run: store.Run) -> None:
    """Else they come from another distribution, and the gap is named."""
    drawn = run.observations["origin"] == "sample"
    others = replace(run, observations=run.observations.assign(id=run.observations["id"].where(~drawn, "f" * 16)))

    older_version = run.manifest | {"accuracy": "0.0"}
    same = baseline.compared(others, run.observations, run.manifest, BY.change)
    older = baseline.compared(others, run.observations, older_version, BY.change)
    none = baseline.compared(run, run.observations.assign(device="xpu"), run.manifest, BY.change)

    assert (same.paired, same.why_not) == (False, "")
    assert {change.outcome for change in same.changes} <= {Outcome.WITHIN_NOISE, Outcome.NOT_COMPARED}
    assert "drew its plan and 0.0 this one; make a new baseline" in older.why_not
    assert none.why_not == "no case on any device is in both runs"


def test_the_users_baseline_is_used_until_it_is_cleared(
    run: store.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every bit is the same as in the baseline, and the page and the stored table say so."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    shown = [invoke("baseline", "show"), invoke("baseline", "set", run.folder), invoke("baseline", "show")]
    night = invoke("nightly", *SMALL, "--seed", "3", "--out", tmp_path / "night")
    stored = store.read(tmp_path / "night")
    again = invoke("judge", tmp_path / "night")
    cleared = [invoke("baseline", "clear"), invoke("baseline", "show")]

    assert [each.stdout for each in (shown[0], *cleared)] == ["none\n"] * 3
    assert shown[2].stdout == f"{run.folder}\n"
    assert (night.exit_code, again.exit_code) == (0, 0)
    assert stored.comparison is not None
    assert set(stored.comparison["outcome"]) == {"identical"}
    assert stored.manifest["baseline"] == baseline.name(run.manifest)
    page = (tmp_path / "night" / "report.html").read_text(encoding="utf-8")
    assert '<section id="comparison"' in page
    assert "No check has changed beyond noise." in page
    assert page.count('<path class="line baseline"') == page.count('<path class="line candidate"') > 0


def test_a_baseline_that_is_gone_or_changed_is_refused_before_anything_is_run(
    run: store.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clear line each; `--baseline none` does without."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    out = tmp_path / "night"
    baseline.keep(replace(run, folder=tmp_path / "gone"))
    gone = invoke("nightly", *SMALL, "--out", out)
    baseline.keep(replace(run, manifest=run.manifest | {"hash": "other"}))
    changed = invoke("nightly", *SMALL, "--out", out)
    nowhere = invoke("nightly", *SMALL, "--baseline", tmp_path / "nowhere", "--out", out)
    without = invoke("nightly", *SMALL, "--baseline", "none", "--time-budget", "0s", "--out", out)

    for ended, said in ((gone, "is gone; name another"), (changed, "has changed since"), (nowhere, "is no folder")):
        assert ended.exit_code == 2
        assert len(ended.stderr.splitlines()) == 1
        assert said in ended.stderr
    assert without.exit_code == 3
    assert store.read(out).comparison is None
