"""One device's share of a run: what is to be done there, who does it, and what becomes of it.

What goes wrong in a worker is a fact to record. What goes wrong in the caller's own `settle`, a full
disk for one, is raised at once: the two never share an `except`.

The first failure of a task is a suspicion (`accuracy.confirmation`).
"""

import selectors
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any, Final

from accuracy.attempt import Calls, Failure, Settled, Terms, outcome_of
from accuracy.case import Status
from accuracy.confirmation import Confirmation
from accuracy.crew import GRACE, Crew, overrun
from accuracy.devices import Device
from accuracy.launch import Server, Worker, cut, resident
from accuracy.pace import Pace
from accuracy.rows import RowError, exit_reason
from accuracy.starts import Starts
from accuracy.waiting import Waiting
from accuracy.wire import WireError, decode, encode

LEAD: Final = 8
"""Tasks by which a lane may be ahead of its twins."""

BUSY: Final = "busy or unavailable"
"""What a CUDA device says that gives no context now."""

DEATHS: Final = 64
"""Deaths in a row, without one answer between them, before a device is given up."""


@dataclass(eq=False, kw_only=True)
class Lane:
    """A device with its queue of tasks, at first `tasks`, and its workers.

    `doubts` are the tasks that failed once and wait for a second look. `slots` is the number of workers it may have;
    `closed` says why nothing more can be done here. `twins` do the same on the same device for another library, and are
    kept in step. `early` is a fork server as `Crew` has it.
    """

    device: Device
    tasks: InitVar[Iterable[int]]
    terms: Terms
    calls: Calls
    selector: selectors.BaseSelector
    slots: int = 0
    starts: Starts = field(default_factory=Starts)
    deaths: int = 0
    pace: Pace = field(default_factory=Pace)
    closed: str = ""
    twins: Sequence["Lane"] = ()
    early: Server | None = None

    def __post_init__(self, tasks: Iterable[int]) -> None:
        self.queue = Waiting(tasks, case_of=self._case_of)
        self.doubts = Confirmation(case_of=self._case_of)
        self.crew = Crew(
            device=self.device,
            terms=self.terms,
            selector=self.selector,
            on_worker=self._hear,
            on_exit=self._lost,
            on_dismissal=self._take_back,
            on_failed_start=self._failed_start,
            early=self.early,
        )

    def _case_of(self, index: int) -> str:
        return str(self.calls.message(index)["case"])

    @property
    def workers(self) -> Sequence[Worker]:
        """Those that live."""
        return self.crew.workers

    @property
    def waiting(self) -> int:
        """How many tasks a worker may take while others work."""
        return len(self.queue) + len(self.doubts.poisoned)

    @property
    def busy(self) -> bool:
        """Whether a task is with a worker."""
        return any(worker.assigned for worker in self.workers)

    @property
    def waits(self) -> str:
        """What it waits for, in words; nothing where it has nothing to do."""
        now = time.monotonic()
        worked = [worker.worked() for worker in self.workers if worker.assigned and worker.ready]
        parts = []
        if worked:
            limit = f"of {self.terms.timeout_s:g} s"
            parts.append(f"{len(worked)} working, the longest on one case for {max(worked):.0f} {limit}")
        starting = sum(not worker.ready for worker in self.workers)
        if starting:
            parts.append(f"{starting} starting")
        if self.crew.server is not None and not self.crew.server.ready:
            parts.append("importing")
        if self.starts.next_at > now:
            parts.append(f"{self.starts.failed} starts failed, the next in {self.starts.next_at - now:.0f} s")
        return ", ".join(parts)

    @property
    def late(self) -> bool:
        """Whether no task may be begun any more."""
        return self.terms.deadline is not None and time.monotonic() >= self.terms.deadline

    def hire(self, *, alone: bool = False) -> None:
        """Starts one more worker, or the server that will make it, unless the device was given up or is busy."""
        if self.closed or time.monotonic() < self.starts.next_at:
            return
        try:
            self.crew.hire(alone=alone)
        except OSError as error:
            self._failed_start(f"{self.terms.interpreter} cannot be started: {error.strerror}")

    @property
    def stocked(self) -> bool:
        """Whether every worker is ready and has enough to do while nobody looks after it."""
        return all(worker.ready and self.pace.lasts(len(worker.assigned)) for worker in self.workers)

    def hand_out(self) -> None:
        """Gives workers what they have to do next."""
        ahead = (Pace() if self.twins else self.pace).depth(len(self.queue), self.slots)
        least = max((len(twin.queue) for twin in self.twins), default=0) - LEAD
        for worker in self.workers:
            fresh = worker.usable and not worker.assigned and not worker.answered
            again = self.doubts.suspects if worker.alone else self.doubts.poisoned
            if fresh and again:
                index, worker.first = again.popleft()
                self._give(worker, [index])
            elif worker.usable and not (worker.alone or worker.first):
                free = min(ahead, self.crew.recycle_after - worker.answered) - len(worker.assigned)
                number = min(free, len(self.queue) - max(least, 0))
                self._give(worker, [self.queue.popleft() for _ in range(number)])

    def _give(self, worker: Worker, tasks: Sequence[int]) -> None:
        if tasks and not worker.assigned:
            worker.begin()
        worker.assigned.extend(tasks)
        try:
            worker.wire.write(b"".join(encode(self.calls.message(index)) for index in tasks))
        except BlockingIOError:  # it does not read, and has half a line
            self.crew.kill(worker)
        except OSError:
            pass  # it has ended: what it said before that is still to be heard, and what it was given is taken back

    def release(self, *, keep: bool = False) -> None:
        """Lets workers go that have done their share and, unless they are to `keep` ready, that nothing waits for."""
        for worker in list(self.workers):
            done = worker.ready and not worker.assigned and not worker.killed_at and not worker.silent_since
            fresh = self.doubts.poisoned and not worker.answered
            idle = not (self.queue or worker.alone or fresh) and (not keep or self.doubts.poisoned)
            if done and (worker.retiring or idle):
                self.retire(worker)

    def retire(self, worker: Worker) -> None:
        """Ends a worker that has nothing to do."""
        self.crew.kill(worker)
        self.crew.forget(worker)

    def give_up(self, reason: str) -> None:
        """Settles what waits here as not run, and suspects by their first failure. What is under way goes on."""
        while self.queue:
            outcome = Settled(status=Status.NOT_RUN, reason=reason, final=False)
            self.calls.settle(self.queue.popleft(), self.device.name, outcome)
        for again in (self.doubts.poisoned, self.doubts.suspects):
            while again:
                index, first = again.popleft()
                self.calls.settle(index, self.device.name, first.settled(note="not confirmed", final=False))

    def dismiss(self) -> None:
        """Ends the server and every worker; what they had not done waits again."""
        self.crew.dismiss()

    def _close(self, reason: str) -> None:
        """Gives the device up."""
        self.closed = f"device {'lost' if self.pace.answered else 'unusable'}: {reason}"
        self.dismiss()
        self.give_up(self.closed)

    def _take_back(self, worker: Worker) -> None:
        """Puts what a worker was given back where it came from, blaming no task."""
        if worker.first is not None:
            self.doubts.queue(worker.first).extendleft((index, worker.first) for index in worker.assigned)
        else:
            self.queue.put_back(worker.assigned)
        worker.assigned.clear()

    # What workers say

    def _hear(self, worker: Worker) -> None:
        """Takes in what a worker has sent. One that says anything unexpected is ended, and what it does blamed."""
        try:
            for line in worker.wire.receive():
                if worker.wire.open or not worker.killed_at:
                    self._take(worker, *decode(line))
        except (WireError, RowError) as error:
            self._end(worker, "crash", str(error))
        if worker in self.workers and not worker.wire.open and not worker.silent_since:
            self.crew.silence(worker)

    def _take(self, worker: Worker, message: dict[str, Any], brought: bytes) -> None:
        current = self.calls.task_id(worker.assigned[0]) if worker.assigned else None
        match message:
            case _ if worker.killed_at:
                pass
            case {"done": str(key)} if key == current and worker.under_way:
                self._done(worker, key, message, brought)
                if "started" in message and worker in self.workers:
                    self._take(worker, {"started": message["started"], "log": message.get("log")}, b"")
            case {"started": str(key), "log": int(start)} if key == current and not worker.under_way:
                worker.under_way = True
                worker.begin()
                worker.log_start = start
            case {"hello": dict(facts), "pid": int(pid)} if not worker.ready:
                worker.ready, worker.pid = True, pid
                worker.held_at_first = resident(worker.pid)
                self._started()
                self.calls.hello(self.device.name, facts)
            case {"unusable": str(reason)} if not worker.ready:
                self.retire(worker)
                self._failed_start(reason)
            case _:
                raise WireError(f"an answer that nobody waits for: {str(message)[:60]}")

    def _done(self, worker: Worker, key: str, message: dict[str, Any], text: bytes) -> None:
        """Takes the answer to the task under way."""
        seconds = float(message.get("seconds", time.monotonic() - worker.since))
        outcome = outcome_of(message, text, task_id=key, device=self.device.name, seconds=seconds)
        index = worker.assigned.popleft()
        worker.under_way = False
        worker.answered += 1
        worker.retiring |= isinstance(outcome, Failure) or worker.answered >= self.crew.recycle_after
        worker.begin()
        self.pace.note(seconds)
        self.deaths = 0
        self._conclude(worker, index, outcome)
        if isinstance(outcome, Failure):
            self._take_back(worker)
            self.retire(worker)

    def _conclude(self, worker: Worker, index: int, outcome: Settled | Failure) -> None:
        """Records an outcome, or makes the task a suspect if this was a first failure."""
        first, worker.first = worker.first, None
        worker.retiring |= worker.alone
        if first is not None and first.poisoned:
            self._looked_again(index, first, again=isinstance(outcome, Failure) and outcome.text == first.text)
        if isinstance(outcome, Failure):
            if outcome.poisoned and not self.twins:  # who are kept in step, in one order
                self.queue.put_last(self._case_of(index))
            if first is None and not self.doubts.certain(index, outcome):
                self.doubts.queue(outcome).append((index, outcome))
                self.calls.suspect(index, self.device.name, outcome)
                return
            outcome = outcome.settled()
        elif first is not None and first.kind == "crash":
            where = "in a fresh process" if first.poisoned else "when run alone"
            outcome = first.settled(kind="crash_once", note=f"not again {where}")
        elif first is not None:
            name = self.calls.task_id(index)
            self.calls.incident(f"{name} on {self.device.name}: {first.kind}: {first.text}; not again when run alone")
        self.calls.settle(index, self.device.name, outcome)

    def _looked_again(self, index: int, first: Failure, *, again: bool) -> None:
        """Notes whether a device error came again. Those that need no second look any more are settled."""
        if self.doubts.looked(index, first, again=again):
            case = self.doubts.case_of(index)
            self.calls.incident(
                f"{self.device.name}: {case}: {first.text}: again each time, so no more of them are tried twice"
            )
            for other, failure in self.doubts.released():
                self.calls.settle(other, self.device.name, failure.settled())

    # Starts that fail

    def _failed_start(self, reason: str) -> None:
        """Notes a start that failed. An accelerator that has answered before is taken for busy."""
        busy = not self.crew.shared and (self.pace.answered > 0 or BUSY in reason)
        if self.starts.fail(time.monotonic(), busy=busy):
            self._close(reason)
        elif self.starts.failed == 1:
            self.calls.incident(f"{self.device.name}: a start failed: {reason}")

    def _started(self) -> None:
        if self.starts.failed > 1:
            seconds = time.monotonic() - self.starts.since
            self.calls.incident(f"{self.device.name}: {self.starts.failed} starts failed in {seconds:.0f} s")
        self.starts.succeed()

    # Clocks and ends

    def watch(self) -> None:
        """Ends what takes too long or too much, and forgets what does not end."""
        now = time.monotonic()
        self.crew.watch()
        for worker in list(self.workers):
            cut(worker.log)
            complaint = overrun(worker, self.terms)
            if worker.killed_at and now - worker.killed_at > GRACE:
                self._lost(worker, -signal.SIGKILL)
            elif complaint is not None and not worker.killed_at:
                self._end(worker, *complaint)

    def _end(self, worker: Worker, kind: str, text: str) -> None:
        """Kills a worker for a reason, which falls on its task."""
        status = Status.TIMEOUT if kind == "timeout" else Status.CRASH
        worker.fate = Failure(status=status, kind=kind, text=text, seconds=time.monotonic() - worker.since)
        self.crew.kill(worker)

    def _lost(self, worker: Worker, code: int) -> None:
        """A worker is gone: its task under way is blamed, what it had not begun goes back."""
        self._hear(worker)
        if worker not in self.workers:
            return
        failure = worker.fate or self._exit(worker, code)
        if not worker.ready:
            self.crew.forget(worker)
            self._failed_start(failure.text)
            return
        if worker.assigned and (worker.under_way or failure.kind == "timeout"):
            self._conclude(worker, worker.assigned.popleft(), failure)
        else:
            self.calls.incident(f"{self.device.name}: a worker ended between two tasks: {failure.text}")
        self._take_back(worker)
        self.crew.forget(worker)
        self.deaths += 1
        if self.deaths >= DEATHS:
            self._close(f"{self.deaths} workers in a row ended without an answer, the last with {failure.text}")

    def _exit(self, worker: Worker, code: int) -> Failure:
        words = worker.words()
        text = f"{exit_reason(code)}; {words}" if words else exit_reason(code)
        return Failure(status=Status.CRASH, kind="crash", text=text, seconds=time.monotonic() - worker.since)
