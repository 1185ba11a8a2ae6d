"""Runs every task on every device in worker processes, and gives each pair exactly one outcome.

The parent keeps the plan, the clocks and the journal, and never imports torch. A worker may crash,
hang, balloon or talk nonsense: that costs the task it was doing, and the row that stands for the
task says what happened. The first word of its reason is one of

- `crash`, `timeout`, `oom`: it did so twice, the second time alone in a fresh process;
- `crash_once`: it crashed among others and did not when it ran alone;
- `exception`: it raised where the case expects no exception;
- for `not_run`: `device unusable`, `device lost`, `interrupted`, or that the time budget was used up.
"""

import os
import selectors
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from accuracy.attempt import Calls, Settled, Terms
from accuracy.capabilities import refusal
from accuracy.case import Status, Task
from accuracy.devices import Device, parse
from accuracy.journal import Contents, Journal
from accuracy.lane import Lane
from accuracy.launch import available
from accuracy.rows import Row, columns, incomplete

TICK: Final = 0.1
"""Seconds between two looks at the clocks."""

MEMORY_SHARE: Final = 0.8
"""Share of the memory now free that all workers together may take."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is. `resumed` of the `done` pairs were taken from the journal; `seconds` since the start."""

    done: int
    total: int
    resumed: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What a run gave: rows in the order of the plan, then of the devices, whatever the number of workers.

    `environment` holds the facts of each device that said hello, `unusable` the reason of each that was
    given up, `incidents` what happened on the way and changed no row. `complete` is false if a task was not run.
    """

    rows: Sequence[Row]
    environment: Mapping[str, Mapping[str, Any]]
    unusable: Mapping[str, str]
    incidents: Sequence[str]
    interrupted: bool
    complete: bool

    def columns(self) -> dict[str, list[Any]]:
        """The rows by column, for a frame."""
        return columns(self.rows)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def execute(
    tasks: Sequence[Task],
    devices: Sequence[str],
    *,
    timeout_s: float,
    bounds: Mapping[str, float],
    jobs: int | None = None,
    accelerator_jobs: int = 1,
    measure: str = "accuracy.measure:measure",
    check: str = "",
    refuse: Callable[[Task, Device], str] = refusal,
    modules: Sequence[str] = ("torch", "bitsandbytes"),
    interpreter: str = sys.executable,
    overlay: Sequence[Path] = (),
    deadline: float | None = None,
    start_timeout_s: float = 120.0,
    memory: int | None = None,
    recycle_after: int = 500,
    journal: Journal | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Execution:
    """Measures each of `tasks` on each of `devices`.

    Args:
        tasks: the plan; ids must differ.
        devices: names as in `accuracy.devices`, that are there.
        timeout_s: seconds of a worker's own time that one task may take, from its start.
        bounds: passed to `measure` with each task.
        jobs: workers on the CPU and its variants together; by default one a processor.
        accelerator_jobs: workers on each accelerator.
        measure: reference of the function (task, device) -> rows that workers call.
        check: reference of the function that raises if an accelerator no longer computes; "" for its adapter's.
        refuse: why a device does not support a task, "" where it does. Such a pair is settled as not supported,
            for this reason, and no worker is asked.
        modules: what workers import before they measure.
        interpreter: the Python that workers run.
        overlay: folders put first on the workers' path.
        deadline: moment of `time.monotonic` after which no task is begun.
        start_timeout_s: seconds in which a process must have imported the library.
        memory: bytes a worker may take on top of what it starts with, 0 for no limit; by default its share.
        recycle_after: tasks after which a worker is replaced.
        journal: keeps outcomes as they come, and has those of an earlier part of the run.
        on_progress: called at the start and after every outcome.

    Raises:
        ValueError: if two tasks have the same id or a device is unknown.
    """
    jobs = cores() if jobs is None else jobs
    parsed = [parse(name) for name in devices]
    earlier = {} if journal is None else journal.outcomes()
    run = _Run(tasks=tasks, devices=devices, earlier=earlier, journal=journal, on_progress=on_progress)
    workers = jobs + accelerator_jobs * sum(not device.adapter.on_host for device in parsed)
    terms = Terms(
        jobs=jobs,
        accelerator_jobs=accelerator_jobs,
        timeout_s=timeout_s,
        start_timeout_s=start_timeout_s,
        memory=int(available() * MEMORY_SHARE / workers) if memory is None else memory,
        recycle_after=recycle_after,
        deadline=deadline,
        interpreter=interpreter,
        overlay=overlay,
        modules=modules,
        measure=measure,
        check=check,
        bounds=bounds,
    )
    calls = Calls(
        task_id=run.ids.__getitem__,
        message=run.message,
        settle=run.settle,
        hello=run.hello,
        incident=run.incidents.append,
    )
    for device in parsed:
        run.refuse(device, refuse)
    with selectors.DefaultSelector() as selector:
        lanes = [
            Lane(device=device, queue=deque(run.left(device.name)), terms=terms, calls=calls, selector=selector)
            for device in parsed
        ]
        interrupted = _work(lanes, terms, selector)
    return run.execution(lanes, interrupted=interrupted)


def cut_off(tasks: Sequence[Task], devices: Sequence[str], contents: Contents, reason: str) -> Execution:
    """What a run had given when its journal said so much; the rest was not run, for this reason."""
    run = _Run(tasks=tasks, devices=devices, earlier=contents.outcomes())
    run.environment.update(contents.facts)
    for device in devices:
        for index in list(run.left(device)):
            run.settle(index, device, Settled(status=Status.NOT_RUN, reason=reason, final=False))
    return run.execution([], interrupted=False)


def _work(lanes: Sequence[Lane], terms: Terms, selector: selectors.BaseSelector) -> bool:
    """Runs the lanes until all is settled; says whether the user stopped it."""
    looked = 0.0
    try:
        while any(lane.queue or lane.suspects or lane.busy for lane in lanes):
            if terms.deadline is not None and time.monotonic() >= terms.deadline:
                for lane in lanes:
                    lane.give_up("the time budget was used up")
            _staff(lanes, terms.jobs)
            for key, _ in selector.select(TICK):
                key.data()
            if time.monotonic() - looked >= TICK:
                looked = time.monotonic()
                for lane in lanes:
                    lane.watch()
    except KeyboardInterrupt:
        for lane in lanes:
            lane.dismiss()
            lane.give_up("interrupted")
        return True
    finally:
        for lane in lanes:
            lane.dismiss()
    return False


def _staff(lanes: Sequence[Lane], jobs: int) -> None:
    """Lets workers go that have nothing left, shares the processors, and hands out tasks.

    Suspects run when nothing else does, one at a time on the whole machine.
    """
    if not any(lane.queue or lane.busy for lane in lanes):
        trial = next((lane for lane in lanes if lane.suspects), None)
        if trial is not None and not any(worker.alone for lane in lanes for worker in lane.workers):
            trial.hire(alone=True)
    for lane in lanes:
        lane.release()
    _share(lanes, jobs)
    for lane in lanes:
        for _ in range(lane.slots - len(lane.workers)):
            lane.hire()
        lane.hand_out()


def _share(lanes: Sequence[Lane], jobs: int) -> None:
    """Gives free processors, one by one, to the lane with the fewest workers whose queue has work for one more."""
    for lane in lanes:
        own = lane.terms.accelerator_jobs - len(lane.workers)
        lane.slots = len(lane.workers) + (0 if lane.crew.shared else min(own, len(lane.queue)))
    shared = [lane for lane in lanes if lane.crew.shared]
    for _ in range(jobs - sum(lane.slots for lane in shared)):
        wanting = [lane for lane in shared if len(lane.queue) > lane.slots - len(lane.workers)]
        if wanting:
            min(wanting, key=lambda lane: lane.slots).slots += 1


class _Run:
    """The record of a run as it grows: one outcome a pair, kept in the journal as it comes."""

    def __init__(
        self,
        *,
        tasks: Sequence[Task],
        devices: Sequence[str],
        earlier: Mapping[tuple[str, str], list[Row]],
        journal: Journal | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.tasks, self.devices, self.journal = tasks, devices, journal
        self.ids = [task.id for task in tasks]
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("the plan holds a task twice; ids must differ")
        self.environment: dict[str, dict[str, Any]] = {}
        self.incidents: list[str] = []
        self._on_progress = on_progress or (lambda _: None)
        self._started = time.monotonic()
        pairs = {(task_id, device) for task_id in self.ids for device in devices}
        self._rows = {pair: rows for pair, rows in earlier.items() if pair in pairs}
        self._resumed = len(self._rows)
        self._complete = True
        self._report()

    def left(self, device: str) -> Iterable[int]:
        """The tasks that an earlier part of the run has not settled."""
        return (index for index, task_id in enumerate(self.ids) if (task_id, device) not in self._rows)

    def refuse(self, device: Device, why: Callable[[Task, Device], str]) -> None:
        """Settles what `device` does not support. It is no failure, and never a pass."""
        for index in list(self.left(device.name)):
            reason = why(self.tasks[index], device)
            if reason:
                self.settle(index, device.name, Settled(status=Status.NOT_SUPPORTED, reason=reason, seconds=0.0))

    def message(self, index: int) -> dict[str, Any]:
        """What a worker is sent."""
        task = self.tasks[index]
        config = vars(task.config)
        return {"id": self.ids[index], "case": task.case, "config": config, "seed": task.seed, "origin": task.origin}

    def settle(self, index: int, device: str, outcome: Settled) -> None:
        """Records an outcome."""
        task_id = self.ids[index]
        rows = outcome.rows or [
            incomplete(
                self.tasks[index],
                task_id,
                device,
                status=outcome.status,
                reason=outcome.reason,
                device_name=str(self.environment.get(device, {}).get("device_name", "")),
                seconds=outcome.seconds,
            )
        ]
        self._complete &= outcome.status is not Status.NOT_RUN
        if self.journal is not None and outcome.final:
            self.journal.settle(task_id, device, rows, outcome.line)
        self._rows[task_id, device] = list(rows)
        self._report()

    def hello(self, device: str, facts: Mapping[str, Any]) -> None:
        """Records what a worker runs on."""
        if device not in self.environment:
            if self.journal is not None:
                self.journal.hello(device, facts)
            self.environment[device] = dict(facts)

    def execution(self, lanes: Sequence[Lane], *, interrupted: bool) -> Execution:
        """The outcomes in order."""
        return Execution(
            rows=[row for task_id in self.ids for device in self.devices for row in self._rows[task_id, device]],
            environment=self.environment,
            unusable={lane.device.name: lane.closed for lane in lanes if lane.closed},
            incidents=self.incidents,
            interrupted=interrupted,
            complete=self._complete,
        )

    def _report(self) -> None:
        seconds = time.monotonic() - self._started
        total = len(self.ids) * len(self.devices)
        self._on_progress(Progress(done=len(self._rows), total=total, resumed=self._resumed, seconds=seconds))
