"""The command line: bad input is one line and exit 2, what did not run is exit 3, and nothing is overwritten."""

import datetime
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from patching import SCALED, planted
from typer.testing import CliRunner, Result

import cli
from accuracy import arguments, limits, store
from accuracy.exploration import Budget

ROOT = Path(cli.__file__).resolve().parent
FILES = {"manifest.json", "plan.parquet", "observations.parquet", "verdicts.parquet", "verdict.json", "report.html"}
SMALL = ("--cases", "embedding8bit", "--profile", "smoke", "--device", "cpu", "--seed", "7")


def invoke(*arguments: str | Path) -> Result:
    """The command in this process."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def accuracy(*arguments: str | Path, patch: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """The command as users start it, with `patch` on the path of whatever it measures."""
    environment = os.environ | ({} if patch is None else {"PYTHONPATH": str(patch)})
    return subprocess.run(
        [sys.executable, "-m", "accuracy", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def today() -> int:
    """The date, as a seed."""
    return int(f"{datetime.datetime.now(datetime.UTC):%Y%m%d}")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def summary(folder: Path) -> Any:
    return json.loads((folder / "verdict.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """A small real night, and how it ended."""
    folder = tmp_path_factory.mktemp("nights") / "night"
    return folder, accuracy("nightly", *SMALL, "--out", folder)


@pytest.fixture
def run(night: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of that night's folder, for a test to do with as it likes."""
    return Path(shutil.copytree(night[0], tmp_path / "night"))


def refused(result: Result, words: str) -> None:
    """One line on stderr that holds these words, nothing on stdout, exit code 2."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr


def test_a_night_ends_with_verdict_and_path(night: tuple[Path, "subprocess.CompletedProcess[str]"]) -> None:
    """Every file is there, the last two lines say what and where, and the exit code is the verdict's."""
    folder, ended = night
    said = summary(folder)

    assert set(contents(folder)) >= FILES
    assert ended.returncode == said["exit_code"] == 0
    assert ended.stdout.splitlines()[-1] == str(folder / "report.html")
    assert ended.stdout.splitlines()[-2].startswith("release: 0 of ")
    assert "Traceback" not in ended.stderr


def test_report_renders_a_stored_run_again(run: Path) -> None:
    """From the files alone: the same page, in the run or where one asks for it."""
    before = contents(run)
    again, elsewhere = invoke("report", run), invoke("report", run, "--out", run.parent / "page.html")

    assert (again.exit_code, elsewhere.exit_code) == (0, 0)
    assert contents(run) == before
    assert (run.parent / "page.html").read_bytes() == before["report.html"]
    assert elsewhere.stdout.strip() == str(run.parent / "page.html")


def test_judge_applies_other_limits_to_the_same_measurements(run: Path) -> None:
    """Under limits a thousand times as strict the run fails; under the built-in ones it passes again, byte for byte."""
    before = contents(run)
    strict = run.parent / "strict.toml"
    text = limits.DEFAULT_FILE.read_text(encoding="utf-8")
    strict.write_text(text.replace("at_most = 1.0\n", "at_most = 1.0e-3\n", 1), encoding="utf-8")
    first = invoke("judge", run, "--limits", strict)

    assert (first.exit_code, summary(run)["verdict"]) == (1, "do-not-release")
    assert contents(run)["report.html"] != before["report.html"]
    assert invoke("judge", run).exit_code == 0
    assert contents(run)["verdict.json"] == before["verdict.json"]
    assert contents(run)["observations.parquet"] == before["observations.parquet"]


