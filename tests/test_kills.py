"""A real night that is killed while it starts, measures, stores and reports, or has no room for its report."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from test_journal import failing
from test_nightly import HERE, requested, small

from accuracy import nightly, store, storing
from accuracy.conclusion import Result
from accuracy.files import StoreError
from accuracy.prepared import prepare
from bench import kills
from reports import publish


def test_a_night_killed_and_resumed_is_that_of_an_unbroken_run(capfd: pytest.CaptureFixture[str]) -> None:
    """The command itself, twice; `python -m bench.kills` does a hundred."""
    assert kills.main(["--kills", "2", "--seed", "2", "--cases", "embedding8bit"]) == 0

    said = capfd.readouterr()
    assert all(line.endswith(": as the unbroken run") for line in said.err.splitlines())
    assert "| kills | 2 |" in said.out
    assert "| anything wrong | 0 |" in said.out


@pytest.fixture(scope="module")
def result() -> Result:
    """Fourteen real cases."""
    return nightly.run(prepare(requested([small("embedding8bit")]), HERE), None, lambda _: None)


def test_what_differs_from_the_unbroken_run_is_told(tmp_path: Path, result: Result) -> None:
    """A campaign whose rows are others, and one that never came to its end."""
    rows = result.observations
    stored(tmp_path / "run", result)
    wanted = kills.comparable(tmp_path / "run")
    assert kills.differing(tmp_path / "run", wanted) == []

    stored(tmp_path / "other", result, rows.assign(abs_max=rows["abs_max"].where(rows.index > 0, 2.0)))
    assert kills.differing(tmp_path / "other", wanted) == ["observations"]
    assert "is no folder" in kills.differing(tmp_path / "nowhere", wanted)[0]


def stored(folder: Path, result: Result, rows: Any = None) -> dict[str, Any]:
    storing.prepare(folder)
    return storing.write(
        folder,
        result.manifest,
        result.plan,
        result.observations if rows is None else rows,
        result.verdicts,
        result.summary,
    )


def test_a_disk_that_fails_while_the_report_is_written_leaves_the_run_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: Result
) -> None:
    """The nth file of the report meets a full disk: one line, no half file, and the run can be read and reported."""
    folder = tmp_path / "run"
    manifest = stored(folder, result)
    whole = {path.name for path in folder.iterdir()}
    parts = (folder, manifest, result.observations, result.verdicts, result.summary)
    real = os.write
    for nth in range(1, 20):
        monkeypatch.setattr(os, "write", failing(real, nth, errno.ENOSPC, for_good=True))
        try:
            publish.write(*parts)
        except StoreError as failure:
            assert "\n" not in str(failure)  # noqa: PT017  a report that is written ends the loop
        else:
            assert nth > 1
            break
        finally:
            monkeypatch.setattr(os, "write", real)
        written = {path.name for path in folder.iterdir()} - whole
        assert written <= {publish.PAGE, publish.JUNIT, publish.MARKDOWN}
        assert len(written) == nth - 1
        assert len(store.read(folder).observations) == len(result.observations)
    assert (folder / publish.MARKDOWN).exists()
