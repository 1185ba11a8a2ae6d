"""The exploration of one case: what earlier nights found first, then sweeps and climbs in turn."""

import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.database import ExampleDatabase
from hypothesis.errors import Unsatisfiable

from accuracy import corners, plan
from accuracy.case import EXPLORED, Case, Status, Stratum, Task, canonical_json, short_hash
from accuracy.mailbox import Mailbox, Stopped
from accuracy.rows import Row
from accuracy.score import FAILED, Cell, Score, Standing

SWEEP: Final = 40
"""Examples of a sweep before it is the climb's turn."""

CLIMB: Final = 20
"""Examples of the first climb; each later one has so many more, since climbing takes time and corners give out."""

CALLS: Final = 10
"""Draws an example in a climb after which it is given up: most of what it tries may come to nothing."""

MOST_HANGS: Final = 2
"""Examples that hang before their case is explored no more: each costs twice the timeout."""

MOST_KEPT: Final = 20
"""Findings of a case that are kept to be replayed."""

FOUND: Final = b"found"
"""The key of findings in the database. Hypothesis keeps what it climbs under keys of its own."""

NEWER_IS_WORSE: Final = 1e-9
"""Bits by which an example counts less than one before it. Hypothesis follows a field that changes nothing as long
as it changes nothing, which would take all of a turn; so it never does."""


class _Enough(KeyboardInterrupt):
    """A climb takes too long. Of this kind for the same reason as `Stopped`."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What one example came to: by label how far it went beyond the plan, and whether anything failed."""

    heights: Mapping[str, float]
    fails: bool


@dataclass(eq=False, kw_only=True)
class Hunt:
    """One case under exploration.

    `planned` are the configs of the plan and `standing` says what they showed, `most` how many examples are
    measured at most, None for no such limit, `until` the moment of `time.monotonic` after which none is. When
    it has run, `examples` were measured, `replayed` of them from `database`, and `found` is the set of cells
    that failed though they do not in the plan.
    """

    case: Case
    seed: int
    mailbox: Mailbox
    score: Score
    standing: Standing
    planned: Sequence[Any]
    database: ExampleDatabase
    most: int | None
    until: float
    examples: int = 0
    replayed: int = 0
    found: set[Cell] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.met = {corner for config in self.planned for corner in corners.corners_met(self.case, config)}
        self._reached: dict[str, Reached] = {}
        self._hangs = 0
        self._mended: set[bytes] = set()

    @property
    def strata(self) -> Sequence[Stratum]:
        """Those to combine. Where the layer never ran to its end in the plan, nothing else would be seen."""
        whole = self.standing.completed
        return [each for each in self.case.strata if f"stratum:{each.name}" in whole and not each.alone]

    def run(self) -> None:
        """Explores until the budget is used up, or nothing new is thought of."""
        if not self.standing.completed:
            return
        with suppress(Stopped):
            self._replay()
            label = f"{self.seed}/{self.case.name}/sweep"
            fresh = corners.sweep(self.case, self.strata, self.met, label, self.planned)
            for turn in itertools.count(1):
                before = self.examples
                self._sweep(fresh)
                self._climb(CLIMB * turn)
                if self.examples == before:
                    return

    def _task(self, value: bytes) -> Task | None:
        """The task that was kept so, if it can be read."""
        try:
            return plan.task(json.loads(value), {self.case.name: self.case})
        except (KeyError, TypeError, ValueError, RecursionError):
            return None

    def _replay(self) -> None:
        """Measures what earlier nights found; what cannot be read, or is claimed of no more, is forgotten."""
        for value in sorted(self.database.fetch(FOUND)):
            task = self._task(value)
            if task is None or not self.case.claimed_of(task.config):
                self.database.delete(FOUND, value)
                continue
            reached = self._measure(task.config, task.seed)
            self.replayed += 1
            if not reached.fails:
                self._mended.add(value)

    def _sweep(self, fresh: Iterator[tuple[Any, int] | None]) -> None:
        """Measures what the next corners give, up to a turn's worth."""
        until = self.examples + SWEEP
        for drawn in fresh:
            self._check()
            if drawn is not None:
                self._measure(*drawn)
            if self.examples >= until:
                return

    def _climb(self, most: int) -> None:
        """Has Hypothesis draw conjunctions, and change one thing at a time in those that went beyond the plan."""
        calls = itertools.count(1)

        @hypothesis.seed(int(short_hash([self.seed, self.case.name, most]), 16))
        @settings(
            max_examples=most,
            database=self.database,
            derandomize=False,
            phases=(Phase.reuse, Phase.generate, Phase.target),
            deadline=None,
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        @given(st.data())
        def climb(data: st.DataObject) -> None:
            self._check()
            if next(calls) > CALLS * most:
                raise _Enough
            for label, height in self._measure(*data.draw(conjunctions)).heights.items():
                hypothesis.target(height, label=label)

        conjunctions = corners.conjunctions(self.case, self.strata)
        with suppress(Unsatisfiable, _Enough):
            climb()

    def _check(self) -> None:
        """Raises `Stopped` if the budget is used up."""
        if self.examples == self.most or self._hangs == MOST_HANGS or time.monotonic() >= self.until:
            raise Stopped

    def _measure(self, config: Any, seed: int) -> Reached:
        """What an example comes to; one that was measured before is not measured again.

        Raises:
            Stopped: if the budget is used up.
        """
        task = Task(case=self.case.name, config=config, seed=seed, origin=EXPLORED)
        if task.id not in self._reached:
            self._check()
            rows = self.mailbox.measure(task)
            self.examples += 1
            self._hangs += any(row["status"] == Status.TIMEOUT for row in rows)
            self.met |= corners.corners_met(self.case, config)
            self._reached[task.id] = self._take(task, rows)
        return self._reached[task.id]

    def _take(self, task: Task, rows: Sequence[Row]) -> Reached:
        """Keeps a finding, and says what its rows come to."""
        scores = self.score(rows)
        if new := self.standing.found(scores) - self.found:
            self.found |= new
            self._keep(canonical_json(plan.rows([task])[0]).encode())
        heights: dict[str, float] = {}
        for (_, dtype, stage, quantity), gain in self.standing.beyond(scores).items():
            label = f"{stage}/{quantity} in {dtype}"
            heights[label] = max(gain - self.examples * NEWER_IS_WORSE, heights.get(label, 0.0))
        return Reached(heights=heights, fails=FAILED in scores.values())

    def _keep(self, value: bytes) -> None:
        """Stores a finding for later nights, if need be in place of one that no longer fails."""
        kept = set(self.database.fetch(FOUND))
        if len(kept) >= MOST_KEPT and value not in kept:
            mended = sorted(kept & self._mended)
            if not mended:
                return
            self.database.delete(FOUND, mended[0])
        self.database.save(FOUND, value)
