"""What shrinking is asked for and what it gives, and the file of a run that keeps it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from accuracy import plan
from accuracy.case import Task
from accuracy.cases import CASES
from accuracy.files import SHRUNK, StoreError, read_file, write_file

LARGEST: Final = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Target:
    """A failure to be made smaller: this stage and quantity of this task on this device.

    `members` are all (id, device) that fail for the same cause.
    """

    task: Task
    device: str
    stage: str
    quantity: str
    members: frozenset[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """The smallest config that was found to fail in the same way.

    `original` is the id of the case that it was made of, `elements` those of weight and input before and after. It
    failed in `failed` of `tried` runs of its own at the end, and so many configs were `measured` on the way.
    `ratio`, `place`, `status` and `reason` are of its row.
    """

    original: str
    device: str
    stage: str
    quantity: str
    members: tuple[tuple[str, str], ...]
    plan: Mapping[str, str]
    elements: tuple[int, int]
    failed: int
    tried: int
    measured: int
    status: str
    ratio: str
    place: str
    reason: str

    @property
    def task(self) -> Task:
        """The task, checked against its id.

        Raises:
            PlanError: if this version knows no such case or config.
        """
        return plan.task(self.plan, CASES)


def read(folder: Path) -> list[Shrunk]:
    """What was shrunk of a run; nothing if nothing was.

    Raises:
        StoreError: if the file is something else.
    """
    path = folder / SHRUNK
    if not path.is_file():
        return []
    try:
        entries = json.loads(read_file(path, LARGEST))
        return [_entry(each) for each in entries]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is not what `accuracy shrink` writes ({error}); remove it or shrink again") from error


def write(folder: Path, found: Sequence[Shrunk]) -> None:
    """Keeps what was shrunk; of an earlier time only what was not shrunk again."""
    again = {(each.original, each.device, each.stage, each.quantity) for each in found}
    kept = [each for each in read(folder) if (each.original, each.device, each.stage, each.quantity) not in again]
    write_file(folder / SHRUNK, json.dumps([asdict(each) for each in (*kept, *found)], indent=1).encode())


def of_case(found: Sequence[Shrunk], identity: str, device: str, check: str) -> Shrunk | None:
    """The entry that stands for this check (stage/quantity) of a case on a device, if there is one."""
    fitting = (each for each in found if f"{each.stage}/{each.quantity}" == check and each.failed)
    return next((each for each in fitting if (identity, device) in each.members), None)


def _entry(values: Mapping[str, Any]) -> Shrunk:
    before, after = values["elements"]
    return Shrunk(
        original=str(values["original"]),
        device=str(values["device"]),
        stage=str(values["stage"]),
        quantity=str(values["quantity"]),
        members=tuple((str(identity), str(device)) for identity, device in values["members"]),
        plan={name: str(values["plan"][name]) for name in ("id", "case", "origin", "config", "seed")},
        elements=(int(before), int(after)),
        failed=int(values["failed"]),
        tried=int(values["tried"]),
        measured=int(values["measured"]),
        status=str(values["status"]),
        ratio=str(float(values["ratio"])),
        place=str(values["place"]),
        reason=str(values["reason"]),
    )
