"""One attempt at a task: the terms on which it runs, and the ways in which it can end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from accuracy.case import Status
from accuracy.packing import Answer, unpack

MEASURE: Final = "accuracy.measure:measure"
MODULES: Final = ("torch", "bitsandbytes")
"""What workers import before they measure, and what they then call."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How workers are run.

    `accelerator_jobs` is the number of workers on each accelerator, None for as many as its adapter says;
    `memory` is in bytes a worker on top of what it starts with, 0 for no limit; `deadline` is a moment of
    `time.monotonic`; `measure` and `check` are references `module:function`.
    """

    jobs: int
    accelerator_jobs: int | None
    timeout_s: float
    start_timeout_s: float
    memory: int
    recycle_after: int
    deadline: float | None
    interpreter: str
    overlay: Sequence[Path]
    modules: Sequence[str]
    measure: str
    check: str
    bounds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How one attempt at a task ended without an answer. `kind` is the first word of the row's reason.

    `poisoned` says that the device itself no longer computes: no busy neighbour explains that, so a second attempt
    needs a fresh process and not the machine to itself.
    """

    status: Status
    kind: str
    text: str
    seconds: float
    poisoned: bool = False

    def settled(self, *, kind: str = "", note: str = "", final: bool = True) -> "Settled":
        """The record of this failure."""
        reason = f"{kind or self.kind}: {self.text}{f' ({note})' if note else ''}"
        return Settled(status=self.status, reason=reason, seconds=self.seconds, final=final)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What became of one task on one device: an answer, or the status and reason of the row that stands for it.

    `text` is the worker's own of the answer. `final` is false where a resumed run should try again.
    """

    answer: Answer | None = None
    text: bytes = b""
    status: Status = Status.OK
    reason: str = ""
    seconds: float = float("nan")
    final: bool = True


def outcome_of(
    message: Mapping[str, Any], text: bytes, *, task_id: str, device: str, seconds: float
) -> Settled | Failure:
    """What a worker's last word on a task comes to; `text` is what it brings with it.

    Raises:
        RowError: if it brings no answer to this task, and says no reason.
    """
    match message:
        case {"poisoned": error}:
            told = f"device error: {error}"
            return Failure(status=Status.CRASH, kind="crash", text=told, seconds=seconds, poisoned=True)
        case {"oom": True, "error": error}:
            return Failure(status=Status.CRASH, kind="oom", text=f"out of memory: {error}", seconds=seconds)
        case {"error": error}:
            return Settled(status=Status.CRASH, reason=f"exception: {error}", seconds=seconds)
        case _:
            return Settled(answer=unpack(text, task_id=task_id, device=device), text=text)


@dataclass(frozen=True, kw_only=True)
class Calls:
    """What a lane asks of the run it is part of.

    `task_id(task)` names a task, `message(task)` is what a worker is sent; `settle(task, device, outcome)`
    records; `suspect(task, device, failure)` tells of a first failure, which will be confirmed before it is
    settled; `hello(device, facts)` tells what a worker runs on; `incident(text)` what happened on the way
    and changed no row.
    """

    task_id: Callable[[int], str]
    message: Callable[[int], Mapping[str, Any]]
    settle: Callable[[int, str, Settled], None]
    suspect: Callable[[int, str, Failure], None]
    hello: Callable[[str, Mapping[str, Any]], None]
    incident: Callable[[str], None]
