"""Names, folders and machines that are not ours: nothing is written elsewhere, run, shown raw or given away."""

import getpass
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_nightly import HERE, requested, small
from typer.testing import CliRunner

import cli
from accuracy import nightly, remeasure, store, storing
from accuracy.plan import PlanError
from accuracy.prepared import prepare

NAMES = [
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\CON",
    "CON",
    "a\x00b",
    "x" * 300,
    "embedding8bit\u2024",
    "-rf",
    "$(touch planted)",
    "\x1b]0;title\x07",
]
"""Names of files, devices or cases that broke other programs."""


SMALL = ("--profile", "smoke", "--cases", "embedding8bit", "--examples", "1", "--device", "cpu", "--seed", "7")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real run as a folder."""
    folder = tmp_path_factory.mktemp("strangers") / "night"
    result = nightly.run(prepare(requested([small("embedding8bit")]), HERE), None, lambda _: None)
    storing.prepare(folder)
    storing.write(folder, result.manifest, result.plan, result.observations, result.verdicts, result.summary)
    return folder


def named(run: store.Run, name: str) -> dict[str, Any]:
    """The parts of a run in which ids, cases and devices have this name."""
    text = ["id", "case", "device", "origin", "dtype"]
    return {
        "manifest": run.manifest
        | {
            "cases": {name: next(iter(run.manifest["cases"].values()))},
            "devices": {"requested": [name], "found": {name: name}, "missing": {}},
            "environment": {name: {}},
        },
        "plan": run.plan.assign(id=name, case=name, origin=name),
        "observations": run.observations.assign(**dict.fromkeys(text, name)),
        "verdicts": run.verdicts.assign(case=name, device=name, dtype=name, worst_id=name),
        "summary": run.summary,
    }


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_names_in_a_run_name_no_file(night: Path, tmp_path: Path, name: str) -> None:
    """A run whose ids, cases and devices are called so is rendered, and writes its three pages and nothing else."""
    folder = tmp_path / "inner" / "run"
    storing.prepare(folder)
    storing.write(folder, **named(store.read(night), name))
    before = everything(tmp_path)

    ended = CliRunner().invoke(cli.app, ["report", str(folder)])

    assert ended.exit_code == 0, ended.stderr
    after = everything(tmp_path)
    assert after.keys() - before.keys() == {f"inner/run/{page}" for page in ("report.html", "junit.xml", "summary.md")}
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize("name", NAMES)
def test_names_in_a_run_are_not_replayed(night: Path, tmp_path: Path, name: str) -> None:
    """An id, case or device that we do not know is one printable line, and no worker is started for it."""
    folder = tmp_path / "run"
    storing.prepare(folder)
    storing.write(folder, **named(store.read(night), name))

    ended = CliRunner().invoke(cli.app, ["replay", str(folder), "--", name])

    assert ended.exit_code == 2
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.strip().isprintable()
    assert f"there is no case {name!r} here" in ended.stderr or not name.isprintable()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config": '{"dtype": "float32", "rows": 1}'}, "which is no config of embedding8bit"),
        ({"config": "[]"}, "which is no config of embedding8bit"),
        ({"config": "[" * 9999}, "which is no config of embedding8bit"),
        ({"seed": "zero"}, "which is no config of embedding8bit"),
        ({"seed": "3"}, "the plan calls"),
    ],
)
def test_a_plan_that_was_tampered_with_is_not_replayed(night: Path, change: dict[str, str], said: str) -> None:
    """Its id is the hash of what is to be run: another config or seed does not pass under it."""
    run = store.read(night)
    planned = run.plan.assign(**change)
    with pytest.raises(PlanError, match=said):
        remeasure.measure(store.Run(**{**vars(run), "plan": planned}), [planned["id"].iloc[0]], requested([]).limits)


def test_a_device_that_we_do_not_know_is_not_replayed(night: Path) -> None:
    """The manifest of a stranger names where to run it."""
    run = store.read(night)
    devices = {"requested": [], "found": {"tpu; rm -rf": ""}, "missing": {}}
    with pytest.raises(PlanError, match="unknown device 'tpu; rm -rf'"):
        remeasure.measure(
            store.Run(**{**vars(run), "manifest": run.manifest | {"devices": devices}}),
            [run.plan["id"].iloc[0]],
            requested([]).limits,
        )


def test_a_folder_whose_name_steers_terminals_is_told_of_in_plain_letters(tmp_path: Path) -> None:
    """In errors about it and about what lies in it."""
    folder = tmp_path / "run\x1b]0;title\x07"
    folder.mkdir()
    (folder / "a\x1b[2Jfile").touch()

    for arguments in (["report", str(folder)], ["nightly", *SMALL, "--out", str(folder)]):
        said = CliRunner().invoke(cli.app, arguments).output
        assert "title" in said
        assert "\x1b" not in said
        assert "\x07" not in said


def planted_environment(home: Path) -> dict[str, str]:
    """What a build machine might have: secrets, a home and names, none of them for a report that is passed on."""
    return {
        **os.environ,
        "AWS_SECRET_ACCESS_KEY": "planted-secret-1",
        "GITHUB_TOKEN": "planted-secret-2",
        "HOME": str(home / "planted-home"),
        "USER": "planted-user",
        "HOSTNAME": "planted-host",
        "SSH_CONNECTION": "planted-address 22",
    }


def leaks(data: bytes, place: Path) -> list[str]:
    """Which of the words that only this machine knows are in there."""
    own = [str(place), str(Path(cli.__file__).parent), sys.prefix, f"/home/{getpass.getuser()}", socket.gethostname()]
    return [word for word in ("planted-", *own) if len(word) > 5 and word.encode() in data]  # short names are words


@pytest.mark.parametrize("kind", ["a good run", "a library that cannot be imported"])
def test_nothing_of_the_machine_gets_into_a_run(tmp_path: Path, kind: str) -> None:
    """Environment, host, user and folders: in none of the files, whether cases ran or a traceback came instead."""
    environment, folder = planted_environment(tmp_path), tmp_path / "run"
    if kind != "a good run":
        library = tmp_path / "path" / "bitsandbytes"
        library.mkdir(parents=True)
        (library / "__init__.py").write_text("raise ImportError('no kernel image')")
        environment["PYTHONPATH"] = str(library.parent)
    subprocess.run(
        [sys.executable, "-m", "accuracy", "nightly", *SMALL, "--out", str(folder)],
        cwd=Path(cli.__file__).parent,
        env=environment,
        capture_output=True,
        check=False,
    )

    written = everything(folder)
    assert {"manifest.json", "observations.parquet", "report.html", "junit.xml", "summary.md"} <= written.keys()
    assert {name: found for name, data in written.items() if (found := leaks(data, tmp_path))} == {}
    observed = "".join(pd.read_parquet(folder / store.OBSERVATIONS)["observed"])  # its columns are compressed
    assert leaks(observed.encode(), tmp_path) == []
