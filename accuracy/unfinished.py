"""Runs that were cut off, or are still under way: what their journal says, judged and ready for a report."""

import datetime
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accuracy import contents, executor, limits, plan, shards
from accuracy.case import EXPLORED, Task
from accuracy.cases import CASES
from accuracy.conclusion import Result, conclude
from accuracy.devices import Found
from accuracy.exploration import Budget, described
from accuracy.files import JOURNAL, StoreError
from accuracy.prepared import Prepared, Request


def about(prepared: Prepared) -> dict[str, Any]:
    """What a journal keeps of a run beside its key and its plan, so that a report can be made of it."""
    request = prepared.request
    return {
        "created": request.created.isoformat(),
        "profile": request.profile,
        "examples": request.examples,
        "explore": request.explore and asdict(request.explore),
        "shard": request.shard and str(request.shard),
        "requested": list(request.devices),
        "cases": [case.name for case in request.cases],
        "found": asdict(prepared.found),
    }


def result(folder: Path, by: limits.Limits) -> Result:
    """The run in `folder` as far as its journal goes. What is planned and not there did not run.

    Reads the journal and nothing else, and changes nothing: the run may be under way.

    Raises:
        StoreError: if there is no journal, it is not of such a run, or the run has other limits.
        PlanError: if it planned what this version does not know.
    """
    said = contents.read(folder)
    path = folder / JOURNAL
    try:
        prepared = _prepared(said, by)
        explored = [plan.task(row, CASES) for row in said.plan if row["origin"] == EXPLORED]
        theirs, devices = str(said.header["key"]["limits"]), list(prepared.there)
    except plan.PlanError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} does not say what run it is of: {error!r}; begin it again elsewhere") from error
    if theirs != by.hash:
        raise StoreError(f"{path} is of a run under the limits {theirs[:16]}, these are {by.hash}: give its --limits")
    planned = {task.id for task in prepared.tasks}
    done = sum(task_id in planned and device in prepared.there for task_id, device in said.texts)
    reason = f"the run was cut off or is under way: {done} of {len(planned) * len(devices)} are done"
    execution = executor.cut_off([*prepared.tasks, *explored], devices, said, reason)
    seconds = path.stat().st_mtime - prepared.request.created.timestamp()
    exploration = None
    if prepared.request.explore is not None:
        cases = [case.name for case in prepared.request.cases]
        exploration = described(prepared.request.explore, cases, execution.explored, {})
    return conclude(prepared, execution, exploration, seconds=max(seconds, 0.0))


def _prepared(said: contents.Contents, by: limits.Limits) -> Prepared:
    """The run as it was prepared when it began."""
    key: Mapping[str, Any] = said.header["key"]
    seen: Mapping[str, Any] = said.header["about"]
    found = Found(**seen["found"])
    if seen["profile"] not in plan.PROFILES:
        raise ValueError(f"profile {seen['profile']!r}")
    request = Request(
        cases=[plan.case(name, CASES) for name in seen["cases"]],
        profile=seen["profile"],
        seed=int(key["seed"]),
        devices=[str(name) for name in seen["requested"]],
        limits=by,
        waivers=(),
        jobs=None,
        deadline=None,
        created=datetime.datetime.fromisoformat(seen["created"]),
        examples=seen["examples"],
        explore=seen["explore"] and Budget(**seen["explore"]),
        shard=seen["shard"] and shards.parse(seen["shard"]),
    )
    there, missing = found.choose(request.devices)
    tasks: Sequence[Task] = [plan.task(row, CASES) for row in said.plan if row["origin"] != EXPLORED]
    if said.whole is None:  # what was not drawn before the end was planned all the same
        tasks = _redrawn(request, {task.id for task in tasks})
    return Prepared(
        request=request,
        tasks=tasks,
        dealt=said.whole,
        there=there,
        missing=missing,
        found=found,
        key=key,
    )


def _redrawn(request: Request, known: AbstractSet[str]) -> plan.Drawing:
    """The plan of a run that ended before it was drawn, of which these ids are known."""
    tasks = plan.Drawing(request.cases, request.size, request.seed, request.shard)
    strange = known - {task.id for task in tasks}
    if strange:
        raise plan.PlanError(f"it planned {min(strange)}, which is not planned here: use the version that began it")
    return tasks
