"""What a planted fault is. Read by the parent process, so nothing here imports torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.library import Library


def anywhere(config: Any) -> bool:
    """Every config: the fault can show in all of them."""
    del config
    return True


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A defect, where it is put, and the stage that ought to name it.

    `what` says what is wrong in one sentence. `cases` is a glob of the cases that it can reach and
    `where` narrows them to the configs in which it can show. `sizes` are magnitudes, largest first, in the
    unit that `what` names; without them the fault is there or not. `plant` puts it into the
    library and reads `Library.size` each time it acts. `added_later` marks a fault that was written
    when it was known what the judge finds.
    """

    name: str
    area: str
    what: str
    stage: Stage
    cases: str
    plant: Callable[[Library], None]
    sizes: tuple[float, ...] = ()
    where: Callable[[Any], bool] = anywhere
    added_later: bool = False
