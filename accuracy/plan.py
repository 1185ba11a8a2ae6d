"""Strategies to plan: which configs run, each with a data seed.

Every draw is one call of Hypothesis' `fuzz_one_input` with bytes that are a hash of (seed, case,
origin, number). So draws are independent and exchangeable, a longer profile begins with the shorter
one, and adding a case or a stratum moves no other draw.
"""

import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, overload

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import DataObject, SearchStrategy, data, just, tuples

from accuracy import shards
from accuracy.case import Case, Task, short_hash
from accuracy.shards import Shard, Whole
from accuracy.strategies import DTYPES, seeds

LARGEST_SEED = 2**63 - 1
_BYTES_A_DRAW = 4096
_TRIES = 1000


class PlanError(ValueError):
    """The plan asked for cannot be made; the message says what was seen, what was wanted and what to do."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How long a plan is: draws of each case at large, and in each of its strata for each dtype.

    A stratum that stands alone has one draw of a dtype, however long the plan is. `explore_s` is how many seconds are
    spent on exploring after it, unless one asks for something else.
    """

    samples: int
    per_stratum: int
    explore_s: float = 0.0


PROFILES = {
    "smoke": Profile(samples=12, per_stratum=1),
    "nightly": Profile(samples=300, per_stratum=4, explore_s=25.0),
    "release": Profile(samples=4000, per_stratum=40, explore_s=600.0),
}


def make(cases: Sequence[Case], profile: Profile, seed: int) -> list[Task]:
    """The plan: for each case its published points, then each stratum, then the sample at large.

    Raises:
        PlanError: if the seed is out of range or a stratum cannot be drawn.
    """
    return list(Drawing(cases, profile, seed))


class Drawing(Sequence[Task]):
    """The plan that `make` makes, drawn bit by bit. Who asks for its length or for a task has it drawn to its end.

    A nightly plan takes as long to draw as torch to import, and more; its first tasks can be measured meanwhile.
    Where only a shard of it is wanted, all is drawn and the shard's tasks are what it holds.
    """

    def __init__(self, cases: Sequence[Case], profile: Profile, seed: int, shard: Shard | None = None) -> None:
        """Draws nothing yet.

        Raises:
            PlanError: if the seed is out of range.
        """
        self._cases, self._profile, self._seed, self._shard = cases, profile, checked_seed(seed), shard
        # By id all of the plan that has come, in order; nothing in place of a task of another shard.
        self._drawn: dict[str, Task | None] = {}
        self._held: list[Task] | None = None
        self._source = self._all()
        self.open = True

    def _all(self) -> Iterator[Task]:
        return (task for case in self._cases for task in _tasks(case, self._profile, self._seed))

    def draw(self, seconds: float = float("inf")) -> list[Task]:
        """Draws for about so long, or to the end; returns the tasks that have come. `open` says whether more may.

        Raises:
            PlanError: if a stratum cannot be drawn.
        """
        before, began = len(self._drawn), time.monotonic()
        while self.open and time.monotonic() - began < seconds:
            self._one()
        return [task for task in itertools.islice(self._drawn.values(), before, None) if task is not None]

    def _one(self) -> None:
        try:
            task = next(self._source, None)
            if task is not None:
                ours = self._shard is None or shards.holds(self._shard, len(self._drawn))
                self._drawn.setdefault(task.id, task if ours else None)
        except BaseException:
            # A generator that was interrupted has ended. It must not pass for the end of the plan: what it has
            # yielded so far, it yields again.
            self._source = self._all()
            raise
        self.open = task is not None

    def whole(self) -> Whole:
        """Hash and size of the plan, those of all shards together; draws it to its end."""
        self.draw()
        return Whole(hash_of(list(self._drawn)), len(self._drawn))

    def _all_held(self) -> list[Task]:
        self.draw()
        if self._held is None:
            self._held = [task for task in self._drawn.values() if task is not None]
        return self._held

    def __len__(self) -> int:
        """How many tasks there are."""
        return len(self._all_held())

    @overload
    def __getitem__(self, index: int) -> Task: ...

    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...

    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        """A task, or some, by their places among those that it holds."""
        return self._all_held()[index]

    def __iter__(self) -> Iterator[Task]:
        """All tasks, in order."""
        return iter(self._all_held())


