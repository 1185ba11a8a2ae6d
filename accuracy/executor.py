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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from accuracy.attempt import MEASURE, MODULES, Calls, Settled, Terms
from accuracy.capabilities import refusal
from accuracy.case import Status, Task
from accuracy.contents import Contents
from accuracy.devices import Device, parse
from accuracy.draw import Draw
from accuracy.journal import Journal
from accuracy.lane import Lane
from accuracy.launch import Server, available
from accuracy.mailbox import Mailbox
from accuracy.packing import Answer
from accuracy.plan import Drawing
from accuracy.record import Execution, Progress, Record
from accuracy.schedule import settle

MEMORY_SHARE: Final = 0.8
"""Share of the memory now free that all workers together may take."""

START_TIMEOUT_S: Final = 120.0
RECYCLE_AFTER: Final = 500
"""Seconds to import the library in, and tasks after which a worker is replaced, where nothing else is asked for."""


class Search(Protocol):
    """Thinks of more tasks once those of the plan are done, by what was measured, and asks in its mailbox.

    `timeout_s` is what each of them may take. `begin(answers)` starts it with what there is to the tasks of each case;
    it has ended when the mailbox is closed, by itself or by the executor.
    """

    mailbox: Mailbox
    timeout_s: float

    def begin(self, answers: Mapping[str, Sequence[Answer]]) -> None:
        """Starts to ask, from other threads."""


