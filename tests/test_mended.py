"""False alarms: a library on which the findings are mended is green, and on the plain one each failure is a finding.

The same plan is run in real processes on both. Only `PYTHONPATH` differs: `tests/mended` patches the library.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import bitsandbytes
import pandas as pd
import pytest

from accuracy.case import CELL, Status
from accuracy.cases import CASES
from reports import known

MENDED = Path(__file__).parent / "mended"
FINDINGS = Path(__file__).parents[1] / "docs" / "findings.md"
SHOWING = (
    "embedding4bit-nf4", "linear4bit-nf4-eval", "linear4bit-nf4-train", "linear4bit-eval-relations",
    "linear4bit-train-relations", "linear8bitlt-eval", "linear8bitlt-eval-relations", "linear8bitlt-fp16-weights-eval",
    "linear8bitlt-fp16-weights-train", "linear8bitlt-fp16-weights-train-relations", "upstream-*",
)  # fmt: skip
BAD = {Status.FAIL, Status.CRASH, Status.TIMEOUT, Status.NOT_SUPPORTED}

pytestmark = pytest.mark.skipif(
    bitsandbytes.__version__ != "0.50.2", reason="the findings, and the patches that mend them, are those of 0.50.2"
)


@dataclass(frozen=True, kw_only=True)
class Night:
    """What one run wrote, and its exit code."""

    plan: pd.DataFrame
    observations: pd.DataFrame
    verdicts: pd.DataFrame
    exit_code: int


def night(folder: Path, path: str) -> Night:
    """A smoke run of the cases that show a finding, with `path` as the workers' PYTHONPATH."""
    cases = [word for name in SHOWING for word in ("--cases", name)]
    devices = ("--device", "cpu", "--device", "cpu:default")  # with torch's vectors and without
    arguments = ("--profile", "smoke", *devices, "--seed", "3", "--out", str(folder))
    ended = subprocess.run(
        [sys.executable, "-m", "accuracy", "nightly", *arguments, *cases],
        cwd=FINDINGS.parents[1],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        check=False,
    )
    frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("plan", "observations", "verdicts")}
    return Night(**frames, exit_code=ended.returncode)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The installed library."""
    return night(tmp_path_factory.mktemp("plain") / "run", "")


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The same library, patched as it is imported."""
    return night(tmp_path_factory.mktemp("mended") / "run", str(MENDED))


def test_the_mended_library_is_green(mended: Night) -> None:
    """No cell fails, warns or is missing; whatever failed here would be a false alarm."""
    others = mended.verdicts[mended.verdicts["verdict"] != "pass"]

    assert others[[*CELL, "reason"]].to_dict("records") == []
    assert mended.exit_code == 0


def test_the_same_plan_fails_on_the_plain_library(plain: Night, mended: Night) -> None:
    """So the green one saw what it had to see, and the patches are what made it green."""
    assert list(plain.plan["id"]) == list(mended.plan["id"])
    assert plain.exit_code == 1


def test_every_failing_row_is_a_finding(plain: Night) -> None:
    """Each is covered by a line of the table: its case, stage and quantity, the words of its reason, and its config."""
    rows: list[dict[str, Any]] = plain.observations.to_dict("records")  # type: ignore[assignment]  # names are text
    unexplained = {
        (row["case"], row["stage"], row["quantity"], row["reason"], row["config"])
        for row in rows
        if row["status"] in BAD and not known.fitting(row)
    }

    assert unexplained == set()


def test_every_cell_that_does_not_pass_has_such_a_row(plain: Night) -> None:
    """A warning or a gap that no failing row explains would not be found in the table."""
    rows = plain.observations[plain.observations["status"].isin(BAD)]
    explained = set(rows[list(CELL)].itertuples(index=False, name=None))
    cells = plain.verdicts[plain.verdicts["verdict"] != "pass"]

    assert set(cells[list(CELL)].itertuples(index=False, name=None)) <= explained


def test_the_table_names_cases_and_findings_that_exist() -> None:
    """A line of a case that was renamed, or of a finding that was taken out, explains nothing."""
    lines = [rule for rule in known.load().rules if rule.device == "cpu*"]
    described = set(re.findall(r"^## (F\d+)$", FINDINGS.read_text(encoding="utf-8"), re.MULTILINE))

    assert lines
    for line in lines:
        assert all(any(fnmatchcase(name, glob) for name in CASES) for glob in line.cases)
        assert line.findings
        assert set(line.findings) <= described
