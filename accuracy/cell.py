"""What is said of one cell, without the tables that it is found in: a schema needs its fields and nothing else."""

import math
from dataclasses import dataclass

from accuracy.case import Verdict


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The verdict of one (case, device, dtype, stage, quantity).

    `n` counts the rows that ran, `failing` those that failed. The worst of a cell that does not fail is
    that of its planned rows, so that nights compare whatever a search found. `caused_by` names the earlier
    stage/quantity that fails in each of the failing cases and must show here too, "" otherwise. `p99` and
    `largest` are the 0.99 quantile (inverse distribution function) and the maximum of `ratio` over the planned
    rows that were measured, for the trend over nights; NaN counts as larger than any number.
    """

    case: str
    device: str
    dtype: str
    stage: str
    quantity: str
    verdict: Verdict
    worst_ratio: float
    worst_id: str
    n: int
    failing: int
    caused_by: str
    limit_id: str
    basis: str
    reason: str
    p99: float = math.nan
    largest: float = math.nan
