"""Observations and limits to statuses, one a row. Pure: the same rows can be judged again with other limits."""

import math

import numpy as np
import pandas as pd

from accuracy.case import CELL, EXPLORED, MEASURED, Status, Verdict
from accuracy.limits import Limit, Limits

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
    rows = observations.copy()
    measured = rows["status"].isin(MEASURED)
    rows["broken"] = ""
    rows["warned"] = ""
    rows["explained"] = False
    grouped = rows.groupby(list(CELL), sort=False, observed=True)
    cell = grouped.ngroup().to_numpy()
    cells = rows.loc[~rows.duplicated(list(CELL)), list(CELL)].astype(object).to_numpy().tolist()
    free = measured.copy()
    planned = rows["origin"] != EXPLORED
    for limit in limits.limits:
        of_limit = np.array([limit.covers(*each) for each in cells], dtype=bool)
        covered = of_limit[cell] & (planned | limit.explored)
        outside = measured & covered & ~rows[limit.metric].between(limit.at_least, limit.at_most)
        if limit.verdict is Verdict.WARN:
            rows.loc[outside & (rows["warned"] == ""), "warned"] = limit.id
            continue
        free &= ~covered
        excused = outside & (limit.metric == "ratio") & rows["lower_ratio"].between(limit.at_least, limit.at_most)
        new = outside & ((rows["broken"] == "") | (rows["explained"] & ~excused))
        rows.loc[new, "broken"] = limit.id
        rows.loc[new, "explained"] = excused[new]
    rows.loc[free, "broken"] = UNCOVERED
    rows.loc[measured & (rows["broken"] != ""), "status"] = Status.FAIL.value
    rows.loc[measured & (rows["broken"] == ""), "status"] = Status.OK.value
    rows["reason"] = _reasons(rows, limits)
    return rows


def _reasons(rows: pd.DataFrame, limits: Limits) -> "pd.Series[str]":
    """What the worker saw, if it said something, else the broken limit in words; nothing for a row that passes."""
    by_id = {limit.id: limit for limit in limits.limits}
    passing = rows["status"] == Status.OK.value
    measured = rows["status"].isin(MEASURED)
    words = rows["observed"].where(~passing, "")
    words = words.where(measured | (words != ""), rows["reason"])
    for broken, mine in rows[(rows["broken"] != "") & (words == "")].groupby("broken"):
        if broken == UNCOVERED:
            words.loc[mine.index] = "no limit of verdict fail covers this; add one to the limits file"
            continue
        limit = by_id[str(broken)]
        words.loc[mine.index] = [_said(limit, value) for value in mine[limit.metric].tolist()]
    explained = rows.index[rows["explained"]]
    words.loc[explained] += "; explained by " + rows.loc[explained, "lower"]
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
