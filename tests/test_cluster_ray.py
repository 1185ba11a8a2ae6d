"""A real Ray cluster of three nodes: the rows of one machine, though a node dies, and no process left behind."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.campaign import FAULTS
from faults.plans import TESTS, comparable, plan, run

from bench.processes import VARIABLE, left_behind, mark

COUNT = 150
PATIENCE_S = 60.0

Nodes = dict[str, Any]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """The cluster: its address, the raylets of its nodes, and the token that all its processes carry.

    Nobody without the password of this run can join it, and when it is closed nothing is left.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", "/tmp")  # noqa: S108  the path of a socket may have 107 characters
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
        patch.setenv(VARIABLE, secrets.token_hex(16))
        token = os.environ[VARIABLE]
        process = started("nodes.py", "3", stdin=subprocess.PIPE)
        assert process.stdout is not None
        said = next((line for line in process.stdout if line.startswith("{")), "{}")
        yield {**json.loads(said), "token": token}
        process.communicate("", timeout=PATIENCE_S)
        assert until_empty(lambda: left_behind(token)) == []


def started(script: str, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """A script of tests/faults in a process and a session of its own."""
    return subprocess.Popen(
        [sys.executable, str(TESTS / "faults" / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        **options,
    )


@contextmanager
def begun(nodes: Nodes, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A head that measures on the cluster and has some outcomes; it has ended after the block."""
    process = started("spread.py", nodes["address"], str(folder), str(COUNT))
    try:
        assert process.stdout is not None
        assert "under way\n" in iter(process.stdout.readline, "")
        yield process
        process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.communicate()


def until_empty(seen: Callable[[], list[str]]) -> list[str]:
    """What is still seen after some patience, which is nothing as soon as nothing is."""
    until = time.monotonic() + PATIENCE_S
    while (left := seen()) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def agents(nodes: Nodes) -> list[str]:
    """Commands of what we run on the nodes: agents, fork servers and workers."""
    return [text for text in left_behind(nodes["token"]) if "accuracy.worker" in text or text.startswith("ray::Agent")]


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_a_head_that_ends_leaves_no_worker_on_any_node(
    signal_number: signal.Signals, nodes: Nodes, tmp_path: Path
) -> None:
    """Killed it can tell nobody; interrupted it says what it has: what was measured, and the rest as not run."""
    with begun(nodes, tmp_path) as process:
        assert any("accuracy.worker" in text for text in agents(nodes))
        process.send_signal(signal_number)

    assert until_empty(lambda: agents(nodes)) == []
    if signal_number == signal.SIGINT:
        said = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
        assert said["interrupted"]
        assert len({row["id"] for row in said["rows"]}) == COUNT
        assert {row["reason"] for row in said["rows"] if row["status"] == "'not_run'"} == {"'interrupted'"}


def test_a_node_that_dies_costs_no_case(nodes: Nodes, tmp_path: Path) -> None:
    """Killed in the middle of a crash, an exception, an exit and a hang: the rows of one machine, each named."""
    with begun(nodes, tmp_path):
        os.kill(nodes["raylets"][-1], signal.SIGKILL)
    said = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    alone = run(plan(COUNT, FAULTS), measure="faults.workloads:slow")

    assert len(said["seats"]) == 3
    assert said["rows"] == json.loads(json.dumps(comparable(alone.rows)))
    assert said["complete"]
    assert sum("was lost after" in text for text in said["incidents"]) == 1
    assert until_empty(lambda: agents(nodes)) == []


def test_the_command_measures_on_a_cluster_with_another_library(nodes: Nodes, tmp_path: Path) -> None:
    """A checkout that no node has reaches their workers, which say so; a device that no node has is missing."""
    package = tmp_path / "checkout" / "bitsandbytes"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('the library that was sent')\n", encoding="utf-8")
    ended = command(
        *("--address", nodes["address"], "--bitsandbytes", str(tmp_path / "checkout"), "--out", str(tmp_path / "run")),
        *("--device", "cpu", "--device", "hpu", "--profile", "smoke", "--cases", "embedding8bit", "--examples", "1"),
    )
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))

    assert ended.returncode == 3, ended.stderr
    assert "the library that was sent" in manifest["unusable"]["cpu"]
    assert manifest["devices"]["missing"] == {"hpu": "no node of the cluster has the resource HPU"}
    assert until_empty(lambda: agents(nodes)) == []


def test_without_an_address_ray_is_started_for_the_run_and_ends_with_it(tmp_path: Path) -> None:
    """A device that this machine has not is not run; and no token stays in the home of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path / "home"))
        token = mark()
        ended = command(
            "--device", "hpu", "--profile", "smoke", "--cases", "embedding8bit", "--out", str(tmp_path / "r")
        )

    assert ended.returncode == 3, ended.stderr
    assert not list(tmp_path.glob("home/.ray/*"))
    assert until_empty(lambda: left_behind(token)) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--engine", "mpi"), "unknown engine 'mpi'; choose one of local, ray"),
        (("--address", "127.0.0.1:1"), "there is no Ray cluster at 127.0.0.1:1"),
        (("--address", "ray://somewhere:1"), "'ray://somewhere:1' is no address of a Ray cluster; write host:port"),
        (("--engine", "local", "--address", "auto"), "--address is of a Ray cluster; give --engine ray with it"),
    ],
)
def test_what_cannot_be_joined_is_refused_in_one_line(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """Before anything is begun."""
    ended = command(*arguments, "--out", str(tmp_path / "run"))

    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_without_ray_the_extra_is_named_and_the_local_engine_never_misses_it(tmp_path: Path) -> None:
    """A finder that refuses Ray stands for a machine without it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['ray'] = None\n",
        encoding="utf-8",
    )
    without = {**os.environ, "PYTHONPATH": str(tmp_path)}
    asked = command("--out", str(tmp_path / "run"), environment=without)
    local = subprocess.run(
        [sys.executable, "-c", "from accuracy import engine\nwith engine.started('local', None): print('fine')"],
        env=without,
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert asked.returncode == 2
    assert "--engine ray needs Ray" in asked.stderr
    assert "pip install 'bitsandbytes-accuracy[ray]'" in asked.stderr
    assert local.stdout == "fine\n"


def command(*arguments: str, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """`accuracy nightly --engine ray`, or another engine that follows."""
    return subprocess.run(
        [sys.executable, "-m", "accuracy", "nightly", "--engine", "ray", *arguments],
        env=environment,
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
