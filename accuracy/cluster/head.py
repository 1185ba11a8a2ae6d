"""The head of a run on a cluster: keeps record, journal and clocks, hands out the plan, and takes in what comes back.

It gives the same `Execution` as `accuracy.executor.execute` on one machine. What an agent says is unpacked here as
what a worker says is there; one that says anything unexpected, says nothing, or is gone costs no case as long as
another agent serves its device.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from accuracy.attempt import MEASURE, MODULES, Failure, Settled
from accuracy.capabilities import refusal
from accuracy.case import Status, Task
from accuracy.cluster.ledger import Ledger, Pair, room
from accuracy.devices import Device, parse
from accuracy.environment import PRICE
from accuracy.executor import RECYCLE_AFTER, START_TIMEOUT_S
from accuracy.journal import Journal
from accuracy.packing import unpack
from accuracy.record import Execution, Progress, Record
from accuracy.rows import RowError, plain
from accuracy.schedule import TICK
from accuracy.wire import WireError

LATE: Final = "the time budget was used up"

SILENCE_S: Final = 60.0
"""Seconds without an answer after which an agent counts as lost: a turn takes one."""


@dataclass(frozen=True, kw_only=True)
class Seat:
    """An agent as the head knows it: its name, the devices it serves, and how many workers it has."""

    name: str
    devices: tuple[str, ...]
    workers: int


@dataclass(frozen=True, kw_only=True)
class Lost:
    """In place of an answer: the agent is gone."""

    reason: str


class Team(Protocol):
    """The agents, wherever they are."""

    seats: Sequence[Seat]
    left_out: Sequence[str]
    """A line for each agent that could have been one of the seats and is none."""

    def begin(self, seat: Seat, setup: Mapping[str, Any]) -> None:
        """Tells an agent what `accuracy.cluster.agent.Agent.begin` takes. Waits for nothing."""

    def turn(self, seat: Seat, given: Sequence[tuple[Mapping[str, Any], str]], options: Mapping[str, Any]) -> None:
        """Begins a turn of an agent that is in none. Waits for nothing."""

    def answers(self, seconds: float) -> Sequence[tuple[Seat, Mapping[str, Any] | Lost]]:
        """The turns that have ended, each with what the agent says; waits so long for the first."""

    def dismiss(self, seat: Seat) -> None:
        """Ends an agent and its workers. Dismissing one twice, or one that is gone, does nothing."""


@dataclass(eq=False, kw_only=True)
class _Standing:
    """How an agent is doing. `rate` is in outcomes a second; `finishing` once told that no more comes."""

    seat: Seat
    in_turn: bool = False
    finishing: bool = False
    waiting: int = 0
    rate: float = 0.0
    since: float = 0.0
    outcomes: int = 0


class Head:
    """One run on a team."""

    def __init__(self, team: Team, run: Record, ledger: Ledger, *, deadline: float | None) -> None:
        """`ledger` has what is left of the run's plan."""
        self._team, self._run, self._ledger, self._deadline = team, run, ledger, deadline
        self._indices = {task.id: index for index, task in enumerate(run.tasks)}
        self._suspects: dict[Pair, Failure] = {}
        self._standings = {seat.name: _Standing(seat=seat) for seat in team.seats}

    def work(self) -> bool:
        """Until every pair has its outcome; says whether the user stopped it."""
        try:
            while not self._ledger.done:
                self._settle_what_cannot_run()
                for name in self._ledger.agents:
                    self._hand_out(self._standings[name])
                for seat, answer in self._team.answers(TICK):
                    self._hear(self._standings[seat.name], answer)
                self._lose_what_is_silent()
        except KeyboardInterrupt:
            self.end()
            self._interrupt()
            return True
        return False

    @property
    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _settle_what_cannot_run(self) -> None:
        for pair, reason in self._ledger.stranded():
            self._not_run(pair, reason)
        if self._late:
            for pair in self._ledger.abandon():
                self._not_run(pair, LATE)

    def _lose_what_is_silent(self) -> None:
        for agent in self._standings.values():
            if agent.in_turn and time.monotonic() - agent.since > SILENCE_S:
                self._lose(agent, f"no answer within {SILENCE_S:g} s")

    def _not_run(self, pair: Pair, reason: str) -> None:
        self._run.settle(*pair, Settled(status=Status.NOT_RUN, reason=reason, final=False))

    def _hand_out(self, agent: _Standing) -> None:
        """Begins a turn of an agent that has something to do, or could have."""
        ledger, name = self._ledger, agent.seat.name
        if agent.in_turn:
            return
        pool = ledger.pool(name)
        most = room(
            waiting=agent.waiting,
            workers=agent.seat.workers,
            rate=agent.rate,
            pool=pool,
            agents=ledger.fellows(name),
        )
        given = [] if agent.finishing else ledger.give(name, most)
        if not given and not ledger.share(name) and not agent.finishing:
            return
        waiting = agent.waiting + len(given)
        agent.finishing |= not waiting and not given
        low = waiting // 2 if ledger.pool(name) else 0
        left_s = None if self._deadline is None else self._deadline - time.monotonic()
        agent.in_turn = True
        agent.since = time.monotonic()
        self._team.turn(
            agent.seat,
            [(self._run.message(index), device) for index, device in given],
            {"finish": agent.finishing, "low": low, "left_s": left_s},
        )

    def _hear(self, agent: _Standing, answer: Mapping[str, Any] | Lost) -> None:
        agent.in_turn = False
        if isinstance(answer, Lost):
            self._lose(agent, answer.reason)
            return
        before = agent.outcomes
        try:
            self._take_all(agent, answer)
        except (AttributeError, KeyError, TypeError, ValueError, RowError, WireError) as error:
            self._lose(agent, f"it said what cannot be read: {plain(str(error))}")
            return
        seconds = time.monotonic() - agent.since
        if agent.outcomes > before and seconds > 0:
            agent.rate = (agent.outcomes - before) / seconds

    def _take_all(self, agent: _Standing, answer: Mapping[str, Any]) -> None:
        for report in answer["reports"]:
            self._take(agent, report)
        agent.waiting = int(answer["waiting"])
        agent.finishing &= not answer["over"]
        owed = self._ledger.share(agent.seat.name)
        if answer["over"] and owed:
            raise WireError(f"it has ended and owes {len(owed)} outcomes")

    def _take(self, agent: _Standing, report: Mapping[str, Any]) -> None:
        """Takes in one thing that an agent tells; nothing more of one that was given up on the way."""
        name = agent.seat.name
        if name not in self._ledger.agents:
            return
        match report:
            case {"incident": str(text)}:
                self._run.incidents.append(f"{name}: {text}")
            case {"failed": str(text)}:
                self._lose(agent, text)
            case {"hello": dict(facts), "device": str(device)}:
                self._greet(agent, device, facts)
            case {"closed": str(reason), "device": str(device)}:
                self._run.incidents.append(f"{name}: {device}: {reason}")
                self._ledger.close(name, device, reason)
            case {"id": str(task_id), "device": str(device)}:
                pair = self._indices[task_id], device
                if self._ledger.holds(name, pair):
                    self._outcome(agent, pair, task_id, report)
            case _:
                raise WireError(f"a report that is none: {str(report)[:60]}")

    def _outcome(self, agent: _Standing, pair: Pair, task_id: str, report: Mapping[str, Any]) -> None:
        name = agent.seat.name
        match report:
            case {"suspect": dict(told)}:
                failure = Failure(**{**told, "status": Status(told["status"])})
                self._suspects[pair] = failure
                self._run.suspect(*pair, failure)
                return
            case {"text": bytes(text)}:
                outcome = Settled(answer=unpack(text, task_id=task_id, device=pair[1]), text=text)
            case {"status": str(status), "reason": str(reason), "seconds": float(seconds), "final": bool(final)}:
                outcome = Settled(status=Status(status), reason=reason, seconds=seconds, final=final)
            case _:
                raise WireError(f"an outcome that is none: {str(dict(report))[:60]}")
        self._suspects.pop(pair, None)
        if outcome.status is Status.NOT_RUN:
            self._ledger.back(name, pair)
            return
        self._ledger.settled(name, pair)
        agent.outcomes += 1
        self._run.settle(*pair, outcome)

    def _greet(self, agent: _Standing, device: str, facts: Mapping[str, Any]) -> None:
        """What workers run on must be the same wherever a device of one name is, or its rows would not be one's."""
        known = self._run.environment.get(device, facts)
        differ = [name for name in sorted({*known, *facts} - PRICE) if known.get(name) != facts.get(name)]
        if differ:
            first = differ[0]
            reason = f"its {first} is {facts.get(first)!r}, that of other {device} devices {known.get(first)!r}"
            self._lose(agent, plain(reason))
        else:
            self._run.hello(device, facts)

    def _lose(self, agent: _Standing, reason: str) -> None:
        self._team.dismiss(agent.seat)
        agent.in_turn = agent.finishing = False
        agent.waiting = 0
        name = agent.seat.name
        for pair in self._ledger.share(name):
            self._suspects.pop(pair, None)
        left = self._ledger.lose(name, f"{name}: {reason}")
        self._run.incidents.append(f"{name} was lost after {agent.outcomes} outcomes, with {left} unfinished: {reason}")

    def _interrupt(self) -> None:
        """What has no outcome did not run, and a first failure counts as far as it goes."""
        for device in self._run.devices:
            for index in list(self._run.left(device)):
                first = self._suspects.get((index, device))
                if first is None:
                    self._not_run((index, device), "interrupted")
                else:
                    self._run.settle(index, device, first.settled(note="not confirmed", final=False))

    def end(self) -> None:
        """Ends every agent."""
        for agent in self._standings.values():
            self._team.dismiss(agent.seat)


