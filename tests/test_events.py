"""Events: whole lines of strict JSON, at most one a second of progress, and a reader that leaves costs no run."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import cli
from accuracy import events
from accuracy.files import StoreError
from accuracy.record import Progress

ROOT = Path(cli.__file__).resolve().parent


def test_each_event_is_one_line_at_once(tmp_path: Path) -> None:
    """What is in the file while the run goes on can be read; line ends in a text stay in it."""
    file = tmp_path / "events.ndjson"
    with events.stream(file) as emit:
        emit({"event": "started", "run": "a\nb\u2028"})
        assert json.loads(file.read_text(encoding="ascii")) == {"schema": 1, "event": "started", "run": "a\nb\u2028"}
        emit({"event": "done"})
    assert file.read_text(encoding="ascii").count("\n") == 2


def test_progress_is_told_once_a_second_and_at_the_end() -> None:
    """Of a case every 0.1 s for 3 s: at 0, 1 and 2 s, and the last."""
    told: list[events.Event] = []
    shown: list[Progress] = []
    show = events.progress(told.append, shown.append)
    for done in range(30):
        show(Progress(done=done + 1, total=30, resumed=0, seconds=done / 10))

    assert [event["done"] for event in told] == [1, 11, 21, 30]
    assert len(shown) == 30


def test_a_run_that_waits_is_told_whenever_it_says_so() -> None:
    told: list[events.Event] = []
    show = events.progress(told.append, lambda _: None)
    show(Progress(done=1, total=3, resumed=0, seconds=0.0))
    show(Progress(done=1, total=3, resumed=0, seconds=0.5, silent=0.5, waits="cpu: 1 starting"))

    assert [(event["silent"], event["waits"]) for event in told] == [(0.0, ""), (0.5, "cpu: 1 starting")]


@pytest.mark.parametrize(("value", "word"), [(math.nan, "nan"), (math.inf, "inf"), (1.5, 1.5)])
def test_a_cell_carries_what_json_cannot_as_words(value: float, word: object) -> None:
    cell = dict.fromkeys(["case", "device", "dtype", "stage", "quantity", "verdict", "worst_id", "reason"], "x")
    frame = pd.DataFrame([{**cell, "worst_ratio": value, "n": 3, "failing": 1}])
    (event,) = events.cells(frame)

    assert json.loads(json.dumps(event, allow_nan=False))["worst_ratio"] == word


def test_a_reader_that_leaves_costs_a_line_and_not_the_run() -> None:
    """The exit code stays that of the run, and stderr says once that the events end."""
    code = (
        "from pathlib import Path\n"
        "from accuracy import events\n"
        "with events.stream(Path('-')) as emit:\n"
        "    input()\n"
        "    emit({'event': 'a'}); emit({'event': 'b'})\n"
        "raise SystemExit(3)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, said = process.communicate("\n")

    assert process.returncode == 3
    assert said == "accuracy: no more events, stdout cannot be written: Broken pipe\n"


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="name another file for the events"), events.stream(tmp_path / "no" / "file"):
        pass
