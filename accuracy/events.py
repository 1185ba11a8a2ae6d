"""A run as events, one JSON object a line: started, progress, every cell, done. Without `done` the process died."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pandas as pd

from accuracy.case import CELL
from accuracy.files import StoreError
from accuracy.prepared import Prepared
from accuracy.record import Progress
from accuracy.summary import json_number

SCHEMA = 1
EVERY_S = 1.0
"""Seconds between two events of progress."""

Event = Mapping[str, Any]
Emit = Callable[[Event], None]


@contextmanager
def stream(target: Path | None) -> Iterator[Emit]:
    """What to call with each event: each is one line, written at once. `-` is stdout, None nowhere.

    A reader that goes away costs one line on stderr and the rest of the events, not the run.

    Raises:
        StoreError: if the file cannot be opened.
    """
    if target is None:
        yield lambda _: None
    elif str(target) == "-":
        yield _writer(sys.stdout, "stdout")
    else:
        try:
            file = target.open("w", encoding="ascii")
        except OSError as error:
            raise StoreError(
                f"{target} cannot be written: {error.strerror}; name another file for the events"
            ) from error
        with file:
            yield _writer(file, str(target))


def _writer(file: IO[str], name: str) -> Emit:
    broken = False

    def emit(event: Event) -> None:
        nonlocal broken
        if broken:
            return
        try:
            file.write(json.dumps({"schema": SCHEMA, **event}, allow_nan=False) + "\n")
            file.flush()
        except OSError as error:
            broken = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())  # what is still buffered has somewhere to go
            sys.stderr.write(f"accuracy: no more events, {name} cannot be written: {error.strerror}\n")

    return emit


def started(run: str, prepared: Prepared) -> Event:
    """A run begins: `plan` cases on each of `devices`; `missing` were asked for and are not there."""
    return {
        "event": "started",
        "run": run,
        "profile": prepared.request.profile,
        "seed": prepared.request.seed,
        "devices": dict(prepared.there),
        "missing": dict(prepared.missing),
        "plan": len(prepared.tasks),
    }


def progress(emit: Emit, show: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """`show`, and an event a second, one at the end of the plan, and one where nothing came for long."""
    last = -EVERY_S

    def both(now: Progress) -> None:
        nonlocal last
        show(now)
        if (
            now.seconds - last >= EVERY_S
            or now.waits
            or (now.done == now.total and not now.explored and not now.drawing)
        ):
            last = now.seconds
            emit({"event": "progress", **vars(now)})

    return both


def cells(verdicts: pd.DataFrame) -> Iterator[Event]:
    """One event for each row of the verdict table, as it is stored."""
    names = [*CELL, "verdict", "worst_ratio", "worst_id", "n", "failing", "reason"]
    for values in verdicts[names].itertuples(index=False):
        row = dict(zip(names, values, strict=True))
        yield {"event": "cell", **row, "worst_ratio": json_number(float(row["worst_ratio"]))}


def done(summary: Mapping[str, Any], *, exit_code: int) -> Event:
    """The run is stored: its verdict, its counts, and the code the process will exit with."""
    return {"event": "done", "verdict": summary["verdict"], "exit_code": exit_code, "counts": summary["counts"]}
