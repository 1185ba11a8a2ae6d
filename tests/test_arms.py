"""`accuracy compare` as a user runs it: on stored runs, on a build, and with what cannot be compared."""

import json
import re
import subprocess
import sys
from pathlib import Path

import bitsandbytes
import pytest

from accuracy import change, store

SMALL = ("--profile", "smoke", "--device", "cpu", "--cases", "embedding8bit", "--jobs", "1")


def accuracy(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "accuracy", *words], capture_output=True, check=False, text=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored run of one family on the installed library."""
    folder = tmp_path_factory.mktemp("base") / "run"
    accuracy("nightly", *SMALL, "--seed", "3", "--out", str(folder))
    return folder


def test_a_library_and_a_worse_build_of_it(run: Path, tmp_path: Path) -> None:
    """The build is a checkout whose int8 embedding is off by one part in a thousand; the rest is the installed one."""
    package = Path(bitsandbytes.__file__).parent
    build = tmp_path / "build" / "bitsandbytes"
    build.mkdir(parents=True)
    for path in package.iterdir():
        (build / path.name).symlink_to(path)
    (build / "nn").unlink()
    (build / "nn").mkdir()
    for path in (package / "nn").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        (build / "nn" / path.name).write_text(text.replace("stats / 127.0", "stats / 126.873"), encoding="utf-8")
    ended = accuracy("compare", str(run), str(build.parent), "--out", str(tmp_path / "out"), "--jobs", "1")
    found = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))

    assert ended.returncode == 1, ended.stderr
    assert {cell["quantity"] for cell in found["cells"] if cell["outcome"] == "regressed"} >= {"output"}
    assert "regressed    embedding8bit cpu float32 compute/output" in ended.stdout
    assert "new failure" in ended.stdout
    assert found["counts"]["identical"] > 0
    candidate = store.read(tmp_path / "out" / "candidate")
    assert candidate.comparison is not None
    assert change.counts(change.listed(candidate.comparison)) == found["counts"]
    assert "newly worse than bitsandbytes" in candidate.summary["reasons"][0]["text"]
    page = Path(ended.stdout.splitlines()[-1]).read_text(encoding="utf-8")
    assert re.search(r'<section id="comparison".*?Regressed.*?embedding8bit on cpu, fp32', page, re.DOTALL)


def test_a_run_against_itself_is_identical(run: Path) -> None:
    ended = accuracy("compare", str(run), str(run))

    assert ended.returncode == 0
    assert ended.stdout.endswith(" identical\n")


def test_another_plan_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    """Unless pairs are not wanted; the sample of a smoke run is too small then, and what was not tested is no pass."""
    accuracy("nightly", *SMALL, "--seed", "4", "--out", str(tmp_path / "other"))
    ended = accuracy("compare", str(run), str(tmp_path / "other"))

    assert ended.returncode == 2
    assert "different plans" in ended.stderr
    assert "seed 3 and 4" in ended.stderr
    both = accuracy("compare", str(run), str(tmp_path / "other"), "--unpaired", "--out", str(tmp_path / "out"))
    assert both.returncode == 3
    assert both.stdout.splitlines()[0].endswith(" not compared")
    held = store.read(tmp_path / "out" / "candidate")
    assert held.manifest["comparison"]["paired"] is False
    assert (held.plan == store.read(tmp_path / "other").plan).all(axis=None)


def test_a_library_that_is_none_costs_no_time(run: Path) -> None:
    """It is looked for before anything is run."""
    ended = accuracy("compare", str(run), "nonsense")

    assert ended.returncode == 2
    assert "neither a version nor a path" in ended.stderr


def test_two_libraries_are_measured_side_by_side(tmp_path: Path) -> None:
    """The installed one as a checkout twice: one plan, two folders, and every bit the same."""
    installed = str(Path(bitsandbytes.__file__).parents[1])
    package = tmp_path / "build" / "bitsandbytes"
    package.parent.mkdir()
    package.symlink_to(Path(installed) / "bitsandbytes")
    out = tmp_path / "out"
    ended = accuracy("compare", str(package.parent), str(package.parent), *SMALL, "--seed", "3", "--out", str(out))

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-2].endswith(" identical")
    assert "," not in ended.stdout.splitlines()[-2]
    assert [store.read(out / side).manifest["library"]["asked"] for side in ("baseline", "candidate")] == [
        str(package.parent)
    ] * 2


def test_a_library_that_cannot_be_imported_is_one_line_and_leaves_no_verdict(run: Path, tmp_path: Path) -> None:
    """It is incomplete, and not worse: nothing of it was seen."""
    package = tmp_path / "build" / "bitsandbytes"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('no libcudart')\n", encoding="utf-8")
    ended = accuracy("compare", str(run), str(package.parent), "--out", str(tmp_path / "out"))

    assert ended.returncode == 3
    assert "cannot be measured: device unusable: bitsandbytes cannot be imported" in ended.stderr.splitlines()[-1]
    assert ended.stdout == ""
