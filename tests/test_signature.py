"""Sign-off: a decision is bound to rows, verdicts, limits and waivers, and to nothing that is made from them."""

import datetime
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import data
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import cli
from accuracy import limits, plan, signature, store, storing, tables, waivers
from accuracy.cases import CASES
from reports import view

MOMENT = datetime.datetime(2026, 11, 22, 14, 0, tzinfo=datetime.UTC)
WAIVER = waivers.Waiver(
    id="w7",
    case="linear8bitlt-*",
    stage="compute",
    quantity="output",
    owner="A. Person",
    reason="known",
    link="docs/findings.md#f10",
    expires=datetime.date(2999, 1, 1),
    at_most=2.0,
)


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up failing run, as it is stored."""
    folder = tmp_path_factory.mktemp("runs") / "night"
    made = data.failing(per_case=2)
    by = limits.load()
    tasks = plan.make([CASES["embedding8bit"]], plan.PROFILES["smoke"], 1)
    storing.prepare(folder)
    manifest = {**made.manifest, "bounds": vars(by.bounds), "limits_hash": by.hash, "waivers": []}
    typed = tables.observations([{str(name): column.tolist() for name, column in made.observations.items()}])
    storing.write(folder, manifest, tables.plan(plan.rows(tasks)), typed, made.verdicts, made.summary)
    return folder


@pytest.fixture
def run(failing: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(failing, tmp_path / "night"))


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def sign(run: Path, *more: str, name: str = "R. Manager", decision: str = "reject") -> Result:
    return invoke("sign", run, "--name", name, "--decision", decision, *more)


def said(run: Path) -> str:
    """The sign-off block of the page."""
    return (run / "report.html").read_text(encoding="utf-8").split('<section id="signoff"')[1]


def refused(result: Result, words: str) -> None:
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr


def test_a_decision_is_recorded_and_shown(run: Path) -> None:
    """Who, what, when, why, on which verdict and limits: in the file, in the block to print and on the first screen."""
    ended = sign(run, "--note", "wait for F10 <b>")
    (entry,) = json.loads((run / "signature.json").read_text(encoding="utf-8"))["signatures"]
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))

    assert ended.exit_code == 0
    assert (entry["name"], entry["decision"], entry["verdict"]) == ("R. Manager", "reject", "do-not-release")
    assert (entry["run"], entry["limits_hash"]) == (manifest["hash"], manifest["limits_hash"])
    assert "✗ Reject</b> by R. Manager on " in said(run)
    assert "Note: wait for F10 &lt;b&gt;" in said(run)
    assert "<dt>Sign-off</dt><dd>reject, by R. Manager</dd>" in (run / "report.html").read_text(encoding="utf-8")
    assert "reject, by R. Manager" in (run / "summary.md").read_text(encoding="utf-8")


def test_decisions_are_added_and_none_is_lost(run: Path) -> None:
    sign(run)
    sign(run, "--note", "two users wait for it", name="B. Boss", decision="release")
    shown = said(run)

    assert [each.signature.decision for each in signature.read(run, store.read(run).manifest).entries] == [
        "reject",
        "release",
    ]
    assert shown.index("✗ Reject</b> by R. Manager") < shown.index("✓ Release</b> by B. Boss")


def test_report_and_judge_by_the_same_limits_keep_it_signed(run: Path) -> None:
    """What is made from the rows may be made again."""
    invoke("judge", run)
    sign(run)
    invoke("report", run)
    invoke("judge", run)

    assert [each.holds for each in signature.read(run, store.read(run).manifest).entries] == [True]
    assert "No longer valid" not in said(run)


def other_limits(run: Path) -> None:
    text = limits.DEFAULT_FILE.read_text(encoding="utf-8").replace("at_most = 1.0\n", "at_most = 0.9\n", 1)
    (run.parent / "limits.toml").write_text(text, encoding="utf-8")
    assert invoke("judge", run, "--limits", run.parent / "limits.toml").exit_code == 1


def other_words(run: Path) -> None:
    """Another basis moves no number, but it is another file."""
    text = limits.DEFAULT_FILE.read_text(encoding="utf-8").replace("a relation that is exact", "a relation held exact")
    (run.parent / "limits.toml").write_text(text, encoding="utf-8")
    assert invoke("judge", run, "--limits", run.parent / "limits.toml").exit_code == 1


def other_waivers(run: Path) -> None:
    text = "\n".join(f"{name} = {json.dumps(value)}" for name, value in waivers.entry(WAIVER).items())
    text = text.replace('"2999-01-01"', "2999-01-01").replace('"2.0"', "2.0").replace('"1.0"', "1.0")
    (run.parent / "waivers.toml").write_text(f"[[waiver]]\n{text}\n", encoding="utf-8")
    assert invoke("judge", run, "--waivers", run.parent / "waivers.toml").exit_code == 1


def other_rows(run: Path) -> None:
    """Rows replaced by somebody who knows how a folder is written."""
    stored = store.read(run)
    rows = stored.observations.assign(abs_max=stored.observations["abs_max"] / 2)
    storing.write(run, stored.manifest, stored.plan, rows, stored.verdicts, stored.summary)
    assert invoke("report", run).exit_code == 0


def other_machine(run: Path) -> None:
    stored = store.read(run)
    versions = {"versions": {**stored.manifest["versions"], "torch": "9"}}
    storing.write(run, stored.manifest | versions, stored.plan, stored.observations, stored.verdicts, stored.summary)
    assert invoke("report", run).exit_code == 0


@pytest.mark.parametrize("change", [other_limits, other_words, other_waivers, other_rows, other_machine])
def test_a_changed_run_no_longer_shows_as_signed(run: Path, change: Any) -> None:
    """Limits, their words, waivers, rows or the facts of the run: the page says that it is not what was signed."""
    invoke("judge", run)
    sign(run)
    change(run)

    assert [each.holds for each in signature.read(run, store.read(run).manifest).entries] == [False]
    assert "No longer valid</b> the run, its limits or its waivers are others than those signed" in said(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<dt>Sign-off</dt><dd>not signed: changed since R. Manager signed</dd>" in page


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "signatures": [], "hash": "0"}', '"\\ud800"', "[" * 10_000],
    ids=range(7),
)
def test_a_damaged_signature_signs_nothing(run: Path, text: str) -> None:
    """The page says so, and nobody signs over it."""
    (run / "signature.json").write_text(text, encoding="utf-8")
    invoke("report", run)

    assert "signature.json is damaged" in said(run)
    assert "damaged: not signed" in (run / "report.html").read_text(encoding="utf-8")
    refused(sign(run), "is damaged: its hash is not that of its text; move it away to sign anew")


def test_a_name_edited_in_the_file_signs_nothing(run: Path) -> None:
    sign(run)
    file = run / "signature.json"
    file.write_text(file.read_text(encoding="utf-8").replace("R. Manager", "B. Boss"), encoding="utf-8")

    assert signature.read(run, store.read(run).manifest).damage


def test_a_link_is_not_followed(run: Path) -> None:
    (run / "signature.json").symlink_to("/etc/hostname")
    assert signature.read(run, store.read(run).manifest).damage


def test_what_cannot_be_signed_is_one_line(run: Path, tmp_path: Path) -> None:
    refused(sign(run, decision="maybe"), "unknown decision 'maybe'; choose one of release, reject")
    refused(sign(run, name="  "), "nobody signs: give --name")
    refused(
        sign(run, decision="release"), "the verdict is do-not-release; to release all the same, say why with --note"
    )
    refused(sign(tmp_path / "nowhere"), "is no folder; the folder of a run is wanted")
    assert not (run / "signature.json").exists()


def test_a_release_of_what_may_be_released_needs_no_note() -> None:
    made = data.all_pass(per_case=1)
    run = store.Run(
        folder=Path("night"),
        manifest={**made.manifest, "hash": "f" * 64, "waivers": [{"id": "w1"}]},
        plan=pd.DataFrame(),
        observations=made.observations,
        verdicts=made.verdicts,
        summary=dict(made.summary),
    )
    signed = signature.sign(run, name=" R. Manager ", decision="release", note="", moment=MOMENT)

    assert asdict(signed) == {
        "name": "R. Manager",
        "decision": "release",
        "note": "",
        "signed": "2026-11-22T14:00:00+00:00",
        "verdict": "release",
        "limits_hash": made.manifest["limits_hash"],
        "waivers": ("w1",),
        "run": "f" * 64,
    }


@pytest.mark.parametrize(
    ("ratio", "expires", "today"),
    [
        (1.5, datetime.date(2999, 1, 1), "allows 1 check"),
        (3.0, datetime.date(2999, 1, 1), "does not hold for 1 failing check"),
        (1.5, datetime.date(2000, 1, 1), "does not hold for 1 failing check"),
        (0.5, datetime.date(2999, 1, 1), "allows nothing: remove it"),
    ],
)
def test_the_block_lists_what_each_waiver_does(ratio: float, expires: datetime.date, today: str) -> None:
    """Inside its interval and time it allows a failing check; outside it does not; where nothing fails it is idle."""
    known = waivers.Waiver(**{**vars(WAIVER), "expires": expires, "at_most": 2.0})
    fault = data.Fault(stage="compute", quantity="output", holds=lambda *_: True)
    made = data.make(per_case=1, cases={"linear8bitlt-eval": "Linear8bitLt"}, devices=("cpu",), faults=[fault])
    chosen = (made.observations["stage"] == "compute") & (made.observations["quantity"] == "output")
    rows = made.observations.assign(ratio=made.observations["ratio"].where(~chosen, ratio))
    again = data.assemble(rows, devices=["cpu"], missing={}, waivers=[known])
    manifest = {**again.manifest, "waivers": [waivers.entry(known)]}
    page = view.build(manifest, again.observations, again.verdicts, again.summary, run="night")

    assert [row[-1] for row in page.signoff.waivers.rows] == [today]
    assert page.signoff.waivers.rows[0][0] == "w7"


def test_a_waiver_survives_the_manifest() -> None:
    assert waivers.from_entry(json.loads(json.dumps(waivers.entry(WAIVER)))) == WAIVER
    with pytest.raises(waivers.WaiverError, match="judge the run again"):
        waivers.from_entry({**waivers.entry(WAIVER), "expires": "soon"})