def checked_seed(seed: int) -> int:
    """`seed`, if a plan can have it.

    Raises:
        PlanError: if it is negative or does not fit 63 bits.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise PlanError(f"seed {seed} is out of range; give one from 0 to {LARGEST_SEED}")
    return seed


def select(cases: dict[str, Case], globs: Sequence[str]) -> list[Case]:
    """The cases whose name matches one of the globs, in their own order; all when there is no glob.

    Raises:
        PlanError: if a glob matches nothing.
    """
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in cases):
            raise PlanError(f"no case matches {glob!r}; `accuracy cases` lists them: {', '.join(cases)}")
    return [case for name, case in cases.items() if not globs or any(fnmatchcase(name, glob) for glob in globs)]


def plan_hash(tasks: Sequence[Task]) -> str:
    """Sixteen hex digits that name the plan: its task ids in order."""
    return hash_of([task.id for task in tasks])


def hash_of(ids: Sequence[str]) -> str:
    """The same from the ids."""
    return short_hash(list(ids))


def rows(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The plan as rows of `plan.parquet`: id, case, origin, config (JSON text), seed (decimal text)."""
    return [
        {
            "id": task.id,
            "case": task.case,
            "origin": task.origin,
            "config": task.text,
            "seed": str(task.seed),
        }
        for task in tasks
    ]


def case(name: str, cases: Mapping[str, Case]) -> Case:
    """The case of this name.

    Raises:
        PlanError: if there is none.
    """
    if name not in cases:
        raise PlanError(f"there is no case {name!r} here: use the version of accuracy that planned it")
    return cases[name]


def task(row: Mapping[str, str], cases: Mapping[str, Case]) -> Task:
    """The task that a row of `rows` names.

    Raises:
        PlanError: if there is no such case, or the row holds something else than a config of it.
    """
    named = case(row["case"], cases)
    try:
        values = json.loads(row["config"])
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        planned = Task(case=named.name, config=named.config(**fields), seed=int(row["seed"]), origin=row["origin"])
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        seen = row["config"][:80]
        raise PlanError(f"the plan holds {seen!r}, which is no config of {named.name}: {error}") from error
    if planned.id != row["id"]:
        raise PlanError(f"the plan calls {row['id']!r} what is {planned.id}: use the version that planned it")
    return planned


def _tasks(case: Case, profile: Profile, seed: int) -> Iterator[Task]:
    for config in case.published:
        name = short_hash(vars(config))
        yield Task(case=case.name, config=config, seed=int(name, 16), origin="published")
    for stratum in case.strata:
        origin = f"stratum:{stratum.name}"
        number = min(1, profile.per_stratum) if stratum.alone else profile.per_stratum
        for dtype in DTYPES:
            strategy = case.draw(**{"dtype": just(dtype), **stratum.fixed}).filter(stratum.holds)
            for config, data_seed in _draws(strategy, f"{seed}/{case.name}/{origin}/{dtype}", number):
                yield Task(case=case.name, config=config, seed=data_seed, origin=origin)
    for config, data_seed in _draws(case.draw(), f"{seed}/{case.name}/sample", profile.samples):
        yield Task(case=case.name, config=config, seed=data_seed, origin="sample")


class _Target(threading.local):
    """One fuzz target a thread for all strategies: to make one takes Hypothesis longer than to draw from it."""

    def __init__(self) -> None:
        self._strategy: SearchStrategy[Any] = just(None)
        self._drawn: list[Any] = []

        @settings(database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(data())
        def record(source: DataObject) -> None:
            self._drawn.append(source.draw(self._strategy))

        self._fuzz: Callable[[bytes], object] = record.hypothesis.fuzz_one_input  # type: ignore[attr-defined]  # set by @given

    def draw(self, strategy: SearchStrategy[Any], choices: bytes) -> list[Any]:
        """What the strategy makes of these bytes; nothing where it rejects them."""
        self._strategy, self._drawn = strategy, []
        self._fuzz(choices)
        return self._drawn


_TARGET = _Target()


def draws(strategy: SearchStrategy[Any], label: str, count: int, *, tries: int = 0) -> list[tuple[Any, int]]:
    """The first `count` independent draws of (config, data seed) under this label, or as many as there are.

    Some draws come to nothing, where a strategy rejects what it drew: at most `tries` are made, or by default
    far more than should be needed.
    """
    both = tuples(strategy, seeds)
    drawn: list[tuple[Any, int]] = []
    for number in range(tries or 2 * count + _TRIES):
        if len(drawn) == count:
            break
        drawn += _TARGET.draw(both, hashlib.shake_256(f"{label}/{number}".encode()).digest(_BYTES_A_DRAW))
    return drawn


def _draws(strategy: SearchStrategy[Any], label: str, count: int) -> list[tuple[Any, int]]:
    """As many draws as `count`."""
    drawn = draws(strategy, label, count)
    if len(drawn) < count:
        raise PlanError(f"{label}: only {len(drawn)} of {count} configs could be drawn; widen the strategy")
    return drawn
