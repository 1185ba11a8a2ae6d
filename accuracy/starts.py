"""Starts of a device's processes that fail, one after the other: when the next is tried, and when none is any more.

A library that cannot be imported fails at once and again. A device that is busy does not: while its driver takes down
what was poisoned or killed it gives nobody a new context, and a run that waits loses nothing. One H200 stood still so
for a minute after some dozens of them.
"""

from dataclasses import dataclass
from typing import Final

ATTEMPTS: Final = 2
"""Starts in a row that may fail before a device is given up."""

PATIENCE_S: Final = 180.0
"""Seconds for which a busy device is tried again: three times as long as that H200 was seen to stand still."""

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 8.0
"""Seconds between a start that found the device busy and the next, twice as many each time: a start takes half a
second at least, and of the patience no more than a twentieth is lost to a pause that was too long."""


@dataclass(kw_only=True)
class Starts:
    """How many `failed` in a row, `since` when, and the moment of the next. All moments are on one clock."""

    failed: int = 0
    since: float = 0.0
    next_at: float = 0.0

    def fail(self, now: float, *, busy: bool) -> bool:
        """Notes one that failed; whether the device is to be given up."""
        self.since = self.since if self.failed else now
        self.failed += 1
        self.next_at = now + min(FIRST_PAUSE_S * 2 ** (self.failed - 1), LONGEST_PAUSE_S) if busy else now
        return self.failed >= ATTEMPTS and not (busy and now - self.since < PATIENCE_S)

    def succeed(self) -> None:
        """Notes one that did not fail."""
        self.failed, self.next_at = 0, 0.0
