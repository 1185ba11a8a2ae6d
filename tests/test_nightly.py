"""The pipeline on real workers: the same rows however it is run, and a gap wherever something did not run."""

import datetime
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from accuracy import early, judgement, limits, nightly, store, storing
from accuracy.case import Case, short_hash
from accuracy.cases import CASES
from accuracy.conclusion import Result
from accuracy.devices import Found
from accuracy.journal import Journal
from accuracy.path import steps
from accuracy.prepared import Request, prepare
from accuracy.record import Progress
from accuracy.shards import Shard

CREATED = datetime.datetime(2026, 11, 22, 3, 4, 5, tzinfo=datetime.UTC)
HERE = Found(
    devices={"cpu": "a processor"},
    missing={"xpu": "no Intel GPU", "cuda": "no NVIDIA GPU"},
    versions={"python": "3.11", "torch": "2", "bitsandbytes": "0.50"},
)


def small(name: str) -> Case:
    """The case with two published points and no stratum: a plan of fourteen, all from the real list."""
    case = CASES[name]
    return replace(case, published=case.published[:2], strata=())


def requested(
    cases: Sequence[Case],
    *,
    jobs: int = 1,
    devices: Sequence[str] = ("cpu",),
    deadline: float | None = None,
    examples: int | None = None,
) -> Request:
    return Request(
        cases=cases,
        profile="smoke",
        examples=examples,
        seed=7,
        devices=devices,
        limits=limits.load(),
        waivers=(),
        jobs=jobs,
        deadline=deadline,
        created=CREATED,
    )


def run(cases: Sequence[Case], **options: Any) -> Result:
    return nightly.run(prepare(requested(cases, **options), HERE), None, lambda _: None)


@pytest.fixture(scope="module")
def alone() -> Result:
    """One case, one worker."""
    return run([small("embedding8bit")])


@pytest.fixture(scope="module")
def beside() -> Result:
    """The same case beside another, two workers, and a device that is not there."""
    return run([small("embedding4bit-nf4"), small("embedding8bit")], jobs=2, devices=("cpu", "xpu"))


def rows_of(result: Result, case: str, device: str = "cpu") -> list[dict[Any, Any]]:
    """The rows of a case as text, times apart: NaN is not equal to itself."""
    held = result.observations
    chosen = held[(held["case"] == case) & (held["device"] == device)].drop(columns="seconds")
    return [{name: str(value) for name, value in row.items()} for row in chosen.to_dict("records")]


def test_rows_do_not_depend_on_workers_or_on_other_cases(alone: Result, beside: Result) -> None:
    """To the last bit, in the same order."""
    assert rows_of(alone, "embedding8bit") == rows_of(beside, "embedding8bit")
    assert len(rows_of(alone, "embedding8bit")) > 14


def test_a_real_run_of_a_healthy_layer_is_a_release(alone: Result) -> None:
    counts = alone.summary["counts"]

    assert (alone.summary["verdict"], alone.summary["exit_code"]) == ("release", 0)
    assert (counts["cases"], counts["fail"], counts["not_run"]) == (len(alone.plan), 0, 0)
    assert counts["elements"] > 1000
    assert not alone.interrupted


def test_a_device_that_is_not_there_makes_the_run_incomplete(beside: Result) -> None:
    """Each planned case has a row that says why it did not run, and no cell of that device passes."""
    absent = rows_of(beside, "embedding8bit", "xpu")
    there = beside.summary["cells"]

    assert len(absent) == sum(beside.plan["case"] == "embedding8bit")
    assert {(row["status"], row["reason"]) for row in absent} == {("not_run", "no Intel GPU")}
    assert {cell["verdict"] for cell in there if cell["device"] == "xpu"} == {"not_run"}
    assert beside.manifest["devices"]["missing"] == {"xpu": "no Intel GPU"}
    assert any("no Intel GPU" in reason["text"] for reason in beside.summary["reasons"])
    assert beside.summary["verdict"] != "release"


