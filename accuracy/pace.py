"""How far ahead workers are given tasks, so that their parent need not wake up for every answer.

Between two answers the caches are the workers' and the processor has slept: to wake up costs the parent more than what
it then does (docs/benchmarks.md). So answers may lie for a moment where every worker has enough to do meanwhile.
"""

from dataclasses import dataclass
from typing import Final

PAUSE: Final = 0.05
"""Seconds that answers may lie. Of two workers and 1,200 cases of 7 ms the parent took 0.23 ms a case with half of it,
0.19 with this and 0.17 with twice as much; workers answered no fewer cases a second."""

DEPTH: Final = 4
"""Pauses in which a worker is given enough to do: the median task of a night takes less than half of the mean, and what
is left at half of that must last a pause."""


@dataclass
class Pace:
    """What the tasks of a lane have taken: so many `answered`, in so many `seconds` of their workers."""

    answered: int = 0
    seconds: float = 0.0

    def note(self, seconds: float) -> None:
        """One more task was answered."""
        self.answered += 1
        self.seconds += seconds

    def depth(self, waiting: int, workers: int) -> int:
        """How many tasks a worker has at once: one to do and some to follow, so that it never waits for its parent.

        Two, or as many as take `DEPTH` pauses in the mean; fewer when so few are `waiting` for so many workers that
        one could be left with what another had time for.
        """
        least = 2 if waiting > 2 * workers else 1
        most = int(PAUSE * DEPTH * self.answered / self.seconds) if self.seconds else 0
        return max(least, min(most, waiting // (2 * max(1, workers))))

    def lasts(self, tasks: int) -> bool:
        """Whether so many tasks will take their worker well beyond a pause; not before the first answer."""
        return tasks * self.seconds > PAUSE * DEPTH / 2 * self.answered
