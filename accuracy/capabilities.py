"""Whether a device takes a task at all, by what its adapter says of it."""

from accuracy.case import Task
from accuracy.cases import CASES
from accuracy.devices import Device


def refusal(task: Task, device: Device) -> str:
    """Why `device` does not support `task`, "" where nothing says so."""
    case = CASES.get(task.case)
    return "" if case is None else device.adapter.refusal(case, task.config)
