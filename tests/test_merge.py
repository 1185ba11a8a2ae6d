"""Runs from hosts that never met, as one: equal to one run, or a gap, a finding or a refusal that says why."""

import datetime
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from observed import frame
from typer.testing import CliRunner

import cli
from accuracy import duplicates, judgement, limits, nightly, paired, store, storing, unfinished, whole
from accuracy.cases import CASES
from accuracy.conclusion import Result
from accuracy.devices import Found
from accuracy.files import StoreError
from accuracy.journal import Journal
from accuracy.merge import MergeError
from accuracy.prepared import Request, prepare
from accuracy.shards import parse
from bench import fleet
from reports import publish

CREATED = datetime.datetime(2026, 11, 22, 3, 4, 5, tzinfo=datetime.UTC)
HERE = Found(
    devices={"cpu": "a processor", "cuda": "NVIDIA H200"},
    missing={"xpu": "no Intel GPU"},
    versions={"python": "3.11", "torch": "2", "bitsandbytes": "0.50"},
)
BY = limits.load()
CASE = replace(CASES["embedding8bit"], published=CASES["embedding8bit"].published[:2], strata=())


def request(shard: str = "", devices: Sequence[str] = ("cpu",)) -> Request:
    return Request(
        cases=[CASE],
        profile="smoke",
        seed=7,
        devices=devices,
        limits=BY,
        waivers=(),
        jobs=1,
        deadline=None,
        created=CREATED,
        shard=parse(shard) if shard else None,
    )


