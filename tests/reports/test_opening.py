"""A stored run, as a report opens it, gives the page of all its rows, without what one device has no use for."""

import os
from pathlib import Path

import data
import pytest

from accuracy import quarantine, store, storing, tables
from reports import opening
from reports.render import render


def stored(folder: Path, made: data.Run) -> Path:
    """The run as a folder."""
    typed = tables.observations([{str(name): column.tolist() for name, column in made.observations.items()}])
    storing.prepare(folder)
    storing.write(folder, {**made.manifest, "bounds": {}}, tables.plan([]), typed, made.verdicts, made.summary)
    return folder


def page(run: store.Run) -> str:
    return render(run.manifest, run.observations, run.verdicts, run.summary)


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu:avx2")])
def test_a_page_is_that_of_all_rows_and_columns(tmp_path: Path, devices: tuple[str, ...]) -> None:
    """Two devices are held against each other by samples, which one does without."""
    folder = stored(tmp_path / "run", data.noted(data.failing(per_case=10, devices=devices)))
    opened = opening.opened(folder)

    assert isinstance(opened, store.Run)
    assert ("sample_values" in opened.observations) == (len(devices) > 1)
    assert page(opened) == page(store.read(folder))


@pytest.mark.parametrize("before", [None, "3"])
def test_the_threads_of_numpy_are_those_of_the_environment_again(
    monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """What a report starts without them is nobody else's concern."""
    monkeypatch.delenv(quarantine.THREADS, raising=False)
    if before is not None:
        monkeypatch.setenv(quarantine.THREADS, before)
    with opening.unthreaded():
        assert os.environ[quarantine.THREADS] == "1"
    assert os.environ.get(quarantine.THREADS) == before
