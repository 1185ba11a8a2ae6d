"""Plans of planted tasks, and runs of them in real workers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accuracy.case import Embedding8bitConfig, Task
from accuracy.executor import execute
from accuracy.record import Execution

TESTS = Path(__file__).resolve().parent.parent


def task(number: int, fault: str = "") -> Task:
    """Task `number` of a plan, which commits `fault`."""
    config = Embedding8bitConfig(dtype="float32", rows=4, dim=4, index=(2,), weight=fault)
    return Task(case="planted", config=config, seed=number, origin="sample")


def plan(count: int, faults: Mapping[int, str] | None = None) -> list[Task]:
    """Tasks 0 … count − 1 with the faults by number."""
    return [task(number, (faults or {}).get(number, "")) for number in range(count)]


def run(tasks: Sequence[Task], devices: Sequence[str] = ("cpu",), **options: Any) -> Execution:
    """Executes planted tasks in processes that import no library."""
    defaults: dict[str, Any] = {
        "timeout_s": 1.0,
        "bounds": {},
        "jobs": 2,
        "measure": "faults.workloads:faulty",
        "modules": (),
        "overlay": (TESTS,),
    }
    return execute(tasks, devices, **{**defaults, **options})


def comparable(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows as text, without the time they took: NaN equals NaN, and an array the list of its numbers."""
    return [{name: _text(value) for name, value in row.items() if name != "seconds"} for row in rows]


def _text(value: Any) -> str:
    if hasattr(value, "tolist"):
        return repr(value.tolist())
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def reasons(execution: Execution) -> dict[int, str]:
    """Status and reason of each task that gave no numbers, by its number."""
    return {
        int(row["seed"]): f"{row['status']} {row['reason']}" for row in execution.rows if row["quantity"] == "completes"
    }
