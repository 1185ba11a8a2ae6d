"""The tasks that wait for a device, in the order in which they are begun.

A device that a task has poisoned may not come back (docs/fleet.md), and all that still waits for it is then not
measured. So what belongs to a case that has done so goes last: others have had their turn by then.
"""

from collections import deque
from collections.abc import Callable, Iterable


class Waiting:
    """A queue of tasks. Those of cases that were put last come after all others, else each keeps its place."""

    def __init__(self, tasks: Iterable[int] = (), *, case_of: Callable[[int], str]) -> None:
        """A queue of `tasks`, in this order; `case_of` names the case of one."""
        self._case_of = case_of
        self._first, self._last = deque(tasks), deque[int]()
        self._put_last: set[str] = set()
        self._asked: set[int] = set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._first) + len(self._last)

    def append(self, task: int, *, asked: bool = False) -> None:
        """Adds one at the end of those of its kind. One that somebody `asked` for, and waits for, is never last."""
        if asked:
            self._asked.add(task)
        (self._last if self._is_last(task) else self._first).append(task)

    def popleft(self) -> int:
        """Takes out the next.

        Raises:
            IndexError: if there is none.
        """
        return (self._first or self._last).popleft()

    def put_back(self, tasks: Iterable[int]) -> None:
        """Puts some that were taken out before those of their kind, in their order."""
        for task in reversed([*tasks]):
            (self._last if self._is_last(task) else self._first).appendleft(task)

    def put_last(self, case: str) -> None:
        """Puts the tasks of a case behind all others, and those that will be added."""
        if case not in self._put_last:
            self._put_last.add(case)
            first, self._first = self._first, deque()
            for task in first:
                (self._last if self._is_last(task) else self._first).append(task)

    def _is_last(self, task: int) -> bool:
        return bool(self._put_last) and task not in self._asked and self._case_of(task) in self._put_last
