"""Cases as rows: the worst of a cell, those that the page lists, and the data that the filter reads."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from accuracy.case import Status, Verdict
from reports import features, links, words
from reports.frames import JUDGED, Cell, Frames, records

WORST_OF_CELL = 5
LISTED = 100


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """One case on one device by its worst quantity, with what it takes to run it again."""

    id: str
    href: str
    anchor: str
    cell: str
    cell_href: str
    config: str
    quantity: str
    margin: str
    kind: str
    symbol: str
    word: str
    reason: str
    command: str


def ranked(observations: pd.DataFrame) -> pd.DataFrame:
    """The worst observation of each (id, device) that was measured, worst first; NaN is worst of all."""
    measured = observations[observations["status"].isin(JUDGED)]
    ordered = measured.assign(badness=measured["ratio"].fillna(math.inf)).sort_values(
        ["failing", "badness", "id", "device"], ascending=[False, False, True, True], kind="stable"
    )
    return ordered.drop_duplicates(["id", "device"])


def worst_of(observations: pd.DataFrame, run: str) -> tuple[CaseRow, ...]:
    """The worst cases of a cell."""
    return tuple(_row(row, run) for row in records(ranked(observations).head(WORST_OF_CELL)))


def listed(worst: pd.DataFrame, linked: Iterable[str], run: str) -> tuple[CaseRow, ...]:
    """The rows that the page shows without a script: the worst, and every case that it links to.

    The first row of an id carries its anchor, so that a link to a case finds it on its worst device.
    """
    wanted = set(linked)
    shown = worst[(worst.reset_index().index < LISTED) | worst["id"].isin(list(wanted))]
    first = ~shown["id"].duplicated()
    return tuple(_row(row, run, anchored=anchored) for row, anchored in zip(records(shown), first, strict=True))


def island(frames: Frames, worst: pd.DataFrame, cells: Mapping[Cell, Mapping[str, Any]], run: str) -> dict[str, Any]:
    """What the filter reads: every cell in the order of the page, every case and every (id, device).

    A config is [id, value, ...] in the order of `features`, which names them. A row is [config, cell,
    quantity, margin as text, whether it fails, margin as a number], worst first.
    """
    names = [name for name in frames.inputs.columns if name not in ("dtype", "mode")]
    inputs = frames.inputs.loc[worst["id"].drop_duplicates(), names].sort_index()
    place = {identity: index for index, identity in enumerate(inputs.index)}
    numbered = {cell: index for index, cell in enumerate(cells)}
    quantities = sorted(set(zip(worst["stage"], worst["quantity"], strict=True)))
    quantity = {pair: index for index, pair in enumerate(quantities)}
    return {
        "run": run,
        "cells": [dict(zip(cell._fields, cell, strict=True)) | dict(about) for cell, about in cells.items()],
        "quantities": [[*pair, words.quantity(*pair)] for pair in quantities],
        "features": [[name, features.label(name), features.FILTER_NAMES.get(name, "")] for name in names],
        "configs": [
            [identity, *(None if value != value else value for value in values)]  # noqa: PLR0124  # NaN: no such input
            for identity, values in zip(inputs.index, inputs.to_numpy(dtype=object).tolist(), strict=True)
        ],
        "rows": [
            [
                place[row["id"]],
                numbered[Cell(row["case"], row["device"], row["dtype"])],
                quantity[row["stage"], row["quantity"]],
                words.margin(row["ratio"]),
                int(row["failing"]),
                words.margin_value(row["ratio"]),
            ]
            for row in records(worst)
        ],
    }


def _row(row: Mapping[str, Any], run: str, *, anchored: bool = False) -> CaseRow:
    verdict = Verdict.FAIL if row["failing"] else Verdict.PASS
    identity = str(row["id"])
    cell = Cell(str(row["case"]), str(row["device"]), str(row["dtype"]))
    ended = str(row["status"]) if row["status"] != Status.OK.value else ""
    return CaseRow(
        id=identity,
        href="#" + links.case(identity),
        anchor=links.case(identity) if anchored else "",
        cell=f"{cell.case} {cell.device} {words.dtype(cell.dtype)}",
        cell_href="#" + links.cell(cell),
        config=features.sentence(json.loads(str(row["config"])), without=("dtype", "mode")),
        quantity=words.quantity(str(row["stage"]), str(row["quantity"])),
        margin=ended or words.margin(float(row["ratio"])),
        kind=verdict.value,
        symbol=words.SYMBOLS[verdict],
        word=words.VERDICTS[verdict],
        reason=words.clipped(str(row["reason"])),
        command=f"accuracy replay {run} {identity}",
    )
