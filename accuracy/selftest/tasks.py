"""Which tasks a fault is tried on, and how a task tells the worker what to plant."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from accuracy import plan
from accuracy.case import Case, Embedding8bitConfig, Stage, Task, short_hash
from accuracy.selftest.fault import Fault

CASE: Final = "test_kbit_backprop"
"""Case name of the tasks that run the published assertion."""

SEED: Final = 1
POOL: Final = plan.Profile(samples=60, per_stratum=1)
"""What trials choose their tasks from: a fifth of a nightly plan, with every stratum in every dtype."""

TASKS_A_FAULT: Final = 48
RELATIONS_A_CASE: Final = 24
SPARE: Final = 2
"""How many times as many tasks the library is measured on without a fault, since some fail without one."""

LARGEST: Final = 2**18
"""Elements of the largest weight that faults are tried on: larger ones take seconds."""

BATCHES: Final = 20
KINDS: Final = {
    "linear8bitlt": ("Int8Lt",),
    "linear4bit-fp4": ("4bit", "FP4", "FP4+C"),
    "linear4bit-nf4": ("NF4", "NF4+C", "NF4+fp32", "NF4+fp16", "NF4+bf16"),
}
"""The published layers of each family of cases. Upstream asserts nothing of embeddings."""


@dataclass(frozen=True, kw_only=True)
class Planted(Task):
    """A task that is measured under a fault of one size. Its origin carries both to the worker."""

    fault: str
    size: float

    @property
    def id(self) -> str:
        """As a task's, and different for each fault and size."""
        return short_hash({"task": unplanted(self).id, "fault": self.fault, "size": repr(self.size)})


@dataclass(frozen=True, kw_only=True)
class PublishedConfig:
    """One parameter point of the published test."""

    kind: str
    dtype: str
    batches: int
    mode: str = "train"


def split_origin(origin: str) -> tuple[str, str, float]:
    """The origin of a task as planned, the fault that was put on it, and its size."""
    plain, fault, size = origin.split("|")
    return plain, fault, float(size)


def pool(cases: Sequence[Case]) -> list[Task]:
    """The tasks that faults are tried on."""
    return [task for task in plan.make(cases, POOL, SEED) if _elements(task.config) <= LARGEST]


def _elements(config: Any) -> int:
    """Elements of the weight."""
    if isinstance(config, Embedding8bitConfig):
        return config.rows * config.dim
    return int(config.in_features * config.out_features)


def may_show(fault: Fault, task: Task) -> bool:
    """Whether a task lies where the fault can show, and where a trial looks for it.

    Relations between calls are tried for the faults that nothing else can name, or that say so: they cost most.
    """
    relation = hasattr(task.config, "relation")
    wanted = fault.stage is Stage.INVARIANT or fault.cases.endswith("-relations") or not relation
    return wanted and fnmatchcase(task.case, fault.cases) and fault.where(task.config)


def reached(fault: Fault, tasks: Sequence[Task], spare: int = 1) -> list[Task]:
    """The tasks in which a fault can show: of each case a bounded number, `spare` times as many if asked.

    Each stratum and each relation comes once before any comes twice; which ones, is the ids' to say.
    """
    of_case: dict[str, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: task.id):
        if may_show(fault, task):
            of_case.setdefault(task.case, []).append(task)
    plain = sum(not hasattr(mine[0].config, "relation") for mine in of_case.values())
    chosen: list[Task] = []
    for mine in of_case.values():
        most = RELATIONS_A_CASE if hasattr(mine[0].config, "relation") else -(-TASKS_A_FAULT // plain)
        chosen += _mixed(mine)[: most * spare]
    return chosen


def _mixed(tasks: Sequence[Task]) -> list[Task]:
    """Tasks in an order in which the first of each stratum or relation come before the second of any."""
    seen: Counter[str] = Counter()
    ranked = []
    for task in tasks:
        group = getattr(task.config, "relation", "") or (task.id if task.origin == "sample" else task.origin)
        ranked.append((seen[group], task.id, task))
        seen[group] += 1
    return [task for _, _, task in sorted(ranked, key=lambda entry: entry[:2])]


def planned_for(fault: Fault, sound: Sequence[Task]) -> list[Planted]:
    """All tasks of one fault: those that it can reach at each of its sizes, and the published ones at the largest."""
    tasks = reached(fault, sound)
    families = [name for name in KINDS if any(task.case.startswith(name) for task in tasks)]
    sizes = sizes_of(fault)
    return [
        *(planted(task, fault.name, size) for size in sizes for task in tasks),
        *published_tasks(families, fault.name, sizes[0]),
    ]


def sizes_of(fault: Fault) -> tuple[float, ...]:
    """The sizes to try, of which there is at least one."""
    return fault.sizes or (0.0,)


def planted(task: Task, fault: str, size: float) -> Planted:
    """The task under this fault of this size."""
    origin = f"{task.origin}|{fault}|{size!r}"
    return Planted(case=task.case, config=task.config, seed=task.seed, origin=origin, fault=fault, size=size)


def unplanted(task: Task) -> Task:
    """The task as planned."""
    return Task(case=task.case, config=task.config, seed=task.seed, origin=split_origin(task.origin)[0])


def published_tasks(families: Iterable[str], fault: str, size: float) -> list[Planted]:
    """The published test, under this fault, at each of its points for these families of cases."""
    return [
        Planted(
            case=CASE,
            config=PublishedConfig(kind=kind, dtype=dtype, batches=BATCHES),  # type: ignore[arg-type]  # answered by our own measure
            seed=0,
            origin=f"published|{fault}|{size!r}",
            fault=fault,
            size=size,
        )
        for family in families
        for kind in KINDS[family]
        for dtype in ("float16", "bfloat16")
    ]
