"""What became of a cell from a baseline to a candidate, as one value; `accuracy.compare` finds it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # to know the fields of a change takes none of it
    import pandas as pd


class ComparisonError(ValueError):
    """Two sides that cannot be compared; the message says what was seen, what was wanted and what to do."""


class Outcome(StrEnum):
    """What became of one cell from the baseline to the candidate, worst first."""

    REGRESSED = "regressed"
    GONE = "gone"
    CHANGED = "changed"
    IMPROVED = "improved"
    NEW = "new"
    WITHIN_NOISE = "within_noise"
    IDENTICAL = "identical"
    NOT_COMPARED = "not_compared"


BAD = frozenset({Outcome.REGRESSED, Outcome.GONE})
"""What keeps a candidate back."""


@dataclass(frozen=True, kw_only=True)
class CellChange:
    """One cell of both runs. `n` counts pairs, `identical` those with equal digests, `worse` and `better` the rest.

    `broken` counts pairs that newly fail, crash or have a wrong special value. `effect` is the median of
    log(candidate ÷ baseline) of `metric` over the pairs that differ, `p` its p-value adjusted over all cells.
    `worst_id` is a case to look at. `before_bins` and `before_counts` are the baseline's histogram of error ÷ limit
    over its planned cases, as `accuracy.histogram` makes it; empty where its limits were not those of the candidate.
    """

    case: str
    device: str
    dtype: str
    stage: str
    quantity: str
    outcome: Outcome
    n: int
    identical: int
    worse: int
    better: int
    broken: int
    metric: str
    effect: float
    p: float
    worst_id: str
    reason: str
    before_bins: tuple[int, ...] = ()
    before_counts: tuple[int, ...] = ()


def frame(changes: Iterable[CellChange]) -> "pd.DataFrame":
    """The entries as a table, one row a cell."""
    import pandas as pd

    columns = [field.name for field in fields(CellChange)]
    return pd.DataFrame([asdict(change) | {"outcome": change.outcome.value} for change in changes], columns=columns)


def got_worse(changes: Sequence[CellChange]) -> bool:
    """Whether something keeps the candidate back."""
    return any(change.outcome in BAD for change in changes)


def exit_code(changes: Sequence[CellChange]) -> int:
    """1 if something got worse, 3 if nothing could be compared, which is never green, else 0."""
    if got_worse(changes):
        return 1
    return 0 if any(change.outcome is not Outcome.NOT_COMPARED for change in changes) else 3


def counts(changes: Iterable[CellChange]) -> dict[str, int]:
    """How many cells each outcome has, in the order of `Outcome`."""
    outcomes = [change.outcome for change in changes]
    return {outcome.value: outcomes.count(outcome) for outcome in Outcome}


def listed(table: "pd.DataFrame") -> list[CellChange]:
    """The entries of a table as `frame` makes it.

    Raises:
        ValueError: if an outcome is none that this version knows.
    """
    rows: list[dict[str, Any]] = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    return [
        CellChange(
            **row
            | {"outcome": Outcome(row["outcome"])}
            | {name: tuple(int(each) for each in row[name]) for name in ("before_bins", "before_counts")}
        )
        for row in rows
    ]
