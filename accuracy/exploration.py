"""The search for the worst case, after the plan: a thread a case, which thinks of examples and awaits their rows.

docs/method.md, "Exploration".
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from hypothesis.database import DirectoryBasedExampleDatabase
from platformdirs import user_cache_path

from accuracy.case import Case, Task
from accuracy.hunt import Hunt
from accuracy.limits import Limits
from accuracy.mailbox import Mailbox
from accuracy.packing import Answer, rows_of
from accuracy.score import scored, scorer, standing

TIMEOUT_S: Final = 10.0
"""Seconds of a worker's own time that one example may take: some hundred times what the slowest takes."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much to explore: so many seconds for all cases together, or so many examples of each case."""

    seconds: float | None = None
    examples: int | None = None


class Search:
    """The exploration of one run, as `accuracy.executor.Search`; a context that has ended it on its way out.

    `tasks` are those of the plan, `deadline` is of `time.monotonic`.

    Cases take turns, so that each gets its share. With a budget of examples and nothing kept from earlier
    nights, the same seed gives the same examples; a budget of time makes a beginning of that list.
    """

    timeout_s = TIMEOUT_S

    def __init__(
        self,
        *,
        cases: Sequence[Case],
        tasks: Sequence[Task],
        budget: Budget,
        seed: int,
        limits: Limits,
        devices: Sequence[str],
        deadline: float | None = None,
    ) -> None:
        self.mailbox = Mailbox()
        self.hunts: dict[str, Hunt] = {}
        self._cases, self._tasks, self._budget, self._seed = cases, tasks, budget, seed
        self._score, self._scored = scorer(limits), scored(limits)
        self._folder = folder(devices)
        self._deadline = float("inf") if deadline is None else deadline
        self._pool = ThreadPoolExecutor(max_workers=max(1, len(cases)), thread_name_prefix="explore")
        self._ends: list[Future[None]] = []

    def begin(self, answers: Mapping[str, Sequence[Answer]]) -> None:
        """Starts to explore every case, given what its tasks were answered. One case's rows at a time are unpacked."""
        until = self._deadline
        if self._budget.seconds is not None:
            until = min(until, time.monotonic() + self._budget.seconds)
        self.hunts = {
            case.name: Hunt(
                case=case,
                seed=self._seed,
                mailbox=self.mailbox,
                score=self._score,
                standing=standing(rows_of(answers.get(case.name, ()), self._scored), self._score),
                planned=[task.config for task in self._tasks if task.case == case.name],
                database=DirectoryBasedExampleDatabase(self._folder / case.name),
                most=self._budget.examples,
                until=until,
            )
            for case in self._cases
        }
        self._ends = [self._pool.submit(hunt.run) for hunt in self.hunts.values()]
        for end in self._ends:
            end.add_done_callback(self._one_ended)
        if not self._ends:
            self.mailbox.close()

    def _one_ended(self, _: "Future[None]") -> None:
        if all(end.done() for end in self._ends):
            self.mailbox.close()

    def summary(self, explored: Sequence[Task]) -> dict[str, Any]:
        """What a manifest says of it, with the explored tasks that are on record."""
        return described(
            self._budget,
            [case.name for case in self._cases],
            explored,
            {name: {"replayed": hunt.replayed, "found": len(hunt.found)} for name, hunt in self.hunts.items()},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mailbox.close()
        self._pool.shutdown()
        self.mailbox.dispose()
        if error is None:
            for end in self._ends:
                end.result()  # an exception of ours is not to be lost in its thread


def described(
    budget: Budget, cases: Sequence[str], explored: Sequence[Task], more: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    """An exploration as a manifest holds it: its budget, and by case how many examples are on record, and `more`."""
    on_record = Counter(task.case for task in explored)
    counts = {name: {"examples": on_record[name], "replayed": 0, "found": 0, **more.get(name, {})} for name in cases}
    return {"budget": asdict(budget), "cases": counts}


def folder(devices: Sequence[str]) -> Path:
    """Where what was found on these devices is kept for the next night.

    Not by version of the library: what was found in one release is what to try first in the next.
    """
    return user_cache_path("bitsandbytes-accuracy") / "explored" / "+".join(sorted(devices)).replace(":", "-")
