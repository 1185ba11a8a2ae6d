"""A run that is killed goes on where it was and ends as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from faults.plans import TESTS, comparable, plan, reasons, run

from accuracy.files import JOURNAL, StoreError
from accuracy.journal import Journal
from bench.processes import gone, mark

COUNT = 120
KILLS = int(os.environ.get("ACCURACY_TEST_KILLS", "10"))
"""Kills in all campaigns together; a release is tried with 100."""


def start(folder: Path) -> subprocess.Popen[bytes]:
    """A campaign in a process of its own."""
    path = os.pathsep.join((str(TESTS), str(TESTS.parent)))
    return subprocess.Popen(
        [sys.executable, "-m", "faults.campaign", str(folder), str(COUNT)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> str:
    """Waits for its end; what it said on standard error."""
    _, said = process.communicate(timeout=120)
    return said.decode()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The rows of a campaign that nobody disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert not finish(start(folder))
    return json.loads((folder / "rows.json").read_text())


def test_a_run_killed_at_random_moments_ends_with_the_same_rows(tmp_path: Path, unbroken: Any) -> None:
    """SIGKILL of the parent, again and again: no worker is left, no outcome lost, doubled or changed."""
    moments = random.Random(20)  # noqa: S311  moments, not secrets
    killed = campaigns = 0
    while killed < KILLS:
        campaigns += 1
        folder = tmp_path / str(campaigns)
        folder.mkdir()
        while not (folder / "rows.json").exists():
            token = mark()
            process = start(folder)
            try:
                process.wait(moments.uniform(0.3, 1.5) if killed < KILLS else 120)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
            assert not finish(process)
            assert gone(token)
            with (folder / JOURNAL).open("ab") as journal:
                journal.write(moments.choice([b"", b"", b"12ab34cd\trows\tcpu\t00"]))  # as a torn write leaves it
        assert json.loads((folder / "rows.json").read_text()) == unbroken


@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGTERM], [signal.SIGHUP], [signal.SIGINT], [signal.SIGINT, signal.SIGINT]],
    ids=["term", "hup", "int", "int twice"],
)
def test_a_run_ended_by_a_signal_can_be_resumed(tmp_path: Path, unbroken: Any, numbers: list[signal.Signals]) -> None:
    """As by a scheduler, a terminal that closes, Control-C, or Control-C by someone impatient."""
    token = mark()
    process = start(tmp_path)
    time.sleep(0.9)
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.01)
    process.communicate(timeout=30)
    assert gone(token)

    assert not finish(start(tmp_path))
    assert json.loads((tmp_path / "rows.json").read_text()) == unbroken


def test_what_is_settled_is_not_run_again(tmp_path: Path) -> None:
    """A second pass over a finished journal starts no worker and gives the same rows."""
    with Journal(tmp_path, {}) as journal:
        first = run(plan(10, {2: "segfault"}), journal=journal)
    with Journal(tmp_path, {}, resume=True) as journal:
        second = run(plan(10, {2: "segfault"}), journal=journal, interpreter="/nowhere/python")

    assert [row["id"] for row in second.rows] == [row["id"] for row in first.rows]
    assert second.complete


def test_what_a_device_refused_is_settled_for_good(tmp_path: Path) -> None:
    """It is in the journal like any other outcome: a second pass asks neither the adapter nor a worker."""
    with Journal(tmp_path, {}) as journal:
        first = run(plan(10), journal=journal, refuse=lambda task, _: "too odd (manual)" if task.seed % 2 else "")
    with Journal(tmp_path, {}, resume=True) as journal:
        second = run(plan(10), journal=journal, interpreter="/nowhere/python")

    assert comparable(second.rows) == comparable(first.rows)
    assert reasons(second) == dict.fromkeys(range(1, 10, 2), "not_supported too odd (manual)")


def test_two_runs_into_one_folder(tmp_path: Path, unbroken: Any) -> None:
    """The second is refused in one line while the first goes on, and spoils nothing."""
    first = start(tmp_path)
    while not (tmp_path / JOURNAL).exists():
        time.sleep(0.01)
    said = finish(start(tmp_path))

    assert "is in use by a run under way" in said
    assert said.count("\n") == 1
    assert not finish(first)
    assert json.loads((tmp_path / "rows.json").read_text()) == unbroken


def test_a_resumed_run_on_something_else_is_refused(tmp_path: Path) -> None:
    """The library, say, is not the one the run began with: the worker's own facts tell."""
    with Journal(tmp_path, {}) as journal:
        journal.hello("cpu", {"python": "3.0.0", "bitsandbytes": "0.1"})

    with (
        Journal(tmp_path, {}, resume=True) as journal,
        pytest.raises(StoreError, match=r"cpu is not what it was: bitsandbytes was '0.1', now is None"),
    ):
        run(plan(3), journal=journal)


def test_a_full_disk_ends_the_run_and_says_so(tmp_path: Path, unbroken: Any) -> None:
    """A limit on the size of files stands for the disk. With room again, the run ends as if nothing had been."""
    path = os.pathsep.join((str(TESTS), str(TESTS.parent)))
    code = (
        "import resource, signal, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "import runpy; sys.argv[0] = 'campaign'; runpy.run_module('faults.campaign', run_name='__main__')"
    )
    token = mark()
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(COUNT)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=False,
        timeout=60,
    )
    said = ended.stderr.decode()
    assert ended.returncode == 1
    assert "all before is kept: make room, then go on with --resume" in said
    assert said.count("\n") == 1
    assert gone(token)
    assert (tmp_path / JOURNAL).stat().st_size > 20_000

    assert not finish(start(tmp_path))
    assert json.loads((tmp_path / "rows.json").read_text()) == unbroken
