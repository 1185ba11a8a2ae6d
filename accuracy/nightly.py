"""The pipeline: plan, measure, judge, store. Each step takes what the last one returned."""

import datetime
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from accuracy import __version__, change, executor, judge, judgement, limits, plan, rows, shards, store, tables, waivers
from accuracy import baseline as baselines
from accuracy.case import EXPLORED, Case, Status, Task
from accuracy.cases import CASES
from accuracy.devices import Found
from accuracy.exploration import Budget, Search
from accuracy.files import StoreError
from accuracy.journal import Journal
from accuracy.launch import Server
from accuracy.library import Library
from accuracy.record import Execution, Progress, summed
from accuracy.rows import Row
from accuracy.selftest import matrix

TIMEOUT_S = 60.0
"""Seconds of a worker's own time one case may take: some thousand times what the slowest takes."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one run is asked to do. `devices` empty means every device found; `deadline` is of `time.monotonic`.

    `examples` is how many draws of the sample each case gets, None for as many as the profile says; `explore`
    how much is explored after the plan, None for not at all; `shard` which share of the plan it is, None for all.
    `baseline` is a run to hold this one against.
    """

    cases: Sequence[Case]
    profile: str
    seed: int
    devices: Sequence[str]
    limits: limits.Limits
    waivers: Sequence[waivers.Waiver]
    jobs: int | None
    deadline: float | None
    created: datetime.datetime
    library: Library | None = None
    interpreter: str = sys.executable

    @property
    def overlay(self) -> tuple[Path, ...]:
        """Folders put first on the workers' path."""
        return () if self.library is None else (self.library.overlay,)

    examples: int | None = None
    explore: Budget | None = None
    shard: shards.Shard | None = None
    baseline: store.Run | None = None

    @property
    def size(self) -> plan.Profile:
        """How long its plan is."""
        profile = plan.PROFILES[self.profile]
        return profile if self.examples is None else replace(profile, samples=self.examples)


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run that has been judged, ready to be stored."""

    manifest: dict[str, Any]
    plan: pd.DataFrame
    observations: pd.DataFrame
    verdicts: pd.DataFrame
    summary: dict[str, Any]
    interrupted: bool
    complete: bool
    comparison: pd.DataFrame | None = None


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A request with its plan and the devices it will run on. `key` says what the run is, so that it can be resumed.

    `tasks` are those of its shard, if it has one; they may still have to be drawn. `dealt` names the plan that they
    are of, where they do not do so themselves.
    """

    request: Request
    tasks: Sequence[Task]
    dealt: shards.Whole | None = None
    there: Mapping[str, str]
    missing: Mapping[str, str]
    found: Found
    key: Mapping[str, Any]

    @property
    def whole(self) -> shards.Whole:
        """The plan of which its tasks are, all or a shard; has it drawn to its end."""
        if isinstance(self.tasks, plan.Drawing):
            return self.tasks.whole()
        return self.dealt or shards.Whole(plan.plan_hash(self.tasks), len(self.tasks))


def prepare(request: Request, found: Found, *, ahead: bool = True) -> Prepared:
    """Make the plan and choose the devices. Without `ahead` the plan is drawn when it is needed, or by `run`.

    Raises:
        PlanError: if the plan cannot be made.
        ValueError: if a device is unknown.
    """
    tasks = plan.Drawing(request.cases, request.size, request.seed, request.shard)
    if ahead:
        tasks.draw()
    there, missing = found.choose(request.devices)
    return Prepared(
        request=request,
        tasks=tasks,
        there=there,
        missing=missing,
        found=found,
        key={
            "cases": [case.name for case in request.cases],
            "profile": request.profile,
            "examples": request.size.samples,
            "seed": request.seed,
            "devices": list(there),
            "limits": request.limits.hash,
            "versions": dict(found.versions),
            "library": {} if request.library is None else request.library.facts(),
            "explore": request.explore and asdict(request.explore),
            "shard": request.shard and str(request.shard),
        },
    )


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


