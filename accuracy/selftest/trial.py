"""One fault against the pipeline: which tasks it gets, and what changes in the verdicts."""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import pandas as pd

from accuracy import executor, limits, nightly, plan, store
from accuracy.case import Case, Status, Task, Verdict, short_hash
from accuracy.selftest import plant
from accuracy.selftest.fault import Fault
from accuracy.selftest.library import proof
from accuracy.verdicts import STAGE_ORDER, WORST_FIRST

CASE: Final = "test_kbit_backprop"
"""Case name of the tasks that run the published assertion."""

SEED: Final = 1
POOL: Final = plan.Profile(samples=60, per_stratum=1)
"""What trials choose their tasks from: a fifth of a nightly plan, with every stratum in every dtype."""

TASKS_A_CASE: Final = 14
RELATIONS_A_CASE: Final = 40
SPARE: Final = 3
BATCHES: Final = 20
DEVICE: Final = "cpu"
MEASURE: Final = "accuracy.selftest.published:measure"
KEY: Final = ["case", "device", "dtype", "stage", "quantity"]
KINDS: Final = {
    "linear8bitlt": ("Int8Lt",),
    "linear4bit-fp4": ("4bit", "FP4", "FP4+C"),
    "linear4bit-nf4": ("NF4", "NF4+C", "NF4+fp32", "NF4+fp16", "NF4+bf16"),
}
"""The published layers of each family of cases. Upstream asserts nothing of embeddings."""


@dataclass(frozen=True, kw_only=True)
class Sized(Task):
    """A task that is measured under a fault of one size. Its origin carries the size to the worker."""

    size: float

    @property
    def id(self) -> str:
        """As a task's, and different for each size."""
        return short_hash({"task": _base(self).id, "size": repr(self.size)})


