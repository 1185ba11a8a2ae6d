"""Device errors that need no second look: those of one case, in the same words, that came again each time so far.

To look a second time at what poisons a device costs another context. While a driver takes down what is left of one,
nobody else on the device gets far, and one that has to do it a hundred times has been seen to lose the device
(docs/fleet.md).
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

ENOUGH: Final = 4
"""How often an error must have come again in a fresh process, and never not."""


@dataclass(kw_only=True)
class Recurring:
    """How often each error of each case, by its words, came again in a fresh process; `gone` once did not."""

    again: Counter[tuple[str, str]] = field(default_factory=Counter)
    gone: set[tuple[str, str]] = field(default_factory=set)

    def note(self, case: str, text: str, *, again: bool) -> bool:
        """Counts a second look; whether it was the last that such an error needs."""
        if not again:
            self.gone.add((case, text))
            return False
        self.again[case, text] += 1
        return self.again[case, text] == ENOUGH and self.certain(case, text)

    def certain(self, case: str, text: str) -> bool:
        """Whether such an error counts at once."""
        return self.again[case, text] >= ENOUGH and (case, text) not in self.gone
