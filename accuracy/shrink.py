"""The smallest config that still fails in the same way: Hypothesis shrinks, workers measure, a crash costs a worker.

Each failure is shrunk in a thread of its own, which asks by mail as the exploration does.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.database import InMemoryExampleDatabase, choices_to_bytes
from hypothesis.errors import NoSuchExample

from accuracy import executor, plan
from accuracy.case import EXPLORED, Stage, Status, Task, Verdict, short_hash
from accuracy.limits import Limits
from accuracy.mailbox import Mailbox, Stopped
from accuracy.packing import Answer
from accuracy.record import Progress
from accuracy.rows import Row
from accuracy.shrunk import Shrunk, Target
from accuracy.simpler import elements, simpler
from accuracy.verdicts import CAN_CAUSE

TIMEOUT_S: Final = 5.0
"""Seconds of a worker's own time that one try may take."""

TRIES: Final = 3
"""How often the original is measured: fewer failures than that, and it is flaky."""

TRIES_IF_FLAKY: Final = 5
"""How often a config is tried of a flaky failure, until it fails."""

CONFIRMED: Final = 5
"""How often the smallest is measured at the end."""

MOST_DEATHS: Final = 40
MOST_HANGS: Final = 8
"""Crashes and hangs on the way to the smallest config, after which the smallest so far is it."""

MOST_CONFIGS: Final = 2000
KEY: Final = b"original"
VARIABLE: Final = re.compile(r"\([^)]*\)|\[[^]]*\]|(b?float|u?int)?[0-9]+")
"""What differs between messages of one kind: shapes, numbers, dtypes."""

Manner: TypeAlias = tuple[str, ...]
"""How a check fails: by a crash, an exception, or a limit."""


@dataclass(frozen=True, kw_only=True)
class Attempt(Task):
    """A task that is measured more than once."""

    number: int

    @property
    def id(self) -> str:
        """As a task's, and another for each number."""
        return short_hash({"task": unnumbered(self).id, "attempt": self.number})


def unnumbered(task: Task) -> Task:
    """The task by itself."""
    return Task(case=task.case, config=task.config, seed=task.seed, origin=task.origin)


def manner(rows: Sequence[Row], device: str, stage: str, quantity: str, by: Limits) -> Manner | None:
    """How a check fails on a device, None if it does not.

    Not either if an earlier stage fails that it must show: that would be another failure.
    """
    mine = [row for row in rows if row["device"] == device]
    failing = {row["stage"]: broken for row in mine if (broken := _broken(row, by))}
    if any(earlier.value in failing for earlier in Stage if earlier.value in CAN_CAUSE.get(stage, ())):
        return None
    for row in mine:
        if (row["stage"], row["quantity"]) == (stage, quantity):
            return _broken(row, by)
    return None


def _broken(row: Row, by: Limits) -> Manner | None:
    """What a row breaks, with whether a lower precision explains it; of words what they have in common."""
    if row["status"] in (Status.CRASH.value, Status.TIMEOUT.value):
        return (row["status"], VARIABLE.sub("…", row["reason"]).partition(";")[0])
    if row["status"] not in (Status.OK.value, Status.FAIL.value):
        return None
    said = VARIABLE.sub("…", row["observed"]) if row["stage"] == Stage.CONTRACT.value else ""
    for limit in by.limits:
        covers = limit.covers(row["case"], row["device"], row["dtype"], row["stage"], row["quantity"])
        if limit.verdict is Verdict.FAIL and covers and not limit.holds(float(row[limit.metric])):
            explained = limit.metric == "ratio" and limit.holds(float(row["lower_ratio"]))
            return (limit.id, str(explained), said)
    return None