def test_a_run_without_any_device_is_incomplete() -> None:
    result = run([small("embedding8bit")], devices=("xpu",))

    assert (result.summary["verdict"], result.summary["exit_code"]) == ("incomplete", 3)
    assert result.summary["counts"]["elements"] == 0
    assert HERE.versions.items() <= result.manifest["versions"].items()


@pytest.mark.parametrize("shard", [None, Shard(number=2, of=3)], ids=["all", "2 of 3"])
def test_rows_do_not_depend_on_when_the_plan_is_drawn(shard: Shard | None, tmp_path: Path) -> None:
    """While others are measured, or before: the same plan, rows and manifest, and a journal to go on from."""
    asked = replace(requested([small("embedding8bit"), small("embedding4bit-nf4")]), shard=shard)
    before = nightly.run(prepare(asked, HERE), None, lambda _: None)
    prepared = prepare(asked, HERE, ahead=False)
    with Journal(tmp_path, prepared.key) as journal:
        totals: list[Progress] = []
        meanwhile = nightly.run(prepared, journal, totals.append)

    pd.testing.assert_frame_equal(meanwhile.plan, before.plan)
    pd.testing.assert_frame_equal(
        meanwhile.observations.drop(columns="seconds"), before.observations.drop(columns="seconds")
    )
    for name in ("plan_hash", "plan_size", "parts"):
        assert meanwhile.manifest[name] == before.manifest[name]
    assert totals[0].drawing
    assert not totals[-1].drawing
    assert totals[-1].done == totals[-1].total == len(before.plan)
    whole = prepare(asked, HERE)
    with Journal(tmp_path, whole.key, resume=True) as journal:
        resumed = nightly.run(whole, journal, totals.append)
    assert totals[-1].resumed == len(before.plan)
    pd.testing.assert_frame_equal(resumed.observations, meanwhile.observations)


def test_a_fork_server_started_early_serves() -> None:
    """One that would be started now is taken, any other is not; none is left behind, taken or not."""
    request = requested([small("embedding8bit")])
    first: dict[str, Any] = {"interpreter": request.interpreter, "overlay": (), "bounds": request.limits.measuring}
    prepared = prepare(request, HERE)
    with (
        early.server(["cpu"], **first) as taken,
        early.server(["cpu"], **(first | {"bounds": {}})) as other,
        early.server(["cuda"], **first) as none,
        early.server([], **(first | {"interpreter": "/no/such/python"})) as missing,
    ):
        assert taken is not None
        assert other is not None
        result = nightly.run(prepared, None, lambda _: None, early=taken)
        again = nightly.run(prepared, None, lambda _: None, early=other)
        assert (taken.serves, other.serves) == (True, False)

    assert (none, missing) == (None, None)
    assert result.complete
    pd.testing.assert_frame_equal(
        result.observations.drop(columns="seconds"), again.observations.drop(columns="seconds")
    )
    assert taken.process.returncode is not None
    assert other.process.returncode is not None


def test_what_was_not_drawn_when_a_run_is_interrupted_was_not_run() -> None:
    """Every task of the plan has its row, those too that come into being after the interruption."""
    cases = [small("embedding8bit"), small("embedding4bit-nf4")]

    prepared = prepare(requested(cases), HERE, ahead=False)

    def stop(now: Progress) -> None:
        if now.done == 1:
            raise KeyboardInterrupt

    result = nightly.run(prepared, None, stop)

    assert result.interrupted
    assert not result.complete
    assert set(result.observations["id"]) == {task.id for task in prepared.tasks}
    assert result.summary["verdict"] == "incomplete"


def test_a_time_budget_that_is_used_up_leaves_the_rest_not_run() -> None:
    """Nothing that was not begun is green."""
    result = run([small("embedding8bit")], deadline=time.monotonic())

    assert set(result.observations["status"]) == {"not_run"}
    assert result.observations["reason"].str.contains("time budget").all()
    assert result.summary["exit_code"] == 3


