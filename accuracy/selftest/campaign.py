"""All faults, one after the other on each processor: the baseline first, then a fresh server for each fault."""

import datetime
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from fnmatch import fnmatchcase
from typing import Any

from accuracy import executor, limits
from accuracy.cases import CASES
from accuracy.plan import PlanError
from accuracy.selftest import matrix, trial
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults import FAULTS


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
    faults: Sequence[Fault],
    by: limits.Limits,
    *,
    jobs: int | None,
    created: datetime.datetime,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The kill matrix of `faults`, in their order, judged by `by`. `say` gets one line a fault."""
    stop = threading.Event()
    tasks = trial.pool([case for case in CASES.values() if any(fnmatchcase(case.name, f.cases) for f in faults)])
    wanted = {task.id for fault in faults for task in trial.reached(fault, tasks, trial.SPARE)}
    say(f"{len(faults)} faults; measuring the library as it is on {len(wanted)} tasks")
    baseline = trial.measure_baseline([task for task in tasks if task.id in wanted], by, jobs, lambda: None)
    results: dict[str, trial.Result] = {}
    with ThreadPoolExecutor(max_workers=jobs or executor.cores()) as threads:
        try:
            running = [threads.submit(trial.try_fault, fault, baseline, by, _ticking(stop)) for fault in faults]
            for future in as_completed(running):
                result = future.result()
                results[result.fault.name] = result
                say(f"{len(results)}/{len(faults)} {result.fault.name}: {_words(result)}")
        except BaseException:
            stop.set()
            for future in running:
                future.cancel()
            raise
    return matrix.document([results[fault.name] for fault in faults], baseline.versions, created)


def _matches(fault: Fault, glob: str) -> bool:
    return fnmatchcase(fault.name, glob) or fnmatchcase(fault.area, glob)


def _ticking(stop: threading.Event) -> Callable[[], None]:
    """Ends a trial under way, as an interrupt would, once the campaign has stopped."""

    def tick() -> None:
        if stop.is_set():
            raise KeyboardInterrupt

    return tick


def _words(result: trial.Result) -> str:
    if not result.exercised:
        return f"NOT EXERCISED{': ' + result.note if result.note else ''}"
    if not result.found:
        return f"not found in {result.tasks} tasks"
    return f"found in {result.outcomes[0].stage}, expected in {result.fault.stage.value}"
