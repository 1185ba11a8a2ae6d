"""Stored cases measured again: what is said of rows that were made up, and of a library that is broken and mended."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from patching import in_forward
from typer.testing import CliRunner

import cli
from accuracy import replay, store
from accuracy.replay import Outcome, Replayed

Check = tuple[str, str, str]
SMALL = ("--profile", "smoke", "--device", "cpu", "--seed", "7", "--cases", "embedding8bit", "--examples", "2")


def rows(*checks: Check, identity: str = "a") -> pd.DataFrame:
    """Rows of one case on one device, from (stage, quantity, status)."""
    known = [(identity, "embedding8bit", "cpu", *check, f"{check[2]}!" * (check[2] != "ok")) for check in checks]
    return pd.DataFrame(known, columns=["id", "case", "device", "stage", "quantity", "status", "reason"])


def outcome(before: Sequence[Check], now: Sequence[Check]) -> Replayed:
    (found,) = replay.compared(rows(*before), rows(*now))
    return found


GOOD = ("compute", "output", "ok")
BAD = ("compute", "output", "fail")
CRASH = ("contract", "completes", "crash")


@pytest.mark.parametrize(
    ("before", "now", "wanted", "words"),
    [
        ([BAD], [GOOD], Outcome.FIXED, "compute/output"),
        ([BAD], [BAD], Outcome.STILL_FAILS, "fail!"),
        ([BAD], [CRASH], Outcome.DIFFERENT, "crash!; fails in contract/completes (crash), stored: compute/output"),
        ([GOOD], [BAD], Outcome.DIFFERENT, "fail!; fails in compute/output, stored: nothing failed"),
        ([GOOD], [GOOD], Outcome.PASSES, ""),
        ([BAD], [("contract", "completes", "not_run")], Outcome.NOT_RUN, "not_run!"),
        ([BAD], [("contract", "completes", "not_supported")], Outcome.DIFFERENT, "not supported: not_supported!"),
    ],
)
def test_each_case_is_fixed_or_fails_still_or_in_another_way(
    before: Sequence[Check], now: Sequence[Check], wanted: Outcome, words: str
) -> None:
    """A failure that turned into a refusal is not fixed, and what did not run is never green."""
    found = outcome(before, now)

    assert (found.outcome, found.reason) == (wanted, words)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((Outcome.FIXED, Outcome.PASSES), 0),
        ((Outcome.FIXED, Outcome.NOT_RUN), 3),
        ((Outcome.NOT_RUN, Outcome.DIFFERENT), 1),
        ((Outcome.STILL_FAILS,), 1),
        ((), 3),
    ],
)
def test_only_what_is_fixed_or_passes_ends_well(outcomes: Sequence[Outcome], code: int) -> None:
    found = [Replayed(id="a", case="c", device="cpu", outcome=each, reason="") for each in outcomes]

    assert replay.exit_code(found) == code


def accuracy(*words: str | Path, patch: Path | None = None) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | ({} if patch is None else {"PYTHONPATH": str(patch)})
    command = [sys.executable, "-m", "accuracy", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, check=False, text=True)


def test_failed_cases_fail_on_the_broken_library_and_are_fixed_on_the_mended_one(tmp_path: Path) -> None:
    """All that failed, in one command; the exit code is what a script waits for."""
    broken = in_forward(tmp_path, "Embedding8bit", "return original(self, x) * 1.5")
    run = tmp_path / "run"
    accuracy("nightly", *SMALL, "--jobs", "1", "--out", run, patch=broken)
    failed = replay.failed(store.read(run))
    again = accuracy("replay", run, failed[0], patch=broken)
    mended = accuracy("replay", run, "--failed", "--jobs", "1")

    assert again.returncode == 1, again.stderr
    assert again.stdout.splitlines()[-2].startswith(f"STILL FAILS   {failed[0]} embedding8bit on cpu")
    assert mended.returncode == 0, mended.stderr
    assert mended.stdout.splitlines()[-1] == f"{len(failed)} fixed"


@pytest.mark.parametrize("words", [(), ("0" * 16, "--failed")])
def test_one_case_or_all_that_failed(words: Sequence[str], tmp_path: Path) -> None:
    """Neither and both are one clear line, after the run was found."""
    ended = CliRunner().invoke(cli.app, ["replay", str(tmp_path), *words])

    assert ended.exit_code == 2
    assert len(ended.stderr.splitlines()) == 1