def test_strata_that_never_occurred_are_not_run(alone: Result) -> None:
    """Judged against the strata of the whole case, a run of some of them has gaps, in each dtype that ran."""
    cases = {"embedding8bit": {"strata": ["one that nobody drew"]}}
    judged = judgement.judged_run(alone.observations, cases, limits.load(), (), CREATED.date())

    assert judged.summary["verdict"] == "incomplete"
    assert {cell["quantity"] for cell in judged.summary["cells"] if cell["verdict"] == "not_run"} == {
        "stratum one that nobody drew"
    }


def test_judging_again_changes_nothing(beside: Result) -> None:
    """The judge is a function of the rows: the same limits give the same verdicts, and no row is judged away."""
    again = judgement.judged_run(beside.observations, beside.manifest["cases"], limits.load(), (), CREATED.date())

    pd.testing.assert_frame_equal(again.observations, beside.observations)
    pd.testing.assert_frame_equal(again.verdicts, beside.verdicts)
    assert again.summary == beside.summary


def test_the_manifest_names_what_was_run(alone: Result) -> None:
    """Seed, profile, plan, limits, versions and threads: enough to run it again."""
    manifest = alone.manifest

    assert (manifest["seed"], manifest["profile"]) == (7, "smoke")
    assert manifest["plan_size"] == len(alone.plan) == 14
    assert manifest["plan_hash"] == short_hash(alone.plan["id"].tolist())
    assert manifest["limits_hash"] == limits.load().hash
    assert manifest["created"] == "2026-11-22T03:04:05+00:00"
    assert manifest["versions"]["torch"] == manifest["environment"]["cpu"]["torch"]
    assert manifest["environment"]["cpu"]["threads"] == 1
    assert list(manifest["cases"]) == ["embedding8bit"]


def test_the_manifest_has_the_steps_that_each_device_can_take(alone: Result) -> None:
    """Said by the worker, apart from the facts of its machine; the rows took some of them."""
    (listed,) = alone.manifest["paths"].values()
    taken = {step for path in alone.observations["path"] for step in steps(path)}

    assert taken
    assert taken <= {step["path"] for step in listed}
    assert "paths" not in alone.manifest["environment"]["cpu"]


def test_examples_take_the_place_of_the_profiles_sample_alone() -> None:
    """Twelve draws and more begin with the twelve of smoke; strata and published points are those of smoke."""
    case = CASES["embedding8bit"]
    usual = prepare(requested([case]), HERE).tasks
    fewer, more = (prepare(requested([case], examples=count), HERE).tasks for count in (3, 40))

    sample = [task for task in usual if task.origin == "sample"]
    assert len(sample) == 12
    assert [task for task in more if task.origin == "sample"][:12] == sample
    assert [task for task in fewer if task.origin == "sample"] == sample[:3]
    assert sum(task.origin == "sample" for task in more) == 40
    for tasks in (fewer, more):
        assert [task for task in tasks if task.origin != "sample"] == [
            task for task in usual if task.origin != "sample"
        ]


def test_the_manifest_says_how_many_were_drawn(alone: Result) -> None:
    """The profile's number, since nobody asked for another."""
    assert alone.manifest["examples"] == 12


def test_a_run_can_be_stored_and_read_back(alone: Result, tmp_path: Path) -> None:
    storing.prepare(tmp_path / "run")
    storing.write(tmp_path / "run", alone.manifest, alone.plan, alone.observations, alone.verdicts, alone.summary)
    stored = store.read(tmp_path / "run")

    pd.testing.assert_frame_equal(stored.observations, alone.observations)
    assert stored.summary == alone.summary


def test_the_default_folder_is_named_by_moment_profile_and_seed() -> None:
    assert nightly.default_folder(Path("runs"), CREATED, "smoke", 7) == Path("runs/20261122-030405-smoke-7")
