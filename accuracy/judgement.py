"""Rows to a judged run: statuses, cells and verdict, alike for a new run, a stored one and a merged one. Pure."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from accuracy import baseline, judge, limits, shards, verdicts, waivers
from accuracy.baseline import Against
from accuracy.summary import summarize


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Observations with their status, the verdict table, and the content of `verdict.json`."""

    observations: pd.DataFrame
    verdicts: pd.DataFrame
    summary: dict[str, Any]


def judged_run(
    observations: pd.DataFrame,
    cases: Mapping[str, Mapping[str, Any]],
    by: limits.Limits,
    known: Sequence[waivers.Waiver],
    today: datetime.date,
    *,
    parts: shards.Parts | None = None,
    against: Against | None = None,
) -> Judged:
    """Rows to statuses, statuses to cells, cells to the verdict of the run. Pure.

    `cases` and `parts` are the manifest's entries of that name: the strata that each case must touch, all shards
    together, and which of the shards the run holds; `against` what a comparison with a baseline gave.
    """
    judged = judge.judge_rows(observations, by)
    told, summary = verdict(judged, cases, known, today, parts=parts, against=against)
    return Judged(observations=judged[list(observations.columns)], verdicts=told, summary=summary)


def verdict(
    judged: pd.DataFrame,
    cases: Mapping[str, Mapping[str, Any]],
    known: Sequence[waivers.Waiver],
    today: datetime.date,
    *,
    parts: shards.Parts | None = None,
    against: Against | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The verdict table and the content of `verdict.json` of rows that `judge.judge_rows` has judged."""
    strata = {} if shards.is_one(parts) else {name: case.get("strata", ()) for name, case in cases.items()}
    cells = verdicts.cells(judged, strata)
    if against is not None:
        cells = baseline.applied(cells, against)
    cells = verdicts.waive(cells, known, today)
    lacking = shards.unseen(cells, parts)
    summary = summarize(judged, cells, lacking=lacking, gaps=shards.gaps(parts))
    return verdicts.frame([*cells, *lacking]), summary


def judged_by(by: limits.Limits, known: Sequence[waivers.Waiver]) -> dict[str, Any]:
    """What the manifest says of a judgement: the limits, why they are what they are, and the known deviations."""
    return {
        "limits_hash": by.hash,
        "bases": dict(by.bases),
        "waivers": [waivers.entry(waiver) for waiver in known],
    }
