"""History: since when, what turned, what shifted and what changed with it, by hand; strangers are left out by name."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import data
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import cli
from accuracy import history, limits, store, storing, tables
from accuracy.case import CELL
from accuracy.files import StoreError
from reports import past

CELLS = (
    ("linear4bit-nf4-eval", "cpu", "float32", "compute", "output"),
    ("linear8bitlt-eval", "cpu", "float16", "compute", "output"),
)
BASE = data.make(per_case=1, cases={"linear8bitlt-eval": "Linear8bitLt"}, devices=("cpu",))


def night(root: Path, day: int, table: Mapping[history.Place, tuple[str, float]], **changed: Any) -> Path:
    """A stored run of 2026-03-DAY whose verdict table holds these cells: verdict and p99."""
    rows = [
        {
            **dict(zip(CELL, cell, strict=True)),
            "verdict": verdict,
            "worst_ratio": 2 * p99,
            "worst_id": "a" * 16,
            "n": 3,
            "failing": verdict == "fail",
            "caused_by": "",
            "limit_id": "",
            "basis": "b",
            "reason": "",
            "p99": p99,
            "largest": 2 * p99,
        }
        for cell, (verdict, p99) in table.items()
    ]
    verdicts = pd.DataFrame(rows, columns=list(BASE.verdicts.columns)).astype({"failing": int})
    created = str(np.datetime64("2026-03-01T02:00:00") + np.timedelta64(day - 1, "D")) + "+00:00"
    manifest = {**BASE.manifest, "created": created, "limits_hash": "l" * 16, "bounds": vars(limits.load().bounds)}
    folder = root / f"night-{day:03}"
    storing.prepare(folder)
    typed = tables.observations([{str(name): column.tolist() for name, column in BASE.observations.items()}])
    storing.write(folder, {**manifest, **changed}, tables.plan([]), typed, verdicts, BASE.summary)
    return folder


def nights(root: Path, *tables: Mapping[history.Place, tuple[str, float]]) -> history.History:
    for day, table in enumerate(tables, start=1):
        night(root, day, table)
    return history.read(root)


def versions(**changed: str) -> dict[str, Any]:
    return {"versions": {**BASE.manifest["versions"], **changed}}


def test_since_counts_the_nights_that_measured(tmp_path: Path) -> None:
    """pass, fail, (not measured), warn, fail, (not run), fail: two nights since the fifth; the fourth did not fail."""
    first, second = CELLS
    found = nights(
        tmp_path,
        {first: ("pass", 0.5)},
        {first: ("fail", 1.5)},
        {second: ("fail", 3.0)},
        {first: ("warn", 0.9), second: ("fail", 3.0)},
        {first: ("fail", 1.5), second: ("pass", 0.5)},
        {first: ("not_run", 0.0), second: ("pass", 0.5)},
        {first: ("fail", 1.5), second: ("pass", 0.5)},
    )

    assert history.since(found) == {first: history.Since(first=4, nights=2, before=3)}


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        ("pf", "New: did not fail on 2026-03-01."),
        ("pff", "Since 2026-03-02, 2 nights."),
        ("fff", "Since 2026-03-01 or earlier."),
        ("f", "No earlier night measured it."),
        ("fp", ""),
    ],
)
def test_since_in_words(tmp_path: Path, verdicts: str, text: str) -> None:
    word = {"p": ("pass", 0.5), "f": ("fail", 2.0)}
    found = past.of(nights(tmp_path, *({CELLS[0]: word[each]} for each in verdicts)))

    assert past.failing_since(found, [CELLS[0]]) == text


def test_a_cause_names_its_oldest_check_and_how_many_are_new(tmp_path: Path) -> None:
    first, second = CELLS
    ok, bad = ("pass", 0.5), ("fail", 2.0)
    found = past.of(nights(tmp_path, {first: ok, second: ok}, {first: bad, second: ok}, {first: bad, second: bad}))

    assert past.failing_since(found, CELLS) == "Since 2026-03-02, 2 nights; new in 1 of 2 checks."


def test_what_turned_is_told_once(tmp_path: Path) -> None:
    """A verdict that stays says nothing; a night that did not measure is passed over."""
    cell = CELLS[0]
    found = nights(
        tmp_path, *({cell: (verdict, 1.0)} for verdict in ("pass", "fail", "fail", "not_run", "fail", "warn", "pass"))
    )

    assert history.turned(found)[["night", "was", "verdict"]].to_numpy().tolist() == [
        [1, "pass", "fail"],
        [5, "fail", "warn"],
        [6, "warn", "pass"],
    ]


def test_differences_name_versions_machines_limits_and_profile(tmp_path: Path) -> None:
    """What is equal is not named; a device that comes or goes is."""
    facts = {"device_name": "AMD EPYC", "threads": 1}
    night(tmp_path, 1, {}, environment={"cpu": facts, "cuda": facts}, **versions(bitsandbytes="0.50.1"))
    night(
        tmp_path,
        2,
        {},
        environment={"cpu": {**facts, "threads": 2}, "xpu": facts},
        limits_hash="m" * 16,
        profile="smoke",
        **versions(bitsandbytes="0.50.2"),
    )
    found = history.read(tmp_path)

    assert history.differences(*found.nights) == (
        "bitsandbytes 0.50.1 → 0.50.2",
        "cpu threads 1 → 2",
        "xpu new",
        "cuda gone",
        "limits llllllll → mmmmmmmm",
        "profile nightly → smoke",
    )


def test_a_shift_is_named_with_what_changed_that_night(tmp_path: Path) -> None:
    """Half as much again from the 25th of 40 nights on, with a new library; the steady cell beside it is not named."""
    rng = np.random.default_rng(0)
    first, second = CELLS
    for day in range(1, 41):
        level = 0.4 if day < 25 else 0.6
        table = {first: ("pass", level * np.exp(rng.normal(0, 0.05))), second: ("pass", 0.4 + 0.1 * rng.random())}
        night(tmp_path, day, table, **versions(bitsandbytes="0.50.1" if day < 25 else "0.50.2"))
    found = past.of(history.read(tmp_path))
    told = past.trend(found, first, "Output")

    assert {cell: [shift.night for shift in shifts] for cell, shifts in found.shifts.items()} == {first: [24]}
    assert told is not None
    assert told.notes == (told.chart.marks[0].text,)
    assert told.notes[0].startswith("2026-03-25: the level of p99 rose from 0.394 to 0.61; that night")
    assert told.notes[0].endswith("; that night bitsandbytes 0.50.1 → 0.50.2.")
    assert [rule.text for rule in told.chart.rules] == ["2026-03-25: bitsandbytes 0.50.1 → 0.50.2."]


def test_other_limits_are_no_shift(tmp_path: Path) -> None:
    """Under limits twice as wide every ratio halves: the nights on either side are not compared."""
    for day in range(1, 61):
        night(tmp_path, day, {CELLS[0]: ("pass", 0.4 if day < 31 else 0.2)}, limits_hash="l" if day < 31 else "m")

    assert history.shifts(history.read(tmp_path)) == {}


def test_one_cell_alone_is_what_it_is_among_all(tmp_path: Path) -> None:
    found = nights(tmp_path, *(dict.fromkeys(CELLS, ("pass", 0.1 * day)) for day in range(1, 4)))
    alone = history.read(tmp_path, cell=CELLS[1])

    assert alone.nights == found.nights
    assert alone.cells == (CELLS[1],)
    mine = found.rows[found.rows["cell"] == found.cells.index(CELLS[1])]
    assert alone.rows["p99"].tolist() == mine["p99"].tolist() == [0.1, 0.2, 0.30000000000000004]


def test_a_run_is_not_its_own_past(tmp_path: Path) -> None:
    """Nights from later, and the run itself, are left out; the run comes last."""
    for day in (1, 2, 3):
        night(tmp_path, day, {CELLS[0]: ("fail", 2.0)})
    run = store.read(tmp_path / "night-002")
    earlier = history.read(tmp_path, before=run.manifest["created"], leave_out=run.manifest["hash"])
    whole = history.with_run(earlier, "night-002", run.manifest, run.verdicts)

    assert [each.folder for each in earlier.nights] == ["night-001"]
    assert [each.folder for each in whole.nights] == ["night-001", "night-002"]
    assert history.since(whole)[CELLS[0]].nights == 2


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def cut_table(folder: Path) -> None:
    (folder / "verdicts.parquet").write_bytes((folder / "verdicts.parquet").read_bytes()[:-10])


def other_format(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"schema": 99}', encoding="utf-8")


def edited(folder: Path) -> None:
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    (folder / "manifest.json").write_text(text.replace("nightly", "nightlY"), encoding="utf-8")


def a_link(folder: Path) -> None:
    (folder / "verdicts.parquet").unlink()
    (folder / "verdicts.parquet").symlink_to("/dev/zero")


def a_list(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]", encoding="utf-8")


@pytest.mark.parametrize("damage", [no_manifest, cut_table, other_format, edited, a_link, a_list])
def test_a_damaged_or_foreign_folder_is_named_and_left_out(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """The other nights are told as if it were not there; the page says what it did not read, and why."""
    for day in (1, 2, 3):
        night(tmp_path, day, {CELLS[0]: ("pass", 0.5)})
    damage(tmp_path / "night-002")
    (tmp_path / "notes.txt").write_text("no folder", encoding="utf-8")
    result = invoke("history", tmp_path)
    page = (tmp_path / "history.html").read_text(encoding="utf-8")

    assert [each.folder for each in history.read(tmp_path).nights] == ["night-001", "night-003"]
    assert result.exit_code == 0
    assert result.stdout.strip() == str(tmp_path / "history.html")
    assert "night-002 left out: " in result.stderr
    assert '<tr><th scope="row">night-002</th><td>' in page
    assert "notes.txt" not in page


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_what_is_no_folder_is_one_line(tmp_path: Path) -> None:
    result = invoke("history", tmp_path / "nowhere")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "is no folder; a folder of run folders is wanted" in result.stderr
    with pytest.raises(StoreError):
        history.read(tmp_path / "nowhere")


def test_no_nights_and_one(tmp_path: Path) -> None:
    assert invoke("history", tmp_path).exit_code == 0
    assert "No finished run is here." in (tmp_path / "history.html").read_text(encoding="utf-8")
    night(tmp_path, 1, {CELLS[0]: ("fail", 2.0)})
    assert invoke("history", tmp_path).exit_code == 0


def test_the_index_leads_to_the_reports_from_wherever_it_stands(tmp_path: Path) -> None:
    """Relative links, quoted: a folder may be called anything."""
    night(tmp_path / "runs", 1, {CELLS[0]: ("pass", 0.5)})
    os.rename(tmp_path / "runs/night-001", tmp_path / 'runs/a "night" #1')  # noqa: PTH104  a name Path would take too
    invoke("history", tmp_path / "runs")
    invoke("history", tmp_path / "runs", "--out", tmp_path / "pages.html")

    assert 'href="a%20%22night%22%20%231/report.html"' in (tmp_path / "runs/history.html").read_text(encoding="utf-8")
    assert 'href="runs/a%20%22night%22%20%231/report.html"' in (tmp_path / "pages.html").read_text(encoding="utf-8")


def test_the_index_says_what_the_nights_say(tmp_path: Path) -> None:
    """Newest first; verdict and counts are those of the verdict table."""
    first, second = CELLS
    night(tmp_path, 1, {first: ("pass", 0.5), second: ("pass", 0.5)})
    night(tmp_path, 2, {first: ("fail", 2.0), second: ("pass", 0.5)}, **versions(torch="9.9"))
    night(tmp_path, 3, {first: ("not_run", 0.0), second: ("warn", 0.9)})
    invoke("history", tmp_path)
    page = (tmp_path / "history.html").read_text(encoding="utf-8")
    rows = page.split("<tbody>")[1].split("</tbody>")[0].split("</tr>")[:-1]

    assert ["○ Incomplete" in rows[0], "✗ Do not release" in rows[1], "✓ Release" in rows[2]] == [True] * 3
    assert "1 began to fail (linear4bit-nf4-eval cpu fp32 compute/output)" in rows[1]
    assert "torch 2.13.0+cpu → 9.9" in rows[1]
    assert "1 between pass and warning" in rows[0]


def test_a_report_with_a_past_says_since_when_and_one_without_does_not(tmp_path: Path) -> None:
    """The same night twice, by itself and after two others; a second build is byte for byte the first."""
    made = data.failing(per_case=2, cases={"linear4bit-fp4-eval": "Linear4bit"}, devices=("cpu",))
    typed = tables.observations([{str(name): column.tolist() for name, column in made.observations.items()}])
    for day in (1, 2, 3):
        verdicts = made.verdicts if day > 1 else made.verdicts.assign(verdict="pass")
        manifest = {**made.manifest, "created": f"2026-11-2{day}T02:00:00+00:00", "bounds": {}}
        storing.prepare(tmp_path / f"n{day}")
        storing.write(tmp_path / f"n{day}", manifest, tables.plan([]), typed, verdicts, made.summary)
    run = tmp_path / "n3"
    invoke("report", run)
    alone = (run / "report.html").read_text(encoding="utf-8")
    invoke("report", run, "--history", tmp_path)
    after = (run / "report.html").read_text(encoding="utf-8")
    invoke("report", run, "--history", tmp_path)

    assert "Since 2026-11-22, 2 nights." in after.split('id="matrix"', maxsplit=1)[0]
    assert "Trend over nights" in after
    assert "Since 2026-11-22" not in alone
    assert "Trend over nights" not in alone
    assert (run / "report.html").read_text(encoding="utf-8") == after
    assert "Since 2026-11-22, 2 nights." in (run / "summary.md").read_text(encoding="utf-8")
