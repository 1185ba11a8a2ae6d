"""The recipes that users copy: the workflow is sound, names what there is, and its twin in shell gives a verdict."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

import cli
from accuracy import shards, store

ROOT = Path(cli.__file__).resolve().parent
WORKFLOW, SCRIPT = ROOT / "examples/fleet/nightly.yml", ROOT / "examples/fleet/nightly.sh"
BIN = Path(sys.executable).parent
COMMAND: Any = typer.main.get_command(cli.app)


def linted(workflow: Path) -> dict[str, int]:
    """The exit codes of the linters: the schema of workflows, and the audit of what an attacker could use."""
    commands: dict[str, list[str | Path]] = {
        "schema": [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow],
        "audit": [BIN / "zizmor", "--offline", "--no-progress", workflow],
    }
    return {
        name: subprocess.run(command, check=False, capture_output=True).returncode for name, command in commands.items()
    }


def test_the_workflow_passes_its_linters() -> None:
    assert linted(WORKFLOW) == {"schema": 0, "audit": 0}


@pytest.mark.parametrize(
    ("right", "wrong", "linter"),
    [
        ("runs-on: ubuntu-24.04\n", "run-on: ubuntu-24.04\n", "schema"),
        ("timeout-minutes", "timeout-minuets", "schema"),
        ("upload-artifact@ea165f8d65b6e75b540449e92b4886f43607fa02", "upload-artifact@v4", "audit"),
        ('--seed "$SEED"', "--seed ${{ github.event.issue.title }}", "audit"),
    ],
)
def test_the_linters_see_what_is_planted(tmp_path: Path, right: str, wrong: str, linter: str) -> None:
    """So that their silence says something."""
    text = WORKFLOW.read_text(encoding="utf-8")
    (tmp_path / "nightly.yml").write_text(text.replace(right, wrong, 1), encoding="utf-8")

    assert right in text
    assert linted(tmp_path / "nightly.yml")[linter] != 0


def jobs() -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(WORKFLOW)["jobs"]
    return found


def scripts() -> list[str]:
    return [step["run"] for job in jobs().values() for step in job["steps"] if "run" in step]


def test_jobs_wait_for_jobs_that_there_are() -> None:
    """What no linter here looks at."""
    there = jobs()
    needed = {
        name
        for job in there.values()
        for name in ([job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", ()))
    }
    used = set(re.findall(r"needs\.(\w+)\.", WORKFLOW.read_text(encoding="utf-8")))

    assert needed | used <= set(there)


def test_every_device_of_the_matrix_is_wanted_in_the_whole_and_measured_whole() -> None:
    """A device that is measured and not wanted could go missing unseen; a shard that no job has is never there."""
    merging = next(script for script in scripts() if "accuracy merge" in script)
    held: dict[str, list[str]] = {}
    for entry in jobs()["measure"]["strategy"]["matrix"]["include"]:
        held.setdefault(entry["device"], []).append(entry["shard"])

    assert set(re.findall(r"--device (\S+)", merging)) == set(held)
    assert shards.absent({"asked": "", "plan_hash": "", "plan_size": 9, "held": held, "refused": {}}) == {}


@pytest.mark.parametrize("text", [*scripts(), SCRIPT.read_text(encoding="utf-8")])
def test_commands_and_options_exist(text: str) -> None:
    """A recipe that is copied is run at night, where nobody reads its usage error."""
    for line in text.replace("\\\n", " ").splitlines():
        _, found, rest = line.partition("accuracy ")
        if not found or line.lstrip().startswith("#"):
            continue
        command, *words = shlex.split(rest.partition("||")[0])
        known = {flag for parameter in COMMAND.commands[command].params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


def night(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run([SCRIPT, *arguments], env=environment, check=False, capture_output=True, text=True)


def test_the_shell_twin_from_two_machines_to_a_verdict(tmp_path: Path) -> None:
    """Two shards measured apart, one run, its page and the history; then without one of them, incomplete."""
    few = ("--profile", "smoke", "--cases", "embedding8bit", "--examples", "1", "--jobs", "1")
    for shard in ("1/2", "2/2"):
        assert night("measure", str(tmp_path), "7", "cpu", shard, *few).returncode == 0
    ended = night("verdict", str(tmp_path), "first", "cpu")
    run = store.read(tmp_path / "nights" / "first")

    assert (ended.returncode, run.summary["verdict"]) == (0, "release")
    assert ended.stdout.startswith("release: 0 of ")
    assert run.manifest["parts"] is None
    assert "Release</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "runs" / "cpu-2-of-2").rename(tmp_path / "lost")
    second = night("verdict", str(tmp_path), "second", "cpu", "cuda")
    assert second.returncode == 3
    assert store.read(tmp_path / "nights" / "second").manifest["devices"]["missing"].keys() == {"cuda"}
    assert (tmp_path / "history.html").read_text(encoding="utf-8").count("first") >= 1


def test_the_shell_twin_says_how_it_is_used() -> None:
    ended = night()

    assert ended.returncode == 2
    assert "nightly.sh measure DIR SEED DEVICE I/N" in ended.stderr
