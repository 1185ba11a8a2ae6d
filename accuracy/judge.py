"""Observations and limits to statuses, one a row. Pure: the same rows can be judged again with other limits."""

import math

import pandas as pd

from accuracy.case import Status, Verdict
from accuracy.limits import Limit, Limits

MEASURED = (Status.OK.value, Status.FAIL.value)


def judge_rows(observations: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """Observations with `status` and `reason` set, and three columns more.

    A row fails when it breaks a limit of verdict `fail`; NaN breaks every limit that covers it.
    `broken` is the id of the first such limit ("" if none), `warned` that of the first warning
    limit, `explained` whether a lower precision than the one asked for accounts for the failure.
    Rows that were not measured keep the status they have.
    """
    rows = observations.copy()
    measured = rows["status"].isin(MEASURED)
    rows["broken"] = ""
    rows["warned"] = ""
    for limit in limits.limits:
        column = "broken" if limit.verdict is Verdict.FAIL else "warned"
        outside = measured & _covered(rows, limit) & ~rows[limit.metric].between(limit.at_least, limit.at_most)
        rows.loc[outside & (rows[column] == ""), column] = limit.id
    rows["explained"] = (rows["broken"] != "") & (rows["lower_ratio"] <= 1)
    rows.loc[measured & (rows["broken"] != ""), "status"] = Status.FAIL.value
    rows.loc[measured & (rows["broken"] == ""), "status"] = Status.OK.value
    rows["reason"] = _reasons(rows, limits)
    return rows


def _covered(rows: pd.DataFrame, limit: Limit) -> "pd.Series[bool]":
    kinds = rows["stage"] + "/" + rows["quantity"]
    return kinds.isin([kind for kind in kinds.unique() if limit.covers(*str(kind).split("/", 1))])


def _reasons(rows: pd.DataFrame, limits: Limits) -> "pd.Series[str]":
    """What the worker saw, if it said something, else the broken limit in words; nothing for a row that passes."""
    by_id = {limit.id: limit for limit in limits.limits}
    passing = rows["status"] == Status.OK.value
    measured = rows["status"].isin(MEASURED)
    words = rows["observed"].where(~passing, "")
    words = words.where(measured | (words != ""), rows["reason"])
    for index in rows.index[(rows["broken"] != "") & (words == "")]:
        limit = by_id[str(rows.at[index, "broken"])]
        words.loc[index] = f"{limit.metric} is {float(rows.at[index, limit.metric]):.3g}, {_interval(limit)}"  # type: ignore[arg-type]  # a metric is a number
    explained = rows.index[rows["explained"]]
    words.loc[explained] += "; explained by " + rows.loc[explained, "lower"]
    return words


def _interval(limit: Limit) -> str:
    if math.isinf(limit.at_least):
        return f"at most {limit.at_most:g} is allowed"
    if math.isinf(limit.at_most):
        return f"at least {limit.at_least:g} is wanted"
    return f"{limit.at_least:g} to {limit.at_most:g} is wanted"
