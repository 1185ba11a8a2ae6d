"""What a search climbs: how near a task came to its limits, cell by cell, against the worst of the plan."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from accuracy.case import EXPLORED, Stage, Status, Verdict
from accuracy.limits import Limit, Limits
from accuracy.rows import Row
from accuracy.verdicts import CAN_CAUSE

FAILED: Final = 1.0
"""Score of a cell that fails: a bit above any that passes, whatever the size of the error, NaN and a crash included."""

ALWAYS: Final = ("id", "origin", "case", "device", "dtype", "stage", "quantity", "status", "ratio", "lower_ratio")
"""What a score looks at whatever the limits are."""

Cell = tuple[str, str, str, str]
"""Device, dtype, stage and quantity, within a case."""

Score = Callable[[Sequence[Row]], Mapping[Cell, float]]
"""From the rows of one task to log2(error ÷ limit) of each cell that has an error, at most 0, or `FAILED`."""


def _judging(limits: Limits) -> list[Limit]:
    return [limit for limit in limits.limits if limit.explored and limit.verdict is Verdict.FAIL]


def scored(limits: Limits) -> tuple[str, ...]:
    """The fields of a row that `scorer` and `standing` look at."""
    return tuple(dict.fromkeys((*ALWAYS, *(limit.metric for limit in _judging(limits)))))


def scorer(limits: Limits) -> Score:
    """The score under those of `limits` that judge explored rows.

    An error that a lower precision explains counts by its ratio under that. A row is left out if an earlier
    stage that it must show fails in the same task: the earlier one is the finding.
    """
    judging = _judging(limits)

    @cache
    def covering(*cell: str) -> tuple[Limit, ...]:
        return tuple(limit for limit in judging if limit.covers(*cell))

    def of(row: Row) -> float:
        if row["status"] in (Status.CRASH, Status.TIMEOUT):
            return FAILED
        if row["status"] not in (Status.OK, Status.FAIL):
            return -math.inf
        ratio = float(row["ratio"])
        for limit in covering(row["case"], row["device"], row["dtype"], row["stage"], row["quantity"]):
            if not limit.holds(row[limit.metric]):
                if limit.metric != "ratio" or not limit.holds(row["lower_ratio"]):
                    return FAILED
                ratio = float(row["lower_ratio"])
        return min(math.log2(ratio), 0.0) if ratio > 0 else -math.inf

    def scores(rows: Sequence[Row]) -> Mapping[Cell, float]:
        of_row = [(row, of(row)) for row in rows]
        failing = {(row["device"], row["stage"]) for row, score in of_row if score == FAILED}
        return {
            (row["device"], row["dtype"], row["stage"], row["quantity"]): score
            for row, score in of_row
            if score > -math.inf
            and not any((row["device"], earlier) in failing for earlier in CAN_CAUSE.get(row["stage"], ()))
        }

    return scores


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the plan showed of one case.

    `worst` is the largest score of each cell among those that pass, `failing` holds the cells that fail,
    `completed` the origins of which some task ran to its end.
    """

    worst: Mapping[Cell, float]
    failing: frozenset[Cell]
    completed: frozenset[str]

    def beyond(self, scores: Mapping[Cell, float]) -> Mapping[Cell, float]:
        """By how many bits a task came nearer to a limit than anything in the plan, for each cell where it did.

        Cells that fail do not count, neither there nor here: there is nothing left to climb.
        """
        gains = {
            cell: score - self.worst[cell] for cell, score in scores.items() if score < FAILED and cell in self.worst
        }
        return {cell: gain for cell, gain in gains.items() if gain > 0}

    def found(self, scores: Mapping[Cell, float]) -> set[Cell]:
        """The cells that fail though they do not in the plan."""
        return {cell for cell, score in scores.items() if score == FAILED} - self.failing


def standing(rows: Iterable[Row], score: Score) -> Standing:
    """What the planned rows of one case show; explored ones among them are left out."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        if row["origin"] != EXPLORED:
            by_task.setdefault(row["id"], []).append(row)
    worst: dict[Cell, float] = {}
    failing: set[Cell] = set()
    completed = set()
    for mine in by_task.values():
        completed |= {row["origin"] for row in mine if _completes(row)}
        for cell, reached in score(mine).items():
            if reached == FAILED:
                failing.add(cell)
            else:
                worst[cell] = max(reached, worst.get(cell, -math.inf))
    return Standing(worst=worst, failing=frozenset(failing), completed=frozenset(completed))


def _completes(row: Row) -> bool:
    """Whether a row says that its task ran to its end."""
    ended = (row["stage"], row["quantity"]) == (Stage.CONTRACT, "completes")
    return ended and row["status"] == Status.OK and row["ratio"] == 0
