"""The pipeline: plan, measure, judge. Each step takes what the last one returned."""

import datetime
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from accuracy import executor, plan
from accuracy.case import EXPLORED, Task
from accuracy.cases import CASES
from accuracy.conclusion import Result, conclude
from accuracy.exploration import Search
from accuracy.files import StoreError
from accuracy.journal import Journal
from accuracy.launch import Server
from accuracy.prepared import Prepared
from accuracy.record import Execution, Progress, summed

TIMEOUT_S = 60.0
"""Seconds of a worker's own time one case may take: some thousand times what the slowest takes."""


def run(
    prepared: Prepared,
    journal: Journal | None,
    on_progress: Callable[[Progress], None],
    execute: Callable[..., Execution] = executor.execute,
    early: Server | None = None,
) -> Result:
    """Measure and judge. A device that is missing gets a row that says so for each planned case.

    `execute` measures, as `accuracy.executor.execute` does on this machine; `early` is a fork server for it.
    """
    started = time.monotonic()
    request, devices = prepared.request, list(prepared.there)
    rest = prepared.tasks if isinstance(prepared.tasks, plan.Drawing) and prepared.tasks.open else None
    tasks = [] if rest is not None else [*prepared.tasks, *_explored(journal)]
    if journal is not None and rest is None:
        _keep(prepared, journal)
    with ExitStack() as stack:
        search = None
        if request.explore is not None:
            search = stack.enter_context(
                Search(
                    cases=request.cases,
                    tasks=prepared.tasks,
                    budget=request.explore,
                    seed=request.seed + (0 if request.shard is None else request.shard.number - 1),
                    limits=request.limits,
                    devices=devices,
                    deadline=request.deadline,
                )
            )
        execution = execute(
            tasks,
            devices,
            timeout_s=TIMEOUT_S,
            bounds=request.limits.measuring,
            jobs=request.jobs,
            accelerator_jobs=request.jobs,
            interpreter=request.interpreter,
            overlay=request.overlay,
            deadline=request.deadline,
            journal=journal,
            search=search,
            on_progress=on_progress,
            **({} if rest is None else {"rest": rest}),
            **({} if early is None else {"early": early}),
        )
    exploration = None if search is None else search.summary(execution.explored)
    return conclude(prepared, execution, exploration, seconds=time.monotonic() - started)


def run_together(
    prepared: Sequence[Prepared], journals: Sequence[Journal], on_progress: Callable[[Progress], None]
) -> list[Result]:
    """Measure and judge several requests that differ in their library alone, side by side and in step."""
    started = time.monotonic()
    first = prepared[0]
    for each, journal in zip(prepared, journals, strict=True):
        _keep(each, journal)
    executions = executor.interleave(
        first.tasks,
        list(first.there),
        [
            executor.Arm(
                interpreter=each.request.interpreter,
                overlay=each.request.overlay,
                journal=journal,
                on_progress=show,
            )
            for each, journal, show in zip(prepared, journals, summed(on_progress, len(prepared)), strict=True)
        ],
        timeout_s=TIMEOUT_S,
        bounds=first.request.limits.measuring,
        jobs=first.request.jobs,
        deadline=first.request.deadline,
    )
    seconds = time.monotonic() - started
    return [conclude(each, ran, None, seconds=seconds) for each, ran in zip(prepared, executions, strict=True)]


def _keep(prepared: Prepared, journal: Journal) -> None:
    """Writes a plan down before it is measured.

    Raises:
        StoreError: if an earlier part of the run planned something else.
    """
    rows = plan.rows(prepared.tasks)
    now = {row["id"] for row in rows}
    strange = [row["id"] for row in journal.planned if row["origin"] != EXPLORED and row["id"] not in now]
    if strange:
        raise StoreError(
            f"{journal.path} is of another run: {len(strange)} tasks that it planned are not planned now, {strange[0]} "
            "for one; go on with the version that began it, or use a new folder"
        )
    journal.plan(rows)
    journal.end_plan(prepared.whole)


def _explored(journal: Journal | None) -> list[Task]:
    """What an earlier part of the run explored: on record, or begun and to be ended."""
    return [plan.task(row, CASES) for row in (journal.planned if journal else ()) if row["origin"] == EXPLORED]


def default_folder(root: Path, created: datetime.datetime, profile: str, seed: int) -> Path:
    """Where a run goes when nobody says where: named by moment, profile and seed."""
    return root / f"{created:%Y%m%d-%H%M%S}-{profile}-{seed}"
