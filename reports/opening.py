"""Opens a stored run for its page. While another process tries its tables, this one imports what makes pages."""

import gc
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from accuracy import quarantine
from accuracy.arguments import load_limits
from reports import columns

if TYPE_CHECKING:
    from accuracy.conclusion import Result
    from accuracy.store import Run


@contextmanager
def uncollected() -> Iterator[None]:
    """Without collection of garbage: a page is made of values that live until it is written.

    To look among them for some that do not takes a tenth of the time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def unthreaded() -> Iterator[None]:
    """Numpy that is imported in here starts no threads for products of matrices.

    A page multiplies nothing, and the process that tries the tables can use the processor.
    """
    before = os.environ.get(quarantine.THREADS)
    os.environ[quarantine.THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[quarantine.THREADS]
        else:
            os.environ[quarantine.THREADS] = before


def opened(run: Path, limits: Path | None = None) -> "Run | Result":
    """The run, which may be a stranger's, with what a page shows of its rows; or what there is of an unfinished one.

    `limits` are those that an unfinished run was begun with.

    Raises:
        StoreError: if it cannot be read.
        LimitsError: if the limits cannot be read.
        PlanError: if it is unfinished and planned what this version does not know.
    """
    with quarantine.tasting() as taste, ThreadPoolExecutor(1) as pool:  # the process starts while this one imports
        with unthreaded():
            from accuracy import store

        if store.is_unfinished(run):
            from accuracy import unfinished

            return unfinished.result(run, load_limits(limits))
        reading = pool.submit(store.read, run, first=taste, columns=columns.shown)
        from reports import publish

        for _ in publish.ahead():
            if reading.done():
                break
        return reading.result()