def share_of_memory(workers: int) -> int:
    """Bytes that each of so many workers may take on top of what it starts with."""
    return int(available() * MEMORY_SHARE / workers)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of several libraries on which the same tasks are measured; see `execute` for what each part is."""

    interpreter: str = sys.executable
    overlay: Sequence[Path] = ()
    modules: Sequence[str] = MODULES
    measure: str = MEASURE
    journal: Journal | None = None
    on_progress: Callable[[Progress], None] | None = None


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
    accelerator_jobs: int | None = None,
    measure: str = MEASURE,
    check: str = "",
    refuse: Callable[[Task, Device], str] = refusal,
    modules: Sequence[str] = MODULES,
    interpreter: str = sys.executable,
    overlay: Sequence[Path] = (),
    deadline: float | None = None,
    start_timeout_s: float = START_TIMEOUT_S,
    memory: int | None = None,
    recycle_after: int = RECYCLE_AFTER,
    journal: Journal | None = None,
    search: Search | None = None,
    rest: Drawing | None = None,
    early: Server | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Execution:
    """Measures each of `tasks` on each of `devices`.

    Args:
        tasks: the plan; ids must differ.
        devices: names as in `accuracy.devices`, that are there.
        timeout_s: seconds of a worker's own time that one task may take, from its start.
        bounds: passed to `measure` with each task.
        jobs: workers on the CPU and its variants together; by default one a processor.
        accelerator_jobs: workers on each accelerator; by default its adapter's number, at most one a processor.
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
        recycle_after: tasks after which a worker on the CPU is replaced; one on an accelerator does more of them.
        journal: keeps outcomes as they come, and has those of an earlier part of the run.
        search: thinks of more tasks when these are done.
        rest: draws more of the plan while these are measured, and is drawn to its end whatever happens.
        early: a fork server of `accuracy.early`, which may have imported already.
        on_progress: called at the start and after every outcome.

    Raises:
        ValueError: if two tasks have the same id or a device is unknown.
    """
    jobs = cores() if jobs is None else jobs
    arm = Arm(interpreter=interpreter, overlay=overlay, journal=journal, on_progress=on_progress)
    parsed = _parsed(devices)
    workers = _workers(parsed, jobs, accelerator_jobs)
    terms = Terms(
        jobs=jobs,
        accelerator_jobs=accelerator_jobs,
        timeout_s=timeout_s,
        start_timeout_s=start_timeout_s,
        memory=share_of_memory(workers) if memory is None else memory,
        recycle_after=recycle_after,
        deadline=deadline,
        interpreter=interpreter,
        overlay=overlay,
        modules=modules,
        measure=measure,
        check=check,
        bounds=bounds,
    )
    run = _record(tasks, parsed, arm, drawing=rest is not None)
    with selectors.DefaultSelector() as selector:
        lanes = _lanes(run, parsed, terms, refuse, selector, early=early)
        draw = None if rest is None else Draw(rest=rest, run=run, lanes=lanes, refuse=refuse)
        interrupted = _work(lanes, selector, run, search, refuse, draw=draw, on_tick=lambda: run.silence(lanes))
    return run.execution(_closed(lanes), interrupted=interrupted)


def interleave(
    tasks: Sequence[Task],
    devices: Sequence[str],
    arms: Sequence[Arm],
    *,
    timeout_s: float,
    bounds: Mapping[str, float],
    jobs: int | None = None,
    accelerator_jobs: int | None = None,
    deadline: float | None = None,
    refuse: Callable[[Task, Device], str] = refusal,
) -> list[Execution]:
    """Measures each of `tasks` on each of `devices` once for each arm, all arms side by side, in step.

    On each device they take the plan in its order, and none gets more than `LEAD` tasks ahead of another: whatever
    happens to the machine meanwhile happens to all of them alike. `jobs` is for each arm, by default its share
    of the processors; the rest is as for `execute`.

    Raises:
        ValueError: if two tasks have the same id or a device is unknown.
    """
    jobs = max(1, cores() // len(arms)) if jobs is None else jobs
    parsed = _parsed(devices)
    workers = _workers(parsed, jobs, accelerator_jobs)
    runs = [_record(tasks, parsed, arm) for arm in arms]
    with selectors.DefaultSelector() as selector:
        sides = []
        for run, arm in zip(runs, arms, strict=True):
            terms = Terms(
                jobs=jobs * len(arms),
                accelerator_jobs=accelerator_jobs,
                timeout_s=timeout_s,
                start_timeout_s=START_TIMEOUT_S,
                memory=share_of_memory(workers * len(arms)),
                recycle_after=RECYCLE_AFTER,
                deadline=deadline,
                interpreter=arm.interpreter,
                overlay=arm.overlay,
                modules=arm.modules,
                measure=arm.measure,
                check="",
                bounds=bounds,
            )
            sides.append(_lanes(run, parsed, terms, refuse, selector))
        for twins in zip(*sides, strict=True):
            for lane in twins:
                lane.twins = [twin for twin in twins if twin is not lane]
        # Device by device, so that the first free processors go to the arms of one device.
        lanes = [lane for twins in zip(*sides, strict=True) for lane in twins]

        def silence() -> None:
            for run, side in zip(runs, sides, strict=True):
                run.silence(side)

        interrupted = _work(lanes, selector, None, None, refuse, on_tick=silence)
    return [run.execution(_closed(side), interrupted=interrupted) for run, side in zip(runs, sides, strict=True)]


def _parsed(names: Sequence[str]) -> list[Device]:
    """The devices of these names, each once: the first accelerator has two, `cuda` and `cuda:0`."""
    return list({device.name: device for device in map(parse, names)}.values())


def _workers(devices: Sequence[Device], jobs: int, accelerator_jobs: int | None) -> int:
    """How many there can be at once: those on the host, and those of each accelerator."""
    accelerators = [device.adapter for device in devices if not device.adapter.on_host]
    return jobs + sum(adapter.workers_for(accelerator_jobs, jobs) for adapter in accelerators)


def _record(tasks: Sequence[Task], devices: Sequence[Device], arm: Arm, *, drawing: bool = False) -> Record:
    return Record(
        tasks=tasks,
        devices=[device.name for device in devices],
        earlier={} if arm.journal is None else arm.journal.outcomes(),
        journal=arm.journal,
        on_progress=arm.on_progress,
        drawing=drawing,
    )


def _lanes(
    run: Record,
    devices: Sequence[Device],
    terms: Terms,
    refuse: Callable[[Task, Device], str],
    selector: selectors.BaseSelector,
    *,
    early: Server | None = None,
) -> list[Lane]:
    """A lane for each device with what is left to do there, once what it does not support is settled."""
    calls = Calls(
        task_id=run.task_id,
        message=run.message,
        settle=run.settle,
        suspect=run.suspect,
        hello=run.hello,
        incident=run.incidents.append,
    )
    for device in devices:
        run.refuse(device, refuse)
    return [
        Lane(
            device=device,
            tasks=run.left(device.name),
            terms=terms,
            calls=calls,
            selector=selector,
            early=early if early is not None and early.command[0] == device.name else None,
        )
        for device in devices
    ]


def _closed(lanes: Sequence[Lane]) -> dict[str, str]:
    """Why each device that was given up was."""
    return {lane.device.name: lane.closed for lane in lanes if lane.closed}


def cut_off(tasks: Sequence[Task], devices: Sequence[str], contents: Contents, reason: str) -> Execution:
    """What a run had given when its journal said so much; the rest was not run, for this reason."""
    run = Record(tasks=tasks, devices=devices, earlier=contents.outcomes())
    run.environment.update(contents.facts)
    for device in devices:
        for index in list(run.left(device)):
            run.settle(index, device, Settled(status=Status.NOT_RUN, reason=reason, final=False))
    return run.execution({}, interrupted=False)


def _work(
    lanes: Sequence[Lane],
    selector: selectors.BaseSelector,
    run: Record | None,
    search: Search | None,
    refuse: Callable[[Task, Device], str],
    *,
    draw: Draw | None = None,
    on_tick: Callable[[], None],
) -> bool:
    """Runs the lanes until all is settled and nothing more is thought of; says whether the user stopped it."""
    try:
        settle(lanes, selector, draw=draw, on_tick=on_tick)
        if run is not None and search is not None and any(not lane.closed and not lane.late for lane in lanes):
            mailbox = search.mailbox
            for lane in lanes:
                lane.terms = replace(lane.terms, timeout_s=search.timeout_s)
            selector.register(mailbox, selectors.EVENT_READ, lambda: run.ask(mailbox, lanes, refuse))
            search.begin(run.answers_by_case())
            settle(lanes, selector, mailbox, on_tick=on_tick)
    except KeyboardInterrupt:
        for lane in lanes:
            lane.dismiss()
        if draw is not None and draw.open:
            draw(float("inf"))  # what was not drawn yet was not run either, and has to be on record
        for lane in lanes:
            lane.give_up("interrupted")
        return True
    finally:
        if search is not None:
            search.mailbox.close()
        for lane in lanes:
            lane.dismiss()
    return False
