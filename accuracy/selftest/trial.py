"""One fault against the pipeline: which tasks it gets, and what changes in the verdicts."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import pandas as pd

from accuracy import executor, judgement, limits, nightly, tables
from accuracy.case import Stage, Status, Task, Verdict
from accuracy.record import Execution, Progress
from accuracy.selftest import plant
from accuracy.selftest.fault import Fault
from accuracy.selftest.library import proof
from accuracy.selftest.outcome import Outcome, Result
from accuracy.selftest.tasks import CASE, KINDS, Planted, planned_for, planted, published_tasks, sizes_of, unplanted
from accuracy.summary import WORST_FIRST
from accuracy.verdicts import STAGE_ORDER

DEVICE: Final = "cpu"
MEASURE: Final = "accuracy.selftest.published:measure"
KEY: Final = ["case", "device", "dtype", "stage", "quantity"]


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How tasks are measured and judged."""

    limits: limits.Limits
    jobs: int | None
    on_progress: Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The library as it is. `sound` are the tasks to plant faults in, `failing` the rows that fail without one."""

    sound: Sequence[Task]
    observations: pd.DataFrame
    failing: frozenset[tuple[str, str, str]]
    published: frozenset[str]
    versions: Mapping[str, str]


def measure_baseline(tasks: Sequence[Task], measuring: Measuring) -> Baseline:
    """Measures the library without any fault.

    Rows that fail already can show no fault and are left out of every comparison; tasks of which
    anything but an invariant fails are not used at all.
    """
    planned = [planted(task, "", 0.0) for task in tasks] + published_tasks(KINDS, "", 0.0)
    execution, frame, _ = _execute(planned, measuring)
    ours = frame[frame["case"] != CASE]
    judged = judgement.judged_run(ours, {}, measuring.limits, (), date.min).observations
    right = judged["status"].isin([Status.OK.value, Status.NOT_SUPPORTED.value]) | (judged["lower_ratio"] <= 1)
    wrong = judged[~right]
    unsound = set(wrong.loc[wrong["stage"] != Stage.INVARIANT.value, "id"])
    passing = frame[(frame["case"] == CASE) & (frame["ratio"] == 0)]
    environment = execution.environment.get(DEVICE, {})
    return Baseline(
        sound=[task for task in tasks if task.id not in unsound],
        observations=ours,
        failing=frozenset(wrong[["id", "stage", "quantity"]].itertuples(index=False, name=None)),
        published=frozenset(passing["config"]),
        versions={name: str(environment.get(name, "unknown")) for name in ("python", "torch", "bitsandbytes")},
    )


def try_faults(faults: Sequence[Fault], baseline: Baseline, measuring: Measuring) -> list[Result]:
    """Measures and judges under each of these faults, and compares with the library as it is."""
    planned = [task for fault in faults for task in planned_for(fault, baseline.sound)]
    execution, frame, proofs = _execute(planned, measuring)
    refused = "; ".join(execution.unusable.values())
    return [
        replace(
            _result(fault, frame[frame["fault"] == fault.name], baseline, measuring.limits, proofs),
            note=proofs.get(plant.failure(Path(), fault.name).name, refused),
        )
        for fault in faults
    ]


def _result(
    fault: Fault, frame: pd.DataFrame, baseline: Baseline, by: limits.Limits, proofs: Mapping[str, str]
) -> Result:
    ours, published = frame[frame["case"] != CASE], frame[frame["case"] == CASE]
    published = published[published["config"].isin(baseline.published)]
    word = "not covered" if published.empty else "found" if (published["ratio"] != 0).any() else "passes"
    return Result(
        fault=fault,
        outcomes=tuple(
            _compared(baseline, ours[ours["size"] == size], by, size)
            if proof(Path(), fault.name, size).name in proofs
            else _nothing(size)
            for size in sizes_of(fault)
        ),
        published=word,
        tasks=ours["id"].nunique(),
    )


def _compared(baseline: Baseline, faulty: pd.DataFrame, by: limits.Limits, size: float) -> Outcome:
    """The earliest cell at the root that is worse with the fault than without it."""
    before = baseline.observations[baseline.observations["id"].isin(faulty["id"])]
    ranks = {_key(row): _rank(row["verdict"]) for row in _cells(before, baseline, by)}
    worse = [
        row for row in _cells(faulty, baseline, by) if _rank(row["verdict"]) < ranks.get(_key(row), _rank(Verdict.PASS))
    ]
    roots = sorted(
        (row for row in worse if not row["caused_by"]),
        key=lambda row: (_rank(row["verdict"]) == _rank(Verdict.WARN), STAGE_ORDER[row["stage"]]),
    )
    if not roots:
        return _nothing(size, acted=True)
    first = roots[0]
    return Outcome(
        size=size,
        acted=True,
        found=True,
        stage=str(first["stage"]),
        verdict=str(first["verdict"]),
        cell="/".join(str(first[name]) for name in KEY),
        reason=str(first["reason"]),
    )


def _cells(observations: pd.DataFrame, baseline: Baseline, by: limits.Limits) -> list[dict[str, Any]]:
    """The verdicts on observations, less the rows that fail without any fault."""
    keys = observations[["id", "stage", "quantity"]].itertuples(index=False, name=None)
    kept = observations[[key not in baseline.failing for key in keys]]
    return [dict(row) for row in judgement.judged_run(kept, {}, by, (), date.min).verdicts.to_dict("records")]  # type: ignore[arg-type]  # columns have names


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


def _rank(verdict: str) -> int:
    return WORST_FIRST.index(Verdict(verdict))


def _nothing(size: float, *, acted: bool = False) -> Outcome:
    return Outcome(size=size, acted=acted, found=False, stage="", verdict="", cell="", reason="")


def _execute(planned: Sequence[Planted], measuring: Measuring) -> tuple[Execution, pd.DataFrame, Mapping[str, str]]:
    """Runs tasks with all faults planted: what the executor says, the rows, and the files that faults left.

    Rows have the ids of the tasks as planned, and the fault and its size beside them.

    Raises:
        KeyboardInterrupt: if the user stopped it.
    """
    with tempfile.TemporaryDirectory(prefix="accuracy-selftest-") as name:
        folder = Path(name)
        plant.write_overlay(folder)
        execution = executor.execute(
            planned,
            [DEVICE],
            timeout_s=nightly.TIMEOUT_S,
            bounds=measuring.limits.measuring,
            jobs=measuring.jobs,
            measure=MEASURE,
            overlay=[folder],
            on_progress=measuring.on_progress,
        )
        proofs = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*-*")}
    if execution.interrupted:
        raise KeyboardInterrupt
    frame = tables.observations(execution.columns())
    by_id = {task.id: task for task in planned}
    tasks = [by_id[identity] for identity in frame["id"]]
    frame["fault"] = [task.fault for task in tasks]
    frame["size"] = [task.size for task in tasks]
    frame["id"] = [unplanted(task).id for task in tasks]
    return execution, frame, proofs