@dataclass(eq=False, kw_only=True)
class Shrinking:
    """One failure that is made smaller. `until` is a moment of `time.monotonic`; `best` the smallest task so far."""

    target: Target
    mailbox: Mailbox
    limits: Limits
    until: float
    best: Task = field(init=False)
    measured: int = 0

    def __post_init__(self) -> None:
        self.best = self.target.task
        self._known: dict[str, bool] = {}
        self._rows: dict[str, Row] = {}
        self._manner: Manner | None = None
        self._tries = 1
        self._deaths = self._hangs = 0
        self._ended = 0

    def run(self) -> Shrunk:
        """Shrinks as long as there is time, and confirms what is left."""
        failed = self._confirm(self.target.task, TRIES)
        if failed:
            self._tries = 1 if failed == TRIES else TRIES_IF_FLAKY
            with suppress(Stopped, NoSuchExample):
                self._search()
            self._ended = TRIES
            failed = self._confirm(self.best, CONFIRMED)
        return self._result(failed, CONFIRMED if self._ended else TRIES)

    def _search(self) -> None:
        """Has Hypothesis shrink the original; each config that fails in the same way may be the smallest."""
        strategy, choices = simpler(self.target.task.config)
        database = InMemoryExampleDatabase()
        # With a choice too many: what is read back as it was written counts as shrunk already.
        database.save(KEY, choices_to_bytes([*choices, 0]))
        hypothesis.find(
            strategy,
            self._fails,
            settings=settings(
                database=database,
                phases=(Phase.reuse, Phase.shrink),
                max_examples=MOST_CONFIGS,
                deadline=None,
                derandomize=False,
                suppress_health_check=list(HealthCheck),
                verbosity=Verbosity.quiet,
            ),
            database_key=KEY,
        )

    def _fails(self, config: Any) -> bool:
        task = Task(
            case=self.target.task.case, config=config, seed=self.target.task.seed, origin=self.target.task.origin
        )
        if task.id not in self._known:
            if time.monotonic() >= self.until or self._deaths >= MOST_DEATHS or self._hangs >= MOST_HANGS:
                raise Stopped
            fails = self._known[task.id] = any(self._try(task, number) for number in range(self._tries))
            self.measured += 1
            if fails and _order(config) < _order(self.best.config):
                self.best = task
        return self._known[task.id]

    def _confirm(self, task: Task, times: int) -> int:
        """How often a task fails of so many times; fewer if there is no time left."""
        failed = 0
        with suppress(Stopped):
            for number in range(times):
                failed += self._try(task, 100 * (1 + self._ended) + number)
        return failed

    def _try(self, task: Task, number: int) -> bool:
        origin = task.origin if task.origin == "published" else EXPLORED
        rows = self.mailbox.measure(
            Attempt(case=task.case, config=task.config, seed=task.seed, origin=origin, number=number)
        )
        target = self.target
        seen = manner(rows, target.device, target.stage, target.quantity, self.limits)
        self._deaths += any(row["status"] == Status.CRASH.value for row in rows)
        self._hangs += any(row["status"] == Status.TIMEOUT.value for row in rows)
        if seen is not None and self._manner in (None, seen):
            self._manner = seen
            self._rows[task.id] = next(
                row for row in rows if (row["stage"], row["quantity"]) == (target.stage, target.quantity)
            )
            return True
        return False

    def _result(self, failed: int, tried: int) -> Shrunk:
        target = self.target
        row = self._rows.get(self.best.id, {"status": "", "ratio": float("nan"), "structure_at": "", "reason": ""})
        return Shrunk(
            original=target.task.id,
            device=target.device,
            stage=target.stage,
            quantity=target.quantity,
            members=tuple(sorted(target.members)),
            plan=plan.rows([self.best])[0],
            elements=(elements(target.task.config), elements(self.best.config)),
            failed=failed,
            tried=tried,
            measured=self.measured,
            status=Status.FAIL.value if row["status"] == Status.OK.value else row["status"],
            ratio=repr(float(row["ratio"])),
            place=row["structure_at"],
            reason=row["reason"] or row.get("observed", ""),
        )


def _order(config: Any) -> tuple[int, str]:
    """Fewer elements first, then the order of the strategy as far as a text can tell."""
    return elements(config), str(sorted(map(str, vars(config).values())))


class Search:
    """All failures of one device at once, as `accuracy.executor.Search`."""

    timeout_s = TIMEOUT_S

    def __init__(self, targets: Sequence[Target], limits: Limits, until: float) -> None:
        self.mailbox = Mailbox()
        self._all = [Shrinking(target=target, mailbox=self.mailbox, limits=limits, until=until) for target in targets]
        self._pool = ThreadPoolExecutor(max_workers=max(1, len(targets)), thread_name_prefix="shrink")
        self._ends: list[Future[Shrunk]] = []

    def begin(self, answers: Mapping[str, Sequence[Answer]]) -> None:
        """Starts to shrink all of them; `answers` are those to a plan, which there is not."""
        del answers
        self._ends = [self._pool.submit(each.run) for each in self._all]
        for end in self._ends:
            end.add_done_callback(self._one_ended)

    def _one_ended(self, _: "Future[Shrunk]") -> None:
        if all(end.done() for end in self._ends):
            self.mailbox.close()

    def results(self) -> list[Shrunk]:
        """What became of each, in their order. Ends them all."""
        self.mailbox.close()
        self._pool.shutdown()
        self.mailbox.dispose()
        return [end.result() for end in self._ends]


def shrink(
    targets: Sequence[Target],
    by: Limits,
    *,
    seconds: float,
    jobs: int | None = None,
    overlay: Sequence[Any] = (),
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Shrunk]:
    """Makes each failure smaller, device by device; each device gets its share of the seconds by its failures.

    Raises:
        ValueError: if a device is unknown.
    """
    found: list[Shrunk] = []
    for device in dict.fromkeys(target.device for target in targets):
        mine = [target for target in targets if target.device == device]
        until = time.monotonic() + seconds * len(mine) / len(targets)
        search = Search(mine, by, until)
        try:
            executor.execute(
                [],
                [device],
                timeout_s=TIMEOUT_S,
                bounds=by.measuring,
                jobs=jobs,
                overlay=overlay,
                search=search,
                on_progress=on_progress,
            )
        finally:
            found += search.results()
    return found
