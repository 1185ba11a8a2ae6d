"""What the judge said of a planted fault, size by size."""

from dataclasses import dataclass

from accuracy.selftest.fault import Fault


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the judge said of one size. `stage` names the earliest root, `cell` where it is; both "" if nothing."""

    size: float
    acted: bool
    found: bool
    stage: str
    verdict: str
    cell: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of one fault. `published` is the word for what the published assertion says."""

    fault: Fault
    outcomes: tuple[Outcome, ...]
    published: str
    tasks: int
    note: str = ""

    @property
    def exercised(self) -> bool:
        """Whether the fault, at its largest, changed any value at all."""
        return self.outcomes[0].acted

    @property
    def found(self) -> bool:
        """Whether the fault was found at its largest size."""
        return self.outcomes[0].found

    @property
    def stage_right(self) -> bool:
        """Whether it was found, and in the stage expected."""
        return self.found and self.outcomes[0].stage == self.fault.stage

    @property
    def smallest(self) -> float | None:
        """The smallest size down to which it is found without a gap; None without sizes or if never found."""
        reached = None
        for outcome in self.outcomes if self.fault.sizes else ():
            if not outcome.found:
                break
            reached = outcome.size
        return reached
