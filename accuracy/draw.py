"""A plan that is still being drawn while its first tasks are measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accuracy.case import Task
from accuracy.devices import Device
from accuracy.lane import Lane
from accuracy.plan import Drawing
from accuracy.record import Record


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Draws the rest of a plan into the record and the queues of a run."""

    rest: Drawing
    run: Record
    lanes: Sequence[Lane]
    refuse: Callable[[Task, Device], str]

    @property
    def open(self) -> bool:
        """Whether there is more to draw."""
        return self.rest.open

    def __call__(self, seconds: float) -> None:
        """Draws for about so long."""
        tasks = self.rest.draw(seconds)
        self.run.drawn(tasks, self.lanes, self.refuse, whole=None if self.rest.open else self.rest.whole())
