"""An agent's lanes at work, in a thread of their own: fed and emptied from another, until nothing more will come."""

import selectors
import socket
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from accuracy.attempt import Calls, Failure, Settled, Terms
from accuracy.devices import parse
from accuracy.lane import Lane
from accuracy.rows import plain
from accuracy.schedule import settle

Report = dict[str, Any]
"""One thing that an agent tells the head, plain values and bytes: an outcome of a pair (`id`, `device` and either the
worker's own `text` or `status`, `reason`, `seconds`, `final`), a first failure (`suspect`), what workers run on
(`hello`), an `incident`, or a device that was given up (`closed`)."""


class Shift:
    """Lanes of some devices, from their first task until they are told that no more will come, and all is done."""

    def __init__(self, devices: Sequence[str], terms: Terms) -> None:
        """Starts the thread; workers start with the first task."""
        self._news = threading.Condition()
        self._given: deque[tuple[Mapping[str, Any], str]] = deque()
        self._reports: list[Report] = []
        self._tasks: dict[int, Mapping[str, Any]] = {}
        self._suspects: set[int] = set()
        self._numbers = 0
        self._waiting = 0
        self._open, self._ended = True, False
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._lanes: dict[str, Lane] = {}
        self._closed: set[str] = set()
        self._thread = threading.Thread(target=self._work, args=(devices, terms), name="lanes", daemon=True)
        self._thread.start()

    # What the thread that feeds calls

    @property
    def over(self) -> bool:
        """Whether it has ended: all that was given is settled, and every worker is gone."""
        return self._ended

    def give(self, tasks: Sequence[tuple[Mapping[str, Any], str]]) -> None:
        """Adds tasks, as workers are sent them, each with its device. Not after `finish`."""
        with self._news:
            self._given.extend(tasks)
            self._waiting += len(tasks)
        self._ring()

    def finish(self) -> None:
        """No more will come: first failures are confirmed, then workers leave."""
        self._open = False
        self._ring()

    def take(self, *, low: int, seconds: float) -> tuple[list[Report], int]:
        """What happened since the last time, and how many pairs are waiting that have not failed before.

        Returns once at most `low` are waiting while more may come, at the end, or after so many seconds.
        """
        with self._news:
            self._news.wait_for(lambda: self._ended or (self._open and self._waiting <= low), seconds)
            reports, self._reports = self._reports, []
            return reports, self._waiting

    def _ring(self) -> None:
        with suppress(OSError):  # it has ended
            self._rope.send(b"!")

    # The thread that works

    @property
    def open(self) -> bool:
        """Whether more may come, or has come and is not taken in."""
        return self._open or bool(self._given)

    def _work(self, devices: Sequence[str], terms: Terms) -> None:
        calls = Calls(
            task_id=lambda number: str(self._tasks[number]["id"]),
            message=lambda number: self._tasks[number],
            settle=self._settle,
            suspect=self._suspect,
            hello=lambda device, facts: self._report({"hello": dict(facts), "device": device}),
            incident=lambda text: self._report({"incident": text}),
        )
        try:
            with selectors.DefaultSelector() as selector:
                self._lanes = {
                    name: Lane(device=parse(name), tasks=(), terms=terms, calls=calls, selector=selector)
                    for name in devices
                }
                selector.register(self._bell, selectors.EVENT_READ, self._take_in)
                try:
                    settle(list(self._lanes.values()), selector, self)
                finally:
                    for lane in self._lanes.values():
                        lane.dismiss()
        except Exception as error:  # noqa: BLE001  whatever ends the lanes is told, and costs this agent
            self._report({"failed": plain(f"{type(error).__name__}: {error}")})
        finally:
            self._bell.close()
            self._rope.close()
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _take_in(self) -> None:
        """Queues what was given; a lane that is closed gives it back."""
        with suppress(BlockingIOError):
            self._bell.recv(4096)
        with self._news:
            given, self._given = self._given, deque()
        for message, device in given:
            self._numbers += 1
            self._tasks[self._numbers] = message
            self._lanes[device].queue.append(self._numbers)
        for lane in self._lanes.values():
            if lane.closed:
                lane.give_up(lane.closed)

    def _settle(self, number: int, device: str, outcome: Settled) -> None:
        """Tells of an outcome, in the worker's own words where it has some."""
        report: Report = {"id": self._tasks.pop(number)["id"], "device": device}
        if outcome.text:
            report["text"] = outcome.text
        else:
            report |= {
                "status": outcome.status.value,
                "reason": outcome.reason,
                "seconds": outcome.seconds,
                "final": outcome.final,
            }
        self._report(report, settled=0 if number in self._suspects else 1)
        self._suspects.discard(number)
        closed = self._lanes[device].closed
        if closed and device not in self._closed:
            self._closed.add(device)
            self._report({"closed": closed, "device": device})

    def _suspect(self, number: int, device: str, failure: Failure) -> None:
        self._suspects.add(number)
        told = {**asdict(failure), "status": failure.status.value}
        self._report({"id": self._tasks[number]["id"], "device": device, "suspect": told}, settled=1)

    def _report(self, report: Report, *, settled: int = 0) -> None:
        with self._news:
            self._reports.append(report)
            self._waiting -= settled
            self._news.notify_all()