def conclude(
    prepared: Prepared, execution: Execution, exploration: Mapping[str, Any] | None, *, seconds: float
) -> Result:
    """Judge what an execution gave, and say what was run. `exploration` is what the manifest says of that."""
    request, tasks, missing = prepared.request, prepared.tasks, prepared.missing
    absent = [_absent(task, device, reason) for device, reason in missing.items() for task in tasks]
    observations = tables.observations(itertools.chain(execution.columns(), [rows.columns(absent)]))
    cases = {
        case.name: {
            "layer": case.layer,
            "claim": case.claim,
            "strata": [stratum.name for stratum in case.strata],
        }
        for case in request.cases
    }
    parts = None
    if request.shard is not None:
        devices = [*prepared.there, *missing]
        parts = shards.asked(request.shard, prepared.whole, devices)
    against = None
    scale = {
        "accuracy": __version__,
        "bounds": asdict(request.limits.bounds),
        "published": request.limits.measuring["published"],
    }
    if request.baseline is not None:
        rated = judge.judge_rows(observations, request.limits)
        against = baselines.compared(request.baseline, rated, scale, request.limits.change)
    by, known, today = request.limits, request.waivers, request.created.date()
    judged = judgement.judged_run(observations, cases, by, known, today, parts=parts, against=against)
    manifest = {
        "schema": 1,
        "created": request.created.isoformat(timespec="seconds"),
        "profile": request.profile,
        "examples": request.size.samples,
        "seed": request.seed,
        "devices": {"requested": list(request.devices), "found": dict(prepared.there), "missing": dict(missing)},
        "versions": _versions(execution.environment, prepared.found),
        "environment": {
            device: {name: fact for name, fact in facts.items() if name != "paths"}
            for device, facts in execution.environment.items()
        },
        "paths": {device: facts.get("paths", []) for device, facts in execution.environment.items()},
        "unusable": dict(execution.unusable),
        "incidents": list(execution.incidents),
        **scale,
        **judgement.judged_by(by, known),
        "library": {} if request.library is None else request.library.facts(),
        "plan_hash": plan.plan_hash(tasks),
        "plan_size": len(tasks),
        "parts": parts,
        "exploration": exploration,
        "cases": cases,
        "baseline": None if against is None else against.name,
        "comparison": None if against is None else against.facts(),
        "selftest": _selftest(),
        "duration_s": round(seconds, 1),
    }
    return Result(
        manifest=manifest,
        plan=tables.plan(plan.rows([*tasks, *execution.explored])),
        observations=judged.observations,
        verdicts=judged.verdicts,
        summary=judged.summary,
        comparison=None if against is None else change.frame(against.changes),
        interrupted=execution.interrupted,
        complete=execution.complete,
    )


def default_folder(root: Path, created: datetime.datetime, profile: str, seed: int) -> Path:
    """Where a run goes when nobody says where: named by moment, profile and seed."""
    return root / f"{created:%Y%m%d-%H%M%S}-{profile}-{seed}"


def _absent(task: Task, device: str, reason: str) -> Row:
    return rows.incomplete(task, task.id, device, status=Status.NOT_RUN, reason=reason, seconds=0.0)


def _versions(environment: Mapping[str, Mapping[str, Any]], found: Found) -> dict[str, str]:
    """What was measured with, as the workers say, else as the probe saw it; what drew the plan, and added devices."""
    said = next(iter(environment.values()), {})
    names = ("python", "torch", "bitsandbytes")
    seen = {name: str(said.get(name, found.versions.get(name, "unknown"))) for name in names}
    return seen | {"hypothesis": version("hypothesis")} | {n: v for n, v in found.versions.items() if n not in names}


def _selftest() -> dict[str, Any] | None:
    """The newest kill matrix kept on this machine, as text for the report; None if there is none."""
    kept = matrix.newest()
    if kept is None:
        return None
    return {
        "created": kept["created"],
        "versions": kept["versions"],
        "summary": matrix.summary(kept),
        "columns": list(matrix.COLUMNS),
        "rows": [list(row) for row in matrix.rows(kept)],
    }
