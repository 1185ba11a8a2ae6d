"""The first release that fails: a search over made-up releases, and a real one over releases from a folder."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import bitsandbytes
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patching import in_forward
from typer.testing import CliRunner
from wheels import wheel

import cli
from accuracy import replay, store
from accuracy.bisect import BisectError, Probe, Seen, between, check, search, told

RELEASES = [f"0.{number}" for number in range(20)]


@given(first=st.integers(1, 19), skipped=st.sets(st.integers(1, 18)))
def test_the_first_bad_release_is_found_or_named_with_those_that_cannot_be_told(first: int, skipped: set[int]) -> None:
    """Whatever is skipped, what is named holds the first, and nothing in it but the last could be told."""
    asked = []

    def probe(version: str) -> Probe:
        place = RELEASES.index(version)
        asked.append(version)
        seen = Seen.SKIPPED if place in skipped else Seen.BAD if place >= first else Seen.GOOD
        return Probe(version=version, seen=seen)

    found = search(RELEASES, probe)
    *untold, last = found.first_bad

    assert RELEASES[first] in found.first_bad
    assert {RELEASES.index(name) for name in untold} <= skipped
    assert RELEASES.index(last) not in skipped
    assert RELEASES.index(found.last_good) < first
    assert len(asked) == len(set(asked))
    assert skipped or len(asked) <= 2 + 5


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (Seen.BAD, Seen.BAD, "0.0 was given as good and fails"),
        (Seen.GOOD, Seen.GOOD, "0.19 was given as bad and does not fail"),
        (Seen.SKIPPED, Seen.BAD, "0.0 was given as good and cannot be told: no kernel; give another --good"),
    ],
)
def test_ends_that_are_not_what_they_were_given_as_are_refused(first: Seen, last: Seen, said: str) -> None:
    def probe(version: str) -> Probe:
        seen = first if version == "0.0" else last
        return Probe(version=version, seen=seen, reason="no kernel" if seen is Seen.SKIPPED else "")

    with pytest.raises(BisectError, match=said):
        search(RELEASES, probe)


@pytest.mark.parametrize(("good", "bad", "said"), [("0.3", "0.3", "not after"), ("9", "0.3", "no release 9 for this")])
def test_ends_are_releases_in_their_order(good: str, bad: str, said: str) -> None:
    with pytest.raises(BisectError, match=said):
        between(RELEASES, good, bad)


def rows(*known: tuple[str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(known, columns=["stage", "quantity", "status", "reason"])


STORED = rows(
    ("contract", "completes", "ok", ""),
    ("decode", "weight", "fail", "ratio is 3"),
    ("compute", "output", "fail", "ratio is 9"),
)
RAISED = rows(("contract", "completes", "fail", "RuntimeError: shape (3, 1) is off"))


@pytest.mark.parametrize(
    ("stored", "now", "seen"),
    [
        (STORED, rows(("decode", "weight", "fail", "ratio is 2")), Seen.BAD),
        (STORED, rows(("decode", "weight", "ok", ""), ("compute", "output", "fail", "ratio is 9")), Seen.GOOD),
        (STORED, rows(("contract", "completes", "fail", "TypeError: no")), Seen.SKIPPED),
        (STORED, rows(("contract", "completes", "not_run", "device unusable: ImportError")), Seen.SKIPPED),
        (RAISED, rows(("contract", "completes", "fail", "RuntimeError: shape (7, 2) is off")), Seen.BAD),
        (RAISED, rows(("contract", "completes", "fail", "TypeError: no")), Seen.SKIPPED),
        (RAISED, rows(("contract", "completes", "not_supported", "no")), Seen.SKIPPED),
        (RAISED, rows(("contract", "completes", "ok", "")), Seen.GOOD),
    ],
)
def test_only_the_same_failure_is_bad_and_only_the_same_check_is_good(
    stored: pd.DataFrame, now: pd.DataFrame, seen: Seen
) -> None:
    """The first check that failed; another exception, or a check that was not made, tells nothing."""
    assert told("0.1", check(stored), now).seen is seen


def test_another_check_may_be_asked_for() -> None:
    assert [check(STORED, name)["quantity"] for name in ("", "compute/output")] == ["weight", "output"]
    with pytest.raises(BisectError, match="'encode/codes' did not fail in that case; choose of decode/weight, comp"):
        check(STORED, "encode/codes")
    with pytest.raises(BisectError, match="did not fail in the run"):
        check(STORED[STORED["status"] == "ok"])


def release(folder: Path, version: str, then: Sequence[str]) -> None:
    """A release that is the installed library, and then does these statements."""
    real = Path(bitsandbytes.__file__).parent
    lines = [
        f"__path__ = [{str(real)!r}]",
        f"__file__ = {bitsandbytes.__file__!r}",
        "exec(compile(open(__file__, encoding='utf-8').read(), __file__, 'exec'))",
        *then,
    ]
    wheel(folder, version, source="\n".join(lines) + "\n")


def test_releases_from_an_index_are_bisected_and_what_cannot_be_imported_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 0.1 to 0.4 the second cannot be imported, and the third and fourth lose the output."""
    run = tmp_path / "run"
    broken = in_forward(tmp_path, "Embedding8bit", "return original(self, x) * 1.5")
    small = ("--profile", "smoke", "--device", "cpu", "--seed", "7", "--cases", "embedding8bit", "--examples", "1")
    subprocess.run(
        [sys.executable, "-m", "accuracy", "nightly", *small, "--out", str(run)],
        env=os.environ | {"PYTHONPATH": str(broken)},
        check=False,
        capture_output=True,
    )
    case = replay.failed(store.read(run))[0]
    worse = ["original = nn.Embedding8bit.forward", "nn.Embedding8bit.forward = lambda *args: original(*args) * 1.5"]
    for version, then in (("0.1", []), ("0.2", ["raise ImportError('no libcudart')"]), ("0.3", worse), ("0.4", worse)):
        release(tmp_path / "releases", version, then)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "releases"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ended = CliRunner().invoke(cli.app, ["bisect", str(run), case, "--good", "0.1", "--bad", "0.4"])

    assert ended.exit_code == 3, ended.output
    assert (
        "0.2        skipped not_run: device unusable: bitsandbytes cannot be imported: ImportError: no libcudart"
        in ended.stdout
    )
    assert ended.stdout.splitlines()[-1] == "one of 0.2, 0.3 is the first that fails; 0.2 cannot be told"
