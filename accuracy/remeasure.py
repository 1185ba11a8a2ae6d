"""Measures cases of a stored run again, on the installed library or another."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from accuracy import executor, judge, nightly, plan, store
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
    return judge.judge_rows(store.observations_frame(execution.columns()), by)
