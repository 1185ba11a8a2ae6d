"""All faults: the library as it is first, then fault by fault, in batches whose rows fit in memory."""

import datetime
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from accuracy.cases import CASES
from accuracy.plan import PlanError
from accuracy.selftest import matrix, tasks, trial
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults import FAULTS
from accuracy.selftest.outcome import Result

TASKS_AT_ONCE: Final = 2500
"""Tasks of one batch: their rows take some hundred megabytes."""


def select(globs: Sequence[str]) -> list[Fault]:
    """The faults whose name or area matches one of the globs; all when there is none.

    Raises:
        PlanError: if a glob matches nothing.
    """
    for glob in globs:
        if not any(_matches(fault, glob) for fault in FAULTS):
            areas = ", ".join(dict.fromkeys(fault.area for fault in FAULTS))
            raise PlanError(f"no fault matches {glob!r}; give a name, an area ({areas}) or a glob over either")
    return [fault for fault in FAULTS if not globs or any(_matches(fault, glob) for glob in globs)]


def run(
    faults: Sequence[Fault], measuring: trial.Measuring, *, created: datetime.datetime, say: Callable[[str], None]
) -> dict[str, Any]:
    """The kill matrix of `faults`, in their order. `say` gets one line a fault.

    Raises:
        KeyboardInterrupt: if the user stopped it.
    """
    pool = tasks.pool([case for case in CASES.values() if any(fnmatchcase(case.name, f.cases) for f in faults)])
    wanted = {task.id for fault in faults for task in tasks.reached(fault, pool, tasks.SPARE)}
    say(f"{len(faults)} faults; first the library as it is, on {len(wanted)} tasks")
    baseline = trial.measure_baseline([task for task in pool if task.id in wanted], measuring)
    results: list[Result] = []
    for batch in _batches(faults, baseline):
        for result in trial.try_faults(batch, baseline, measuring):
            results.append(result)
            say(f"{len(results)}/{len(faults)} {result.fault.name}: {_words(result)}")
    return matrix.document(results, baseline.versions, created)


def _batches(faults: Sequence[Fault], baseline: trial.Baseline) -> Iterator[list[Fault]]:
    """Faults in their order, as many at a time as make `TASKS_AT_ONCE` tasks."""
    batch: list[Fault] = []
    count = 0
    for fault in faults:
        batch.append(fault)
        count += len(tasks.planned_for(fault, baseline.sound))
        if count >= TASKS_AT_ONCE:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _matches(fault: Fault, glob: str) -> bool:
    return fnmatchcase(fault.name, glob) or fnmatchcase(fault.area, glob)


def _words(result: Result) -> str:
    if not result.exercised:
        return f"NOT EXERCISED{': ' + result.note if result.note else ''}"
    if not result.found:
        return f"not found in {result.tasks} tasks"
    return f"found in {result.outcomes[0].stage}, expected in {result.fault.stage.value}"
