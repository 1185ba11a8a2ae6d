"""The record of a run as it grows: one outcome for each task on each device, kept in the journal as it comes."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from accuracy import plan
from accuracy.attempt import Failure, Settled
from accuracy.case import EXPLORED, Status, Task
from accuracy.devices import Device
from accuracy.journal import Journal
from accuracy.lane import Lane
from accuracy.mailbox import Mailbox, Question
from accuracy.packing import Answer, Column, columns, pack, rows_of, unpack
from accuracy.rows import Row, apart, incomplete
from accuracy.shards import Whole


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: `done` of the `total` planned pairs, and beside them so many that were `explored`.

    `resumed` of all these were taken from the journal; `seconds` since the start. While the plan is `drawing`, `total`
    is what has been drawn of it. After `silent` seconds without an outcome `waits` says what each device waits for.
    """

    done: int
    total: int
    resumed: int
    seconds: float
    explored: int = 0
    drawing: bool = False
    silent: float = 0.0
    waits: str = ""


SILENCES: Final = 6
"""How often a run says what it waits for in the time that one case may take, where no outcome comes meanwhile."""


def summed(show: Callable[[Progress], None], parts: int) -> list[Callable[[Progress], None]]:
    """What each of several runs that go on side by side calls with its progress, so that `show` gets that of all."""
    latest: dict[int, Progress] = {}

    def part(number: int, now: Progress) -> None:
        latest[number] = now
        if len(latest) == parts:
            every = latest.values()
            show(
                Progress(
                    done=sum(each.done for each in every),
                    total=sum(each.total for each in every),
                    resumed=sum(each.resumed for each in every),
                    seconds=max(each.seconds for each in every),
                    silent=min(each.silent for each in every),
                    waits="; ".join(dict.fromkeys(each.waits for each in every))
                    if all(each.waits for each in every)
                    else "",
                )
            )

    return [partial(part, number) for number in range(parts)]


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What a run gave: answers in the order of the plan, then of the devices, whatever the number of workers.

    After them come those to the `explored` tasks, by case and id; of these a pair that was not run has none.
    `environment` holds the facts of each device that said hello, `unusable` the reason of each that was
    given up, `incidents` what happened on the way and changed no row. `complete` is false if a task was not run.
    """

    answers: Sequence[Answer]
    explored: Sequence[Task]
    environment: Mapping[str, Mapping[str, Any]]
    unusable: Mapping[str, str]
    incidents: Sequence[str]
    interrupted: bool
    complete: bool

    @property
    def rows(self) -> list[Row]:
        """The rows of all answers, in their order."""
        return rows_of(self.answers)

    def columns(self) -> Iterator[dict[str, Column]]:
        """The rows by column, some at a time, for a frame."""
        return columns(self.answers)


@dataclass(eq=False, kw_only=True)
class _Asked:
    """A question under way: the devices whose rows are still missing, and the rows that came."""

    mailbox: Mailbox
    question: Question
    missing: set[str]
    rows: list[Row]

    def answer(self) -> None:
        """Sends the rows back if none are missing."""
        if not self.missing:
            self.mailbox.answer(self.question, self.rows)


class Record:
    """The record of a run: the tasks of its plan, then those that were asked for on the way."""

    def __init__(
        self,
        *,
        tasks: Sequence[Task],
        devices: Sequence[str],
        earlier: Mapping[tuple[str, str], Answer],
        journal: Journal | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        drawing: bool = False,
    ) -> None:
        self.tasks, self.devices, self.journal = list(tasks), devices, journal
        self._places = {task.id: index for index, task in enumerate(tasks)}
        if len(self._places) != len(tasks):
            raise ValueError("the plan holds a task twice; ids must differ")
        self.environment: dict[str, dict[str, Any]] = {}
        self.incidents: list[str] = []
        self._on_progress = on_progress or (lambda _: None)
        self._started, self._drawing = time.monotonic(), drawing
        self._heard = self._told = self._started
        pairs = {(task_id, device) for task_id in self._places for device in devices}
        self._answers = {pair: answer for pair, answer in earlier.items() if pair in pairs}
        self._resumed = len(self._answers)
        self._planned = sum(task.origin != EXPLORED for task in tasks)
        self._searched = sum((task.id, device) in self._answers for task in self._explored() for device in devices)
        self._asked: dict[int, _Asked] = {}
        self._complete = True
        self._report()

    def task_id(self, index: int) -> str:
        """The id of a task."""
        return self.tasks[index].id

    def left(self, device: str) -> Iterable[int]:
        """The tasks that an earlier part of the run has not settled."""
        return (index for task_id, index in self._places.items() if (task_id, device) not in self._answers)

    def refuse(self, device: Device, why: Callable[[Task, Device], str]) -> None:
        """Settles what `device` does not support. It is no failure, and never a pass."""
        for index in list(self.left(device.name)):
            self._refuse(index, device, why)

    def _refuse(self, index: int, device: Device, why: Callable[[Task, Device], str]) -> bool:
        reason = why(self.tasks[index], device)
        if reason:
            self.settle(index, device.name, Settled(status=Status.NOT_SUPPORTED, reason=reason, seconds=0.0))
        return bool(reason)

    def drawn(
        self,
        tasks: Sequence[Task],
        lanes: Sequence[Lane],
        refuse: Callable[[Task, Device], str],
        *,
        whole: Whole | None,
    ) -> None:
        """Adds tasks of the plan that were drawn while others were measured, and queues them.

        More may come, unless these end the plan and `whole` names it.
        """
        first = len(self.tasks)
        self.tasks += tasks
        self._places |= {task.id: first + number for number, task in enumerate(tasks)}
        self._planned += len(tasks)
        self._drawing = whole is None
        if self.journal is not None:
            self.journal.plan(plan.rows(tasks))
            if whole is not None:
                self.journal.end_plan(whole)
        for lane in lanes:
            for index in range(first, len(self.tasks)):
                if lane.closed or not self._refuse(index, lane.device, refuse):
                    lane.queue.append(index)
            if lane.closed:
                lane.give_up(lane.closed)

    def message(self, index: int) -> dict[str, Any]:
        """What a worker is sent."""
        task = self.tasks[index]
        return {"id": task.id, "case": task.case, "text": task.text, "seed": task.seed, "origin": task.origin}

    def settle(self, index: int, device: str, outcome: Settled) -> None:
        """Records an outcome. An explored task that was not run is none: nobody planned it."""
        task = self.tasks[index]
        if outcome.status is Status.NOT_RUN and task.origin == EXPLORED:
            self._answer(index, device, [])
            return
        text = outcome.text or pack(apart([self._incomplete(index, device, outcome)]))
        answer = outcome.answer or unpack(text, task_id=task.id, device=device)
        self._complete &= outcome.status is not Status.NOT_RUN
        if self.journal is not None and outcome.final:
            self.journal.settle(task.id, device, text)
        self._answers[task.id, device] = answer
        self._searched += task.origin == EXPLORED
        self._report()
        if index in self._asked:
            self._answer(index, device, rows_of([answer]))

    def suspect(self, index: int, device: str, failure: Failure) -> None:
        """Tells who asked for a task that it failed, though it is not settled yet."""
        self._answer(index, device, [self._incomplete(index, device, failure.settled())])

    def _incomplete(self, index: int, device: str, outcome: Settled) -> Row:
        """The row that stands for a task that gave none."""
        return incomplete(
            self.tasks[index],
            self.tasks[index].id,
            device,
            status=outcome.status,
            reason=outcome.reason,
            device_name=str(self.environment.get(device, {}).get("device_name", "")),
            seconds=outcome.seconds,
        )

    def ask(self, mailbox: Mailbox, lanes: Sequence[Lane], refuse: Callable[[Task, Device], str]) -> None:
        """Queues what was asked for on each device that supports it, and answers at once what is settled already."""
        for question in mailbox.take():
            task = question.task
            if task.id not in self._places:
                self._places[task.id] = len(self.tasks)
                self.tasks.append(task)
                if self.journal is not None:
                    self.journal.plan(plan.rows([task]))
            index = self._places[task.id]
            left = [lane for lane in lanes if (task.id, lane.device.name) not in self._answers]
            able = [lane for lane in left if not lane.closed and not self._refuse(index, lane.device, refuse)]
            self._asked[index] = _Asked(
                mailbox=mailbox,
                question=question,
                missing={lane.device.name for lane in able},
                rows=rows_of(self._given(task)),
            )
            for lane in able:
                lane.queue.append(index, asked=True)
            self._asked[index].answer()

    def _answer(self, index: int, device: str, rows: Sequence[Row]) -> None:
        """Gives rows to who asked for the task, once every device has some."""
        asked = self._asked.get(index)
        if asked is not None and device in asked.missing:
            asked.missing.discard(device)
            asked.rows.extend(rows)
            asked.answer()

    def hello(self, device: str, facts: Mapping[str, Any]) -> None:
        """Records what a worker runs on."""
        if device not in self.environment:
            if self.journal is not None:
                self.journal.hello(device, facts)
            self.environment[device] = dict(facts)

    def execution(self, unusable: Mapping[str, str], *, interrupted: bool) -> Execution:
        """The outcomes in order; `unusable` has the reason of each device that was given up."""
        return Execution(
            answers=self.answers(),
            explored=self._explored(),
            environment=self.environment,
            unusable=unusable,
            incidents=self.incidents,
            interrupted=interrupted,
            complete=self._complete and not interrupted,
        )

    def answers(self) -> list[Answer]:
        """The answers so far, in order."""
        planned = (task for task in self.tasks if task.origin != EXPLORED)
        return [answer for task in (*planned, *self._explored()) for answer in self._given(task)]

    def answers_by_case(self) -> dict[str, list[Answer]]:
        """The answers so far by the name of their case."""
        found: dict[str, list[Answer]] = {}
        for task in self.tasks:
            found.setdefault(task.case, []).extend(self._given(task))
        return found

    def _given(self, task: Task) -> list[Answer]:
        """The answers to a task so far, in the order of the devices."""
        pairs = ((task.id, device) for device in self.devices)
        return [self._answers[pair] for pair in pairs if pair in self._answers]

    def _explored(self) -> list[Task]:
        """The explored tasks that have rows, in an order that does not depend on who was first."""
        found = [
            task
            for task in self.tasks
            if task.origin == EXPLORED and any((task.id, device) in self._answers for device in self.devices)
        ]
        return sorted(found, key=lambda task: (task.case, task.id))

    def silence(self, lanes: Sequence[Lane]) -> None:
        """Tells what the devices wait for, where nothing has come for long and nothing was said since."""
        now = time.monotonic()
        if lanes and now - self._told >= min(lane.terms.timeout_s for lane in lanes) / SILENCES:
            waits = "; ".join(f"{lane.device.name}: {lane.waits}" for lane in lanes if lane.waits)
            if waits:
                self._report(silent=now - self._heard, waits=waits)

    def _report(self, *, silent: float = 0.0, waits: str = "") -> None:
        now = time.monotonic()
        self._told, self._heard = now, self._heard if silent else now
        seconds = now - self._started
        total = self._planned * len(self.devices)
        done = len(self._answers) - self._searched
        self._on_progress(
            Progress(
                done=done,
                total=total,
                resumed=self._resumed,
                seconds=seconds,
                explored=self._searched,
                drawing=self._drawing,
                silent=silent,
                waits=waits,
            )
        )
