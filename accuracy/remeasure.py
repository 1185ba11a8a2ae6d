"""Measures cases of a stored run again, on the installed library or others."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from accuracy import bisect, executor, judge, library, nightly, plan, store, tables
from accuracy.bisect import Probe, Seen
from accuracy.case import BROKEN
from accuracy.cases import CASES
from accuracy.limits import Limits
from accuracy.record import Progress


def measure(
    stored: store.Run,
    ids: Sequence[str],
    by: Limits,
    *,
    interpreter: str = sys.executable,
    overlay: Sequence[Path] = (),
    devices: Sequence[str] = (),
    jobs: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> pd.DataFrame:
    """Measure cases of a stored run again, on each of its devices or on some of them, and judge the rows.

    Raises:
        PlanError: if the run has no such case or device, or its plan or devices are none that this version knows.
    """
    there = list(stored.manifest["devices"]["found"])
    for device in devices:
        if device not in there:
            raise plan.PlanError(f"{stored.folder} was not run on {device!r}; choose of {', '.join(there) or 'none'}")
    planned = {
        str(row["id"]): {str(name): text for name, text in row.items()} for row in stored.plan.to_dict("records")
    }
    for identity in ids:
        if identity not in planned:
            raise plan.PlanError(f"{stored.folder} has no case {identity!r}; the report and plan.parquet list its ids")
    tasks = [plan.task(planned[identity], CASES) for identity in ids]
    try:
        execution = executor.execute(
            tasks,
            list(devices) or there,
            timeout_s=nightly.TIMEOUT_S,
            bounds=by.measuring,
            jobs=jobs,
            interpreter=interpreter,
            overlay=overlay,
            on_progress=on_progress,
        )
    except ValueError as error:
        raise plan.PlanError(f"{stored.folder} was run elsewhere: {error}") from error
    return judge.judge_rows(tables.observations(execution.columns()), by)


def first_bad(
    stored: store.Run,
    identity: str,
    good: str,
    bad: str,
    by: Limits,
    *,
    device: str = "",
    check: str = "",
    interpreter: str = sys.executable,
    say: Callable[[Probe], None],
) -> bisect.Found:
    """Find the first release on which a case fails as it did in the run; `say` is told of each release tried.

    Without a `device` it is the first on which the case failed, without a `check` (stage/quantity) the first of the
    first stage that failed.

    Raises:
        PlanError: if the run has no such case or device.
        LibraryError: if pip sees no release.
        BisectError: if the case did not fail, not that check, or the ends are not what they were given as.
    """
    mine = stored.observations[stored.observations["id"] == identity]
    failing = mine.loc[mine["status"].isin(BROKEN), "device"]
    device = device or next(iter(failing), "")
    wanted = bisect.check(mine[mine["device"] == device], check)

    def probe(version: str) -> Probe:
        try:
            fetched = library.resolve(version, interpreter=interpreter)
        except library.LibraryError as error:
            seen = Probe(version=version, seen=Seen.SKIPPED, reason=str(error))
        else:
            overlay = (fetched.overlay,)
            now = measure(stored, [identity], by, interpreter=interpreter, overlay=overlay, devices=[device])
            seen = bisect.told(version, wanted, now)
        say(seen)
        return seen

    return bisect.search(bisect.between(library.releases(interpreter), good, bad), probe)