def test_judge_takes_waivers(run: Path) -> None:
    """A waiver for what does not fail is a warning: the run is still a release."""
    waivers = run.parent / "waivers.toml"
    waivers.write_text(
        '[[waiver]]\nid = "w"\ncase = "embedding8bit"\nstage = "encode"\nquantity = "codes"\nowner = "A. Person"\n'
        'reason = "known"\nlink = "docs/findings.md"\nexpires = 2999-01-01\nat_most = 2\n',
        encoding="utf-8",
    )
    judged = invoke("judge", run, "--waivers", waivers)

    assert judged.exit_code == 0
    assert summary(run)["counts"]["warn"] > 0
    assert any("not needed any more" in reason["text"] for reason in summary(run)["reasons"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--profile", "weekly"), "unknown profile 'weekly'; choose one of smoke, nightly, release"),
        (("--device", "tpu"), "unknown device 'tpu'; known: cpu, cuda"),
        (("--device", "cpu", "--device", "cuda:01"), "unknown device 'cuda:01'"),
        (("--cases", "embeding*"), "no case matches 'embeding*'; `accuracy cases` lists them"),
        (("--seed", "-1"), "seed -1 is out of range; give one from 0 to"),
        (("--seed", "9223372036854775808"), "seed 9223372036854775808 is out of range"),
        (("--time-budget", "ten minutes"), "time budget 'ten minutes' is no duration; write 90s, 10m or 2h"),
        (("--time-budget", ""), "time budget '' is no duration"),
        (("--explore", "often"), "explore 'often' is no budget; write 30s or 10m for all cases together, 200 for"),
        (("--explore", "0"), "explore '0' is no budget"),
        (("--explore", "-5"), "explore '-5' is no budget"),
        (("--limits", "nowhere.toml"), "cannot read limits from nowhere.toml"),
        (("--waivers", "nowhere.toml"), "cannot read waivers from nowhere.toml"),
        (("--history", "nowhere"), "nowhere is no folder; a folder of run folders is wanted"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    """What was seen, what is wanted, exit 2; no folder is made and nothing measured."""
    refused(invoke("nightly", "--out", tmp_path / "run", *arguments), words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments", [("--jobs", "0"), ("--examples", "0"), ("--seed", "today"), ("--no-such-option",)]
)
def test_what_is_no_argument_is_a_usage_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = invoke("nightly", "--out", tmp_path / "run", *arguments)

    assert result.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_the_folder_of_another_run_is_left_alone(run: Path) -> None:
    before = contents(run)
    refused(invoke("nightly", *SMALL, "--out", run), "holds another run")

    assert contents(run) == before


@pytest.mark.parametrize("command", ["report", "judge"])
@pytest.mark.parametrize("name", sorted(FILES - {"report.html", "manifest.json"}))
def test_a_damaged_run_is_told_and_not_rendered(run: Path, command: str, name: str) -> None:
    """One flipped bit anywhere: the page that is there stays."""
    data = bytearray((run / name).read_bytes())
    data[len(data) // 2] ^= 1
    (run / name).write_bytes(data)
    before = contents(run)

    refused(invoke(command, run), f"{name} is damaged or was being rewritten")
    assert contents(run) == before


@pytest.mark.parametrize("command", ["report", "judge"])
def test_what_is_no_run_is_told(tmp_path: Path, command: str) -> None:
    refused(invoke(command, tmp_path / "nowhere"), "is no folder; the folder of a run is wanted")
    refused(invoke(command, tmp_path), "manifest.json is missing")


def test_judge_refuses_limits_before_it_touches_the_run(run: Path) -> None:
    before = contents(run)
    refused(invoke("judge", run, "--limits", run / "nowhere.toml"), "cannot read limits from")
    refused(invoke("judge", run, "--waivers", run / "nowhere.toml"), "cannot read waivers from")

    assert contents(run) == before


def test_a_device_that_is_not_there_is_incomplete(tmp_path: Path) -> None:
    """Exit 3, with a report that names the device."""
    result = invoke("nightly", "--cases", "embedding8bit", "--profile", "smoke", "--device", "xpu", "--out", tmp_path)

    assert result.exit_code == summary(tmp_path)["exit_code"] == 3
    assert result.stdout.startswith("incomplete: ")
    assert set(contents(tmp_path)) >= FILES
    assert "xpu" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["cases", "devices"])
def test_lists_name_what_there_is(command: str) -> None:
    listed = invoke(command)

    assert listed.exit_code == 0
    assert {"cases": "embedding4bit-nf4", "devices": "cpu"}[command] in listed.stdout


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1.5m", 90)])
def test_durations_by_hand(text: str, value: float) -> None:
    assert arguments.seconds(text) == value


@pytest.mark.parametrize(
    ("text", "usual_s", "budget"),
    [
        (None, 25.0, Budget(seconds=25.0)),
        (None, 0.0, None),
        ("off", 25.0, None),
        ("90s", 25.0, Budget(seconds=90.0)),
        ("200", 25.0, Budget(examples=200)),
    ],
)
def test_budgets_by_hand(text: str | None, usual_s: float, budget: Budget | None) -> None:
    """A plain number counts examples; with a unit it is a time; nothing is the profile's own."""
    assert arguments.exploring(text, usual_s) == budget


RAISES = """
def raises(spec):
    raise ImportError("libplanted.so: cannot open shared object file")
"""
DIES = """
def dies(spec):
    import ctypes

    ctypes.string_at(0)
"""


def test_scales_that_are_a_thousandth_off_are_found_where_they_are(tmp_path: Path) -> None:
    """In both 4-bit embeddings, at their scales; the 8-bit embedding beside them passes."""
    patch = planted(tmp_path, "bitsandbytes.functional", SCALED)
    out = tmp_path / "run"
    ended = accuracy(
        *("nightly", "--cases", "embedding8bit", "--cases", "embedding4bit-???"),
        *("--profile", "smoke", "--device", "cpu", "--seed", "7", "--out", out),
        patch=patch,
    )
    failing = {
        (cell["case"], cell["stage"], cell["quantity"]) for cell in summary(out)["cells"] if cell["verdict"] == "fail"
    }

    assert ended.returncode == 1
    assert ended.stdout.startswith("do-not-release")
    for case in ("embedding4bit-nf4", "embedding4bit-fp4"):
        assert (case, "encode", "scales") in failing
        reason = next(each for each in summary(out)["reasons"] if each["case"] == case and each["stage"] == "encode")
        assert reason["quantity"] == "scales"
        assert reason["failing"] > 0.9 * reason["n"] > 50  # a table of zeros has no scale to be wrong
    assert not any(case == "embedding8bit" for case, _, _ in failing)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (RAISES, "bitsandbytes cannot be imported: ImportError: libplanted.so: cannot open shared object file"),
        (DIES, "SIGSEGV while importing"),
    ],
)
def test_a_library_that_cannot_be_imported_costs_the_cases_and_not_the_run(
    tmp_path: Path, body: str, reason: str
) -> None:
    """Exit 3, nothing green, and a report that gives the reason."""
    out = tmp_path / "run"
    ended = accuracy("nightly", *SMALL, "--out", out, patch=planted(tmp_path, "bitsandbytes", body))
    said = summary(out)

    assert ended.returncode == said["exit_code"] == 3
    assert ended.stdout.startswith("incomplete")
    assert said["counts"]["pass"] == 0
    assert reason in said["reasons"][0]["text"]
    assert reason in (out / "report.html").read_text(encoding="utf-8")
    assert "Traceback" not in ended.stderr


def test_a_case_is_replayed_by_the_id_that_the_report_shows(run: Path) -> None:
    """Stored config and seed give the same rows again, and a healthy case passes."""
    stored = store.read(run).observations
    case = stored["id"].iloc[0]

    again = invoke("replay", run, case)

    assert again.exit_code == 0
    *checks, _, counts = again.stdout.splitlines()
    assert [line.split()[2] for line in checks] == [
        f"{stage}/{quantity}" for stage, quantity in stored.loc[stored["id"] == case, ["stage", "quantity"]].to_numpy()
    ]
    assert counts == "1 passes"


def test_an_id_that_the_run_does_not_have_is_refused(run: Path) -> None:
    refused(invoke("replay", run, "0" * 16), "has no case")


def test_without_a_seed_the_plan_is_that_of_the_date(tmp_path: Path) -> None:
    """So a night can be made again from its date; nothing needs to be measured to see it."""
    before = today()
    ended = invoke(
        *("nightly", "--profile", "smoke", "--device", "cpu", "--cases", "upstream-12-*"),
        *("--time-budget", "0s", "--out", tmp_path / "run"),
    )

    assert store.read(tmp_path / "run").manifest["seed"] in {before, today()}
    assert ended.exit_code == 3
