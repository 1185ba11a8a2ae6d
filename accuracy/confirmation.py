"""Failures that are looked at a second time, since only what a task does then counts.

A neighbour may have loaded the machine, or a task before it may have spoilt the process. So a task that failed becomes
a suspect and runs again alone in a fresh process when all else is done. Where the device itself said that it no longer
computes, the load is no suspect: the next fresh process begins with that task.

To look again at what poisons a device costs another context. While a driver takes down what is left of one, nobody
else on the device gets far, and one that had to do it a hundred times has been seen to lose the device (docs/fleet.md).
So an error of one case, in the same words, that came again each time counts at once from then on.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from accuracy.attempt import Failure

ENOUGH: Final = 4
"""How often a device error must have come again in a fresh process, and never not."""


@dataclass(eq=False, kw_only=True)
class Confirmation:
    """The tasks of a device that failed once, with their first failures, and what second looks have found.

    `suspects` wait for the machine to themselves, `poisoned` for a fresh process. `case_of` names the case of a task;
    `again` counts by case and words how often a device error came again, and `gone` are those that once did not.
    """

    case_of: Callable[[int], str]
    suspects: deque[tuple[int, Failure]] = field(default_factory=deque)
    poisoned: deque[tuple[int, Failure]] = field(default_factory=deque)
    again: Counter[tuple[str, str]] = field(default_factory=Counter)
    gone: set[tuple[str, str]] = field(default_factory=set)

    def queue(self, first: Failure) -> deque[tuple[int, Failure]]:
        """Where a task waits that failed so."""
        return self.poisoned if first.poisoned else self.suspects

    def certain(self, index: int, failure: Failure) -> bool:
        """Whether a failure needs no second look."""
        if not failure.poisoned:
            return False
        key = self.case_of(index), failure.text
        return self.again[key] >= ENOUGH and key not in self.gone

    def looked(self, index: int, first: Failure, *, again: bool) -> bool:
        """Notes what a second look at a device error found; whether it was the last that such an error needs."""
        key = self.case_of(index), first.text
        if not again:
            self.gone.add(key)
            return False
        self.again[key] += 1
        return self.again[key] == ENOUGH and key not in self.gone

    def released(self) -> list[tuple[int, Failure]]:
        """Takes out those that wait for a fresh process and need no second look any more."""
        found = [each for each in self.poisoned if self.certain(*each)]
        for each in found:
            self.poisoned.remove(each)
        return found
