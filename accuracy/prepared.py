"""What a run is asked to do, and what it takes to begin: its plan, the devices that are there, and what names it."""

import datetime
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from accuracy import limits, plan, shards, store, waivers
from accuracy.case import Case, Task
from accuracy.devices import Found
from accuracy.exploration import Budget
from accuracy.library import Library


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one run is asked to do. `devices` empty means every device found; `deadline` is of `time.monotonic`.

    `examples` is how many draws of the sample each case gets, None for as many as the profile says; `explore`
    how much is explored after the plan, None for not at all; `shard` which share of the plan it is, None for all.
    `baseline` is a run to hold this one against.
    """

    cases: Sequence[Case]
    profile: str
    seed: int
    devices: Sequence[str]
    limits: limits.Limits
    waivers: Sequence[waivers.Waiver]
    jobs: int | None
    deadline: float | None
    created: datetime.datetime
    library: Library | None = None
    interpreter: str = sys.executable
    examples: int | None = None
    explore: Budget | None = None
    shard: shards.Shard | None = None
    baseline: store.Run | None = None

    @property
    def overlay(self) -> tuple[Path, ...]:
        """Folders put first on the workers' path."""
        return () if self.library is None else (self.library.overlay,)

    @property
    def size(self) -> plan.Profile:
        """How long its plan is."""
        profile = plan.PROFILES[self.profile]
        return profile if self.examples is None else replace(profile, samples=self.examples)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A request with its plan and the devices it will run on. `key` says what the run is, so that it can be resumed.

    `tasks` are those of its shard, if it has one; they may still have to be drawn. `dealt` names the plan that they
    are of, where they do not do so themselves.
    """

    request: Request
    tasks: Sequence[Task]
    dealt: shards.Whole | None = None
    there: Mapping[str, str]
    missing: Mapping[str, str]
    found: Found
    key: Mapping[str, Any]

    @property
    def whole(self) -> shards.Whole:
        """The plan of which its tasks are, all or a shard; has it drawn to its end."""
        if isinstance(self.tasks, plan.Drawing):
            return self.tasks.whole()
        return self.dealt or shards.Whole(plan.plan_hash(self.tasks), len(self.tasks))


def prepare(request: Request, found: Found, *, ahead: bool = True) -> Prepared:
    """Make the plan and choose the devices. Without `ahead` the plan is drawn when it is needed, or by `run`.

    Raises:
        PlanError: if the plan cannot be made.
        ValueError: if a device is unknown.
    """
    tasks = plan.Drawing(request.cases, request.size, request.seed, request.shard)
    if ahead:
        tasks.draw()
    there, missing = found.choose(request.devices)
    return Prepared(
        request=request,
        tasks=tasks,
        there=there,
        missing=missing,
        found=found,
        key={
            "cases": [case.name for case in request.cases],
            "profile": request.profile,
            "examples": request.size.samples,
            "seed": request.seed,
            "devices": list(there),
            "limits": request.limits.hash,
            "versions": dict(found.versions),
            "library": {} if request.library is None else request.library.facts(),
            "explore": request.explore and asdict(request.explore),
            "shard": request.shard and str(request.shard),
        },
    )
