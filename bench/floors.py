"""What the machine gives to several processes that do nothing but the floor: no harness can scale better."""

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from threading import BrokenBarrierError
from typing import Any, Final

from accuracy.case import Task
from bench import work

PATIENCE_S: Final = 120.0
"""Seconds in which all processes must have imported the library, and done all tasks once."""

_barriers: list[Any] = []
"""Of a process that does floors, the one at which it waits for the others."""


def rate(tasks: Sequence[Task], device: str, *, processes: int) -> float:
    """Floors a second of so many processes at once, each by its own clock. Each does all tasks, from another on.

    Raises:
        RuntimeError: if they did not begin together.
    """
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(processes)
    starts = [place * len(tasks) // processes for place in range(processes)]
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_join, initargs=(together,)) as pool:
        return sum(pool.map(_alone, [[*tasks[start:], *tasks[:start]] for start in starts], [device] * processes))


def _join(barrier: Any) -> None:
    _barriers.append(barrier)


def _alone(tasks: Sequence[Task], device: str) -> float:
    works = [each for each in (work.of(task, device) for task in tasks) if work.runs(each)]
    try:
        _barriers[0].wait(PATIENCE_S)
    except BrokenBarrierError as error:
        raise RuntimeError(f"not all processes were there within {PATIENCE_S:g} s") from error
    began = time.perf_counter()
    for each in works:
        work.referenced(each)
    return len(works) / (time.perf_counter() - began)