@dataclass(frozen=True, kw_only=True)
class PublishedConfig:
    """One parameter point of the published test."""

    kind: str
    dtype: str
    batches: int
    mode: str = "train"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the judge said of one size. `stage` names the earliest root, `cell` where it is; both "" if nothing."""

    size: float
    acted: bool
    found: bool
    stage: str
    verdict: str
    cell: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one fault. `published` is the word for what the published assertion says."""

    fault: Fault
    outcomes: tuple[Outcome, ...]
    published: str
    tasks: int
    note: str = ""

    @property
    def exercised(self) -> bool:
        """Whether the fault, at its largest, changed any value at all."""
        return self.outcomes[0].acted

    @property
    def found(self) -> bool:
        """Whether the fault was found at its largest size."""
        return self.outcomes[0].found

    @property
    def stage_right(self) -> bool:
        """Whether it was found, and in the stage expected."""
        return self.found and self.outcomes[0].stage == self.fault.stage

    @property
    def smallest(self) -> float | None:
        """The smallest size down to which it is found without a gap; None without sizes or if never found."""
        reached = None
        for outcome in self.outcomes if self.fault.sizes else ():
            if not outcome.found:
                break
            reached = outcome.size
        return reached


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The library as it is. `sound` are the tasks to plant faults in, `failing` the rows that fail without one."""

    sound: Sequence[Task]
    observations: pd.DataFrame
    failing: frozenset[tuple[str, str, str]]
    published: frozenset[str]
    versions: Mapping[str, str]


def split_origin(origin: str) -> tuple[str, float]:
    """The origin of a task as planned, and the size that was put on it."""
    plain, _, size = origin.partition("|")
    return plain, float(size or 0)


def pool(cases: Sequence[Case]) -> list[Task]:
    """The tasks that faults are tried on."""
    return plan.make(cases, POOL, SEED)


def may_show(fault: Fault, task: Task) -> bool:
    """Whether a task lies where the fault can show."""
    return fnmatchcase(task.case, fault.cases) and fault.where(task.config)


def reached(fault: Fault, tasks: Sequence[Task], spare: int = 1) -> list[Task]:
    """The tasks in which a fault can show: of each case a bounded number, `spare` times as many if asked.

    Each stratum and each relation comes once before any comes twice; which ones, is the ids' to say.
    """
    chosen: list[Task] = []
    of_case: dict[str, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: task.id):
        if may_show(fault, task):
            of_case.setdefault(task.case, []).append(task)
    for mine in of_case.values():
        seen: Counter[str] = Counter()
        ranked = []
        for task in mine:
            group = getattr(task.config, "relation", "") or (task.id if task.origin == "sample" else task.origin)
            ranked.append((seen[group], task.id, task))
            seen[group] += 1
        most = RELATIONS_A_CASE if hasattr(mine[0].config, "relation") else TASKS_A_CASE
        chosen += [task for _, _, task in sorted(ranked, key=lambda entry: entry[:2])[: most * spare]]
    return chosen


def measure_baseline(tasks: Sequence[Task], by: limits.Limits, jobs: int | None, tick: Callable[[], None]) -> Baseline:
    """Measures the library without any fault.

    Rows that fail already can show no fault and are left out of every comparison; tasks of which
    anything but an invariant fails are not used at all.
    """
    planned = [_sized(task, 0.0) for task in tasks] + _published_tasks(KINDS, 0.0)
    execution = _execute(planned, by, jobs=jobs, tick=tick)
    frame = _frame(execution, planned)
    ours = frame[frame["case"] != CASE]
    judged = nightly.judged_run(ours, {}, by, (), date.min).observations
    wrong = judged[
        ~judged["status"].isin([Status.OK.value, Status.NOT_SUPPORTED.value]) & ~(judged["lower_ratio"] <= 1)
    ]
    unsound = set(wrong.loc[wrong["stage"] != "invariant", "id"])
    passing = frame[(frame["case"] == CASE) & (frame["ratio"] == 0)]
    environment = execution.environment.get(DEVICE, {})
    return Baseline(
        sound=[task for task in tasks if task.id not in unsound],
        observations=ours,
        failing=frozenset(wrong[["id", "stage", "quantity"]].itertuples(index=False, name=None)),
        published=frozenset(passing["config"]),
        versions={name: str(environment.get(name, "unknown")) for name in ("python", "torch", "bitsandbytes")},
    )


def try_fault(fault: Fault, baseline: Baseline, by: limits.Limits, tick: Callable[[], None]) -> Result:
    """Plants one fault at all its sizes, measures, judges, and compares with the library as it is."""
    sizes = fault.sizes or (0.0,)
    tasks = reached(fault, baseline.sound)
    planned: list[Any] = [_sized(task, size) for size in sizes for task in tasks]
    planned += _published_tasks([name for name in KINDS if any(task.case.startswith(name) for task in tasks)], sizes[0])
    if not tasks:
        return Result(
            fault=fault, outcomes=tuple(map(_nothing, sizes)), published="not covered", tasks=0, note="no task"
        )
    with tempfile.TemporaryDirectory(prefix="accuracy-selftest-") as name:
        folder = Path(name)
        plant.write_overlay(folder, fault.name)
        execution = _execute(planned, by, overlay=[folder], jobs=1, tick=tick)
        acted = {size for size in sizes if proof(folder, size).exists()}
    frame = _frame(execution, planned)
    outcomes = tuple(
        _compared(baseline, frame[(frame["size"] == size) & (frame["case"] != CASE)], by, tasks, size)
        if size in acted
        else _nothing(size)
        for size in sizes
    )
    published = frame[(frame["case"] == CASE) & frame["config"].isin(baseline.published)]
    word = "not covered" if published.empty else "found" if (published["ratio"] != 0).any() else "passes"
    note = "; ".join(execution.unusable.values())
    return Result(fault=fault, outcomes=outcomes, published=word, tasks=len(tasks), note=note)


def _compared(
    baseline: Baseline, faulty: pd.DataFrame, by: limits.Limits, tasks: Sequence[Task], size: float
) -> Outcome:
    """The earliest cell at the root that is worse with the fault than without it."""
    ids = {task.id for task in tasks}
    before = baseline.observations[baseline.observations["id"].isin(ids)]
    ranks = {_key(row): _rank(row["verdict"]) for row in _cells(before, baseline, by)}
    worse = [
        row for row in _cells(faulty, baseline, by) if _rank(row["verdict"]) < ranks.get(_key(row), _rank(Verdict.PASS))
    ]
    roots = sorted(
        (row for row in worse if not row["caused_by"]),
        key=lambda row: (_rank(row["verdict"]) == _rank(Verdict.WARN), STAGE_ORDER[row["stage"]]),
    )
    if not roots:
        return _nothing(size, acted=True)
    first = roots[0]
    return Outcome(
        size=size,
        acted=True,
        found=True,
        stage=str(first["stage"]),
        verdict=str(first["verdict"]),
        cell="/".join(str(first[name]) for name in KEY),
        reason=str(first["reason"]),
    )


def _cells(observations: pd.DataFrame, baseline: Baseline, by: limits.Limits) -> list[dict[str, Any]]:
    """The verdicts on observations, less the rows that fail without any fault."""
    keys = observations[["id", "stage", "quantity"]].itertuples(index=False, name=None)
    kept = observations[[key not in baseline.failing for key in keys]]
    return [dict(row) for row in nightly.judged_run(kept, {}, by, (), date.min).verdicts.to_dict("records")]  # type: ignore[arg-type]  # columns have names


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY)


def _rank(verdict: str) -> int:
    return WORST_FIRST.index(Verdict(verdict))


def _nothing(size: float, *, acted: bool = False) -> Outcome:
    return Outcome(size=size, acted=acted, found=False, stage="", verdict="", cell="", reason="")


def _sized(task: Task, size: float) -> Sized:
    return Sized(case=task.case, config=task.config, seed=task.seed, origin=f"{task.origin}|{size!r}", size=size)


def _base(task: Task) -> Task:
    return Task(case=task.case, config=task.config, seed=task.seed, origin=split_origin(task.origin)[0])


def _published_tasks(families: Any, size: float) -> list[Any]:
    return [
        Sized(
            case=CASE,
            config=PublishedConfig(kind=kind, dtype=dtype, batches=BATCHES),  # type: ignore[arg-type]  # answered by our own measure
            seed=0,
            origin=f"published|{size!r}",
            size=size,
        )
        for family in families
        for kind in KINDS[family]
        for dtype in ("float16", "bfloat16")
    ]


def _execute(
    planned: Sequence[Any],
    by: limits.Limits,
    *,
    jobs: int | None,
    tick: Callable[[], None],
    overlay: Sequence[Path] = (),
) -> executor.Execution:
    return executor.execute(
        planned,
        [DEVICE],
        timeout_s=nightly.TIMEOUT_S,
        bounds=asdict(by.bounds),
        jobs=jobs,
        measure=MEASURE,
        overlay=overlay,
        on_progress=lambda _: tick(),
    )


def _frame(execution: executor.Execution, planned: Sequence[Any]) -> pd.DataFrame:
    """Observations under the ids of the tasks as planned, with the size of the fault beside them."""
    frame = store.observations_frame(execution.columns())
    by_id = {task.id: task for task in planned}
    tasks = [by_id[identity] for identity in frame["id"]]
    frame["size"] = [task.size for task in tasks]
    frame["id"] = [_base(task).id for task in tasks]
    return frame