def stored(folder: Path, result: Result) -> Path:
    storing.prepare(folder)
    storing.write(folder, result.manifest, result.plan, result.observations, result.verdicts, result.summary)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the whole plan and runs of its two shards, all measured."""
    root = tmp_path_factory.mktemp("runs")
    for name, shard in (("all", ""), ("one", "1/2"), ("two", "2/2")):
        stored(root / name, nightly.run(prepare(request(shard), HERE), None, lambda _: None))
    return root


def merged(out: Path, *folders: Path, wanted: Sequence[str] = ()) -> store.Run:
    asked = whole.Request(runs=folders, limits=BY, waivers=(), wanted=wanted, today=CREATED.date())
    whole.write(out, whole.opened(asked), asked)
    return store.read(out)


def rows_of(run: store.Run) -> list[str]:
    """Rows as text, without the time they took."""
    kept = run.observations.drop(columns="seconds").to_dict("records")
    return sorted(str({name: str(value) for name, value in row.items()}) for row in kept)


def assert_same(one: store.Run, two: store.Run) -> None:
    """The same rows, verdicts, counts and plan, in whatever order rows stand."""
    assert rows_of(one) == rows_of(two)
    assert sorted(map(str, one.verdicts.to_dict("records"))) == sorted(map(str, two.verdicts.to_dict("records")))
    assert [one.summary[name] for name in ("verdict", "exit_code", "counts", "reasons")] == [
        two.summary[name] for name in ("verdict", "exit_code", "counts", "reasons")
    ]
    assert one.plan.equals(two.plan)
    assert [one.manifest[name] for name in ("plan_hash", "plan_size", "parts", "devices", "environment", "paths")] == [
        two.manifest[name] for name in ("plan_hash", "plan_size", "parts", "devices", "environment", "paths")
    ]


def copied(run: Path, to: Path, change: Callable[[dict[str, Any], pd.DataFrame], pd.DataFrame | None]) -> Path:
    """The run stored elsewhere, as a host would that saw something else: `change` is given its manifest and rows."""
    read = store.read(run)
    manifest = json.loads(json.dumps(read.manifest))
    rows = read.observations.copy()
    rows = rows if (other := change(manifest, rows)) is None else other
    judged = judgement.judged_run(rows, manifest["cases"], BY, (), CREATED.date(), parts=manifest["parts"])
    return stored(
        to,
        Result(
            manifest=manifest,
            plan=read.plan,
            observations=judged.observations,
            verdicts=judged.verdicts,
            summary=judged.summary,
            interrupted=False,
            complete=True,
        ),
    )


def on_cuda(hardware: str) -> Callable[[dict[str, Any], pd.DataFrame], None]:
    """What a host with this GPU would have stored, were it to compute what the CPU does."""

    def change(manifest: dict[str, Any], rows: pd.DataFrame) -> None:
        rows["device"], rows["device_name"] = "cuda", hardware
        manifest["devices"] = {"requested": ["cuda"], "found": {"cuda": hardware}, "missing": {}}
        for name in ("environment", "paths"):
            manifest[name] = {"cuda": manifest[name]["cpu"]}

    return change


def test_shards_make_what_one_run_makes(runs: Path, tmp_path: Path) -> None:
    """In any order; the whole says of which runs it is made."""
    alone = store.read(runs / "all")
    one = merged(tmp_path / "a", runs / "one", runs / "two")

    assert alone.summary["verdict"] == "release"
    assert_same(alone, one)
    assert_same(alone, merged(tmp_path / "b", runs / "two", runs / "one"))
    assert [entry["run"] for entry in one.manifest["merged"]] == ["one", "two"]


def test_the_shards_of_a_larger_plan(runs: Path, tmp_path: Path) -> None:
    """Of three hundred cases that are told apart by their ids alone, each is there once."""
    fleet.hosts(store.read(runs / "all"), tmp_path / "hosts", number=2, rows=1000)
    found = merged(tmp_path / "out", *sorted((tmp_path / "hosts").iterdir()))

    assert found.summary["verdict"] == "release"
    assert found.summary["counts"]["cases"] == found.observations["id"].nunique() == len(found.plan) > 256


def test_one_shard_is_never_a_release_and_raises_no_alarm_for_the_others(runs: Path) -> None:
    """Within limits it is incomplete, with one reason; no cell is NOT RUN for what another shard holds."""
    shard = store.read(runs / "one")
    cases = {CASE.name: {"strata": ["one that another shard holds"]}}
    again = judgement.judged_run(shard.observations, cases, BY, (), CREATED.date(), parts=shard.manifest["parts"])

    for summary in (shard.summary, again.summary):
        assert (summary["verdict"], summary["exit_code"], summary["counts"]["not_run"]) == ("incomplete", 3, 0)
        assert ["shard 1/2" in reason["text"] for reason in summary["reasons"]] == [True]
    assert shard.manifest["plan_size"] == 7
    assert shard.manifest["parts"]["plan_hash"] == store.read(runs / "all").manifest["plan_hash"]


def test_a_missing_shard_is_not_run(runs: Path, tmp_path: Path) -> None:
    """In each dtype of each case, with one reason that names it, also when it is judged again or joined later."""
    half = merged(tmp_path / "half", runs / "two")
    idle = half.verdicts[half.verdicts["verdict"] == "not_run"]
    again = judgement.judged_run(
        half.observations, half.manifest["cases"], BY, (), CREATED.date(), parts=half.manifest["parts"]
    )

    assert (half.summary["verdict"], half.summary["exit_code"]) == ("incomplete", 3)
    assert set(idle["dtype"]) == set(half.observations["dtype"])
    assert set(idle["reason"]) == {"shard 1/2 of the plan did not run"}
    assert [reason["text"] for reason in half.summary["reasons"]] == [
        "cpu: shard 1/2 of the plan did not run, 7 of 14 cases"
    ]
    assert again.summary["counts"] == half.summary["counts"]
    assert_same(store.read(runs / "all"), merged(tmp_path / "all", tmp_path / "half", runs / "one"))


def test_devices_of_different_hosts_share_one_matrix(runs: Path, tmp_path: Path) -> None:
    """Two GPUs of one name and other hardware are two devices; what a device was is kept."""
    first = copied(runs / "all", tmp_path / "h", on_cuda("NVIDIA H200"))
    other = copied(runs / "all", tmp_path / "a", on_cuda("NVIDIA A100"))
    found = merged(tmp_path / "out", runs / "one", first, runs / "two", other)
    counts, alone = found.summary["counts"], store.read(runs / "all").summary["counts"]

    assert found.manifest["devices"]["found"] == {
        "cpu": "a processor",
        "cuda": "NVIDIA H200",
        "cuda:1": "NVIDIA A100",
    }
    assert {name: counts[name] for name in alone} == {name: 3 * number for name, number in alone.items()}
    assert set(found.manifest["environment"]) == set(found.observations["device"]) == {"cpu", "cuda", "cuda:1"}
    assert found.summary["verdict"] == "release"


def test_a_device_that_must_be_there_and_is_not(runs: Path, tmp_path: Path) -> None:
    """A job that never ran leaves no folder to say so."""
    found = merged(tmp_path / "out", runs / "one", runs / "two", wanted=["cpu", "cuda"])
    idle = found.verdicts[found.verdicts["verdict"] == "not_run"]

    assert found.summary["exit_code"] == 3
    assert set(idle["device"]) == {"cuda"}
    assert found.manifest["devices"]["missing"] == {"cuda": "no run of it was merged"}


def test_the_same_run_twice_counts_once(runs: Path, tmp_path: Path) -> None:
    """Two hosts that measured the same, to the last bit."""
    shutil.copytree(runs / "one", tmp_path / "again")
    assert_same(
        store.read(runs / "all"), merged(tmp_path / "out", runs / "one", tmp_path / "again", runs / "two", runs / "all")
    )


def shifted(rows: pd.DataFrame, bounds: float) -> pd.DataFrame:
    """One measurement is off in one element, by so many times its bound."""
    told = rows.to_dict("records")
    row = next(
        row for row in told if row["stage"] in paired.COMPARED and any(bound > 0 for bound in row["sample_bounds"])
    )
    at = next(place for place, bound in enumerate(row["sample_bounds"]) if bound > 0)
    row["sample_values"] = [
        value + bounds * row["sample_bounds"][at] * (place == at) for place, value in enumerate(row["sample_values"])
    ]
    row["digest"] = "another"
    return pd.DataFrame(told)[list(rows.columns)]


@pytest.mark.parametrize(("bounds", "verdict", "findings"), [(0.5, "release", 0), (3.0, "do-not-release", 1)])
def test_two_hosts_may_differ_within_a_bound(
    runs: Path, tmp_path: Path, bounds: float, verdict: str, findings: int
) -> None:
    """Farther apart is a finding, though each of them passed alone; it stands when the run is judged again."""
    other = copied(runs / "all", tmp_path / "other", lambda _, rows: shifted(rows, bounds))
    found = merged(tmp_path / "out", runs / "all", other)
    again = judgement.judged_run(found.observations, found.manifest["cases"], BY, (), CREATED.date())
    apart = found.observations[found.observations["quantity"].str.endswith("between runs")]

    assert found.summary["verdict"] == again.summary["verdict"] == verdict
    assert len(apart) == findings
    assert apart["reason"].str.contains("two runs differ by 3 × the larger of their bounds").all()
    assert len(found.observations) == len(store.read(runs / "all").observations) + findings


KEY = {"id": "0000000000000001", "device": "cpu", "stage": "compute", "quantity": "output"}


@pytest.mark.parametrize(
    ("first", "second", "kept", "findings"),
    [
        ({"status": "ok"}, {"status": "fail"}, [False, True], 0),
        ({"status": "fail"}, {"status": "ok"}, [True, False], 0),
        ({"status": "ok"}, {"status": "ok"}, [True, False], 0),
        ({"status": "not_run", "stage": "contract"}, {"status": "ok"}, [False, True], 0),
        ({"status": "ok"}, {"status": "not_run", "stage": "contract"}, [True, False], 0),
        ({"status": "crash", "stage": "contract"}, {"status": "ok"}, [True, True], 0),
        ({"status": "not_supported", "stage": "contract"}, {"status": "ok"}, [False, True], 1),
        ({"status": "not_run"}, {"status": "not_supported"}, [False, True], 0),
    ],
)
def test_which_of_two_outcomes_counts(
    first: Mapping[str, str], second: Mapping[str, str], kept: list[bool], findings: int
) -> None:
    """What failed before what passed, what was measured before what was not; that one refused it is a finding."""
    rows = frame({**KEY, **first}, {**KEY, **second})
    good, found = duplicates.settle(rows[list(duplicates.NEEDED)], np.array([0, 1]))

    assert good.tolist() == kept
    assert len(found) == findings


def test_a_damaged_run_is_named_and_the_rest_is_kept(runs: Path, tmp_path: Path) -> None:
    """It is left out, and the whole is incomplete for it: nobody knows what was in it."""
    shutil.copytree(runs / "one", tmp_path / "bad")
    data = bytearray((tmp_path / "bad" / store.OBSERVATIONS).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad" / store.OBSERVATIONS).write_bytes(data)
    found = merged(tmp_path / "out", tmp_path / "bad", runs / "all")

    assert found.summary["exit_code"] == 3
    assert found.summary["counts"] == store.read(runs / "all").summary["counts"]
    assert ["bad could not be merged" in reason["text"] for reason in found.summary["reasons"]] == [True]
    with pytest.raises(MergeError, match="no run can be read"):
        merged(tmp_path / "none", tmp_path / "bad", tmp_path / "nowhere")


def test_a_run_that_says_nothing_of_some_cases_is_refused(runs: Path, tmp_path: Path) -> None:
    """Rows that are left away would make a failing run pass."""
    few = copied(runs / "one", tmp_path / "few", lambda _, rows: rows[rows["id"] != rows["id"].iloc[0]])
    found = merged(tmp_path / "out", few, runs / "two")

    assert "has no outcome for 1 of its cases" in found.summary["reasons"][0]["text"]
    assert found.summary["exit_code"] == 3


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", 8, "another seed"),
        ("plan_hash", "0123456789abcdef", "another plan hash"),
        ("limits_hash", "0123456789abcdef", "was judged by the limits"),
        ("versions", {"bitsandbytes": "0.49"}, "another bitsandbytes"),
        ("library", {"asked": "dist/it.whl", "sha256": "00"}, "another library"),
        ("accuracy", "0", "another accuracy"),
    ],
)
def test_what_is_no_part_of_it_is_refused(runs: Path, tmp_path: Path, name: str, value: object, said: str) -> None:
    """With the folder and the difference, in one line, before anything is written."""
    other = copied(runs / "all", tmp_path / "other", lambda manifest, _: manifest.update({name: value}))
    with pytest.raises(MergeError, match=said) as error:
        merged(tmp_path / "out", runs / "one", other)

    assert str(other) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_one_release_on_two_systems_is_one_library(runs: Path, tmp_path: Path) -> None:
    """A release has other files for each; two files for one system are two libraries."""

    def arm(manifest: dict[str, Any], _: pd.DataFrame) -> None:
        manifest["library"] = {"asked": "0.50.2", "sha256": "11"}
        manifest["environment"]["cpu"]["machine"] = "aarch64"

    def here(manifest: dict[str, Any], _: pd.DataFrame) -> None:
        manifest["library"] = {"asked": "0.50.2", "sha256": "00"}

    one, two = copied(runs / "one", tmp_path / "one", here), copied(runs / "two", tmp_path / "two", arm)
    assert merged(tmp_path / "out", one, two).summary["verdict"] == "release"


def test_a_cut_off_shard_is_resumed_as_itself_only(runs: Path, tmp_path: Path) -> None:
    """Its journal knows which shard it is of, and a report can be made of it."""
    prepared = prepare(request("1/2"), HERE)
    with Journal(tmp_path, prepared.key, about=unfinished.about(prepared)) as journal:
        result = nightly.run(prepared, journal, lambda _: None)
    cut = unfinished.result(tmp_path, BY)

    assert cut.manifest["parts"] == result.manifest["parts"] == store.read(runs / "one").manifest["parts"]
    assert cut.summary == result.summary
    with pytest.raises(StoreError, match="shard was '1/2', now is '2/2'"):
        Journal(tmp_path, prepare(request("2/2"), HERE).key, resume=True)


def test_the_command_says_what_is_missing_and_exits_so(runs: Path, tmp_path: Path) -> None:
    """The page, the summary and the exit code say the same."""
    arguments = ["merge", str(runs / "one"), str(tmp_path / "gone"), "--out", str(tmp_path / "out")]
    ended = CliRunner().invoke(cli.app, arguments)
    page = (tmp_path / "out" / publish.PAGE).read_text(encoding="utf-8")

    assert ended.exit_code == 3
    assert "gone left out" in ended.stderr
    assert ended.stdout.startswith("incomplete: 0 of")
    assert "</span> Incomplete</h1>" in page
    assert "shard 2/2 of the plan did not run" in page
    assert CliRunner().invoke(cli.app, arguments).exit_code == 2
    bare = CliRunner().invoke(cli.app, [*arguments[:-1], str(tmp_path / "bare"), "--no-report"])
    assert (bare.exit_code, bare.stdout.splitlines()[-1]) == (3, str(tmp_path / "bare"))
