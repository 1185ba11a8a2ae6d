"""The history of one case: which nights measured it, with which library, and where it failed."""

from pathlib import Path

import data
import pytest
from typer.testing import CliRunner

import cli
from accuracy import limits, recurrence, storing, tables
from accuracy.files import StoreError

BASE = data.make(per_case=1, cases={"linear8bitlt-eval": "Linear8bitLt"}, devices=("cpu", "cuda"))
CASE = str(BASE.observations["id"].iloc[0])


def night(root: Path, day: int, version: str, *, failing: str = "", without: bool = False) -> None:
    """A stored run whose case fails on one device, or that does not hold the case."""
    rows = BASE.observations.assign(status="ok", reason="")
    bad = (rows["id"] == CASE) & (rows["device"] == failing) & (rows["stage"] == "compute")
    rows.loc[bad, ["status", "reason"]] = ["fail", "ratio is 3"]
    rows = rows[rows["id"] != CASE] if without else rows
    folder = root / f"night-{day}"
    storing.prepare(folder)
    typed = tables.observations([{str(name): column.tolist() for name, column in rows.items()}])
    changed = {
        "created": f"2026-03-0{day}T02:00:00+00:00",
        "versions": BASE.manifest["versions"] | {"bitsandbytes": version},
        "bounds": vars(limits.load().bounds),
    }
    storing.write(folder, {**BASE.manifest, **changed}, tables.plan([]), typed, BASE.verdicts, BASE.summary)


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    night(tmp_path, 1, "0.1")
    night(tmp_path, 2, "0.1", without=True)
    night(tmp_path, 3, "0.2", failing="cuda")
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_a_case_is_followed_over_nights_libraries_and_devices(nights: Path) -> None:
    """A night that did not plan the case is left out; a folder that is no run is named."""
    found, unreadable = recurrence.read(nights, CASE)

    assert [(each.folder, each.device, each.status) for each in found] == [
        ("night-1", "cpu", "ok"),
        ("night-1", "cuda", "ok"),
        ("night-3", "cpu", "ok"),
        ("night-3", "cuda", "fail"),
    ]
    (bad,) = recurrence.failing(found)
    assert (bad.version, bad.reason) == ("0.2", "ratio is 3")
    assert {name.partition("/")[0] for name in bad.failing} == {"compute"}
    assert list(unreadable) == ["notes"]


def test_a_case_that_no_night_has_is_refused(nights: Path) -> None:
    with pytest.raises(StoreError, match="has the case '0'; the reports"):
        recurrence.read(nights, "0")
    with pytest.raises(StoreError, match="is no folder"):
        recurrence.read(nights / "night-9", CASE)


def test_the_command_says_where_it_failed_at_all(nights: Path) -> None:
    ended = CliRunner().invoke(cli.app, ["history", str(nights), "--case", CASE])

    assert ended.exit_code == 0, ended.output
    assert ended.stdout.splitlines()[-1] == "failed on 1 of 2 nights: bitsandbytes 0.2 on cuda"
    assert "notes left out" in ended.stderr
