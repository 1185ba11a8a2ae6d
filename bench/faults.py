"""A run with faults planted among good cases, and what it costs to replace a worker that crashed."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from accuracy import limits
from accuracy.case import Embedding8bitConfig, Task
from accuracy.executor import execute
from accuracy.record import Execution
from bench import clock, processes
from bench.nights import night
from bench.planted import FAULTS
from bench.runs import ROOT
from bench.table import Section, seconds

LIMIT_S: Final = 5.0
"""Seconds after which a case of this run is taken for one that hangs."""

CAP: Final = 1 << 30
"""Bytes that a worker of this run may take: so few that all of them are taken well within `LIMIT_S`."""


def fault(name: str, number: int) -> Task:
    """A case that commits a fault."""
    config = Embedding8bitConfig(dtype="float32", rows=4, dim=4, index=(2,), weight=name)
    return Task(case="embedding8bit", config=config, seed=number, origin="sample")


def run(
    tasks: Sequence[Task], device: str, *, jobs: int, cap: int = CAP, limit_s: float = LIMIT_S, recycle_after: int = 500
) -> Execution:
    """Measures tasks, planted ones among them, in workers."""
    return execute(
        tasks,
        [device],
        timeout_s=limit_s,
        bounds=limits.load().measuring,
        jobs=jobs,
        memory=cap,
        recycle_after=recycle_after,
        measure="bench.planted:measure",
        refuse=lambda *_: "",
        overlay=(ROOT,),
    )


def section(device: str, *, good: int = 200, jobs: int = 2, cap: int = CAP, limit_s: float = LIMIT_S) -> Section:
    """Each fault once among so many good cases."""
    tasks = [task for task in night(2 * good) if not _unwritten(task)][:good]
    step = max(1, good // len(FAULTS))
    planted = {name: fault(name, number) for number, name in enumerate(FAULTS)}
    mixed = list(tasks)
    for number, task in enumerate(planted.values()):
        mixed.insert(number * (step + 1), task)
    token = processes.mark()
    seen, unbroken = (run(each, device, jobs=jobs, cap=cap, limit_s=limit_s) for each in (mixed, tasks))
    ids = {task.id: name for name, task in planted.items()}
    told = {ids[row["id"]]: row for row in seen.rows if row["id"] in ids}
    same = _comparable(seen, without=ids) == _comparable(unbroken)
    return Section(
        heading=f"Faults planted among {good} good cases",
        words=f"{jobs} workers, {limit_s:g} s a case, {cap >> 20} MiB a worker; each fault is confirmed alone in a "
        "fresh process. *After*: from the start of the case to the end of its worker, or to its answer. Target: a "
        "hang ends within its limit and 2 s.",
        columns=("", "recorded as", "after"),
        rows=(
            *((name, _reason(told.get(name)), seconds(float(told[name]["seconds"]))) for name in FAULTS),
            (f"the {good} good cases are those of a run without faults", "yes" if same else "NO", ""),
            ("processes left behind", str(0 if processes.gone(token) else len(processes.left_behind(token))), ""),
        ),
    )


def replacement(device: str, *, count: int = 20, turns: int = 2) -> Section:
    """What a crash costs one worker, and what a new worker costs which nothing but its age calls for."""
    tasks = night(count)
    crashing = [each for number, task in enumerate(tasks) for each in (task, fault("SIGSEGV", number))]
    ways = {
        "kept": partial(run, tasks, device, jobs=1),
        "crashing": partial(run, crashing, device, jobs=1),
        "new": partial(run, tasks, device, jobs=1, recycle_after=1),
    }
    seen = clock.in_turn(ways, turns=turns)
    crash, new = (clock.difference(seen[way], seen["kept"]).median for way in ("crashing", "new"))
    return Section(
        heading="A new worker",
        words=f"{count} cases with one worker; with as many crashes between them, each confirmed by a second one; and "
        f"with a new worker for each. Medians of {turns} turns. Target: at most 100 ms on a CPU.",
        columns=("", "each"),
        rows=(
            ("a crash and its replacement", seconds(crash / (2 * count))),
            ("a new worker", seconds(new / max(1, count - 1))),
        ),
    )


def _unwritten(task: Task) -> bool:
    """Whether the layer returns memory that it has not written (F15), which is not the same twice."""
    return "8bit" in task.case and getattr(task.config, "in_features", 0) == 1


def _reason(row: Any) -> str:
    return "NOTHING" if row is None else str(row["reason"]).partition(";")[0]


def _comparable(execution: Execution, without: Any = ()) -> list[str]:
    """Rows as text, without the time they took."""
    return [
        repr(
            [value.tolist() if hasattr(value, "tolist") else value for name, value in row.items() if name != "seconds"]
        )
        for row in execution.rows
        if row["id"] not in without
    ]