def execute(
    team: Team,
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
    search: None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Execution:
    """Measures each of `tasks` on each of `devices`, as `accuracy.executor.execute`, on the nodes of a team.

    `jobs` is the most workers on the processors of one node, `memory` what a worker may take or None for its share
    of its node, `interpreter` that of the nodes or "" for their agents' own. `overlay` has reached the nodes before.

    Raises:
        ValueError: if two tasks have the same id or a device is unknown.
    """
    del overlay, search
    parsed = [parse(name) for name in devices]
    earlier = {} if journal is None else journal.outcomes()
    run = Record(tasks=tasks, devices=devices, earlier=earlier, journal=journal, on_progress=on_progress)
    for device in parsed:
        run.refuse(device, refuse)
    ledger = Ledger({name: run.left(name) for name in devices})
    for seat in team.seats:
        served = [name for name in seat.devices if name in devices]
        ledger.join(seat.name, served)
        terms = {
            "jobs": seat.workers if jobs is None else min(jobs, seat.workers),
            "accelerator_jobs": accelerator_jobs,
            "timeout_s": timeout_s,
            "start_timeout_s": start_timeout_s,
            "memory": memory,
            "recycle_after": recycle_after,
            "interpreter": "" if interpreter == sys.executable else interpreter,
            "modules": list(modules),
            "measure": measure,
            "check": check,
            "bounds": dict(bounds),
        }
        team.begin(seat, {"devices": served, "terms": terms})
    for name in devices:
        ledger.unserved(name, "device unusable: no node of the cluster serves it")
    run.incidents.extend(team.left_out)
    head = Head(team, run, ledger, deadline=deadline)
    try:
        interrupted = head.work()
    finally:
        head.end()
    return run.execution(ledger.closed, interrupted=interrupted)
