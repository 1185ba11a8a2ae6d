"""The end of a run: what was measured is judged, and the manifest says what was run."""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import pandas as pd

from accuracy import __version__, change, judge, judgement, plan, rows, shards, tables
from accuracy import baseline as baselines
from accuracy.case import Status, Task
from accuracy.devices import Found
from accuracy.prepared import Prepared
from accuracy.record import Execution
from accuracy.rows import Row
from accuracy.selftest import matrix


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
