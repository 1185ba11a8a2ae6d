"""Observations and limits to statuses, one a row. Pure: the same rows can be judged again with other limits."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accuracy.case import CELL, EXPLORED, MEASURED, Status, Verdict
from accuracy.limits import Limit, Limits, fits

UNCOVERED = "uncovered"
"""What a row breaks that no limit of verdict `fail` speaks of: nobody said that it may pass."""


def judge_rows(observations: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """Observations with `status` and `reason` set, and three columns more.

    A row fails when it breaks a limit of verdict `fail`; NaN breaks every limit that covers it.
    `broken` is the id of the first such limit ("" if none), `warned` that of the first warning
    limit, `explained` whether a lower precision than the one asked for accounts for all that is broken:
    it can excuse the size of an error, but not a structure in it. Explored rows are judged by the limits
    that say so.
    Rows that were not measured keep the status they have.
    """
    status = observations["status"]
    measured = status.isin(MEASURED).to_numpy()
    planned = (observations["origin"] != EXPLORED).to_numpy()
    speaks = _coverage(observations)
    broken, warned = np.zeros((2, len(observations)), dtype=np.int64)  # places in `names`
    explained = np.zeros(len(observations), dtype=bool)
    free = measured.copy()
    names = np.array(["", *(limit.id for limit in limits.limits), UNCOVERED], dtype=object)
    for place, limit in enumerate(limits.limits, start=1):
        covered = speaks(limit) & (planned | limit.explored)
        outside = measured & covered & ~_within(limit, observations[limit.metric])
        if limit.verdict is Verdict.WARN:
            warned[outside & (warned == 0)] = place
            continue
        free &= ~covered
        excused = outside & (limit.metric == "ratio") & _within(limit, observations["lower_ratio"])
        new = outside & ((broken == 0) | (explained & ~excused))
        broken[new] = place
        explained[new] = excused[new]
    broken[free] = len(names) - 1
    judged = np.where(broken > 0, Status.FAIL.value, Status.OK.value)
    return observations.assign(
        status=np.where(measured, judged, status).astype(object),
        reason=_reasons(observations, limits, measured, broken, explained),
        broken=names[broken],
        warned=names[warned],
        explained=explained,
    )


def _coverage(rows: pd.DataFrame) -> Callable[[Limit], NDArray[np.bool_]]:
    """Which rows a limit speaks of. Each name is matched once, not with each cell or row that it is in."""
    factors = {name: pd.factorize(rows[name]) for name in CELL}

    def speaks(limit: Limit) -> NDArray[np.bool_]:
        covered = np.ones(len(rows), dtype=bool)
        for name, (codes, there) in factors.items():
            if (pattern := getattr(limit, name)) != "*":
                covered &= np.array([fits(str(each), pattern) for each in there], dtype=bool)[codes]
        return covered

    return speaks


def _within(limit: Limit, values: "pd.Series[float]") -> NDArray[np.bool_]:
    """Which values the limit allows. NaN is never one of them."""
    numbers = values.to_numpy()
    return (numbers >= limit.at_least) & (numbers <= limit.at_most)


def _reasons(
    rows: pd.DataFrame,
    limits: Limits,
    measured: NDArray[np.bool_],
    broken: NDArray[np.int64],
    explained: NDArray[np.bool_],
) -> NDArray[np.object_]:
    """What the worker saw, if it said something, else the broken limit in words; nothing for a row that passes."""
    observed, reason = (rows[name].to_numpy(dtype=object) for name in ("observed", "reason"))
    words = np.where(measured & (broken == 0), "", np.where(measured | (observed != ""), observed, reason))
    silent = (broken > 0) & (words == "")
    for place in np.unique(broken[silent]).tolist():
        mine = silent & (broken == place)
        if place > len(limits.limits):
            words[mine] = "no limit of verdict fail covers this; add one to the limits file"
            continue
        limit = limits.limits[place - 1]
        words[mine] = [_said(limit, value) for value in rows.loc[mine, limit.metric].tolist()]
    words[explained] += "; explained by " + rows["lower"].to_numpy(dtype=object)[explained]
    return words


def _said(limit: Limit, value: float) -> str:
    if limit.metric == "ratio" and value == math.inf:
        return "ratio is inf: an error where none is allowed"
    return f"{limit.metric} is {value:.3g}, {_interval(limit)}"


def _interval(limit: Limit) -> str:
    if math.isinf(limit.at_least):
        return f"at most {limit.at_most:g} is allowed"
    if math.isinf(limit.at_most):
        return f"at least {limit.at_least:g} is wanted"
    return f"{limit.at_least:g} to {limit.at_most:g} is wanted"
