"""Cases as rows: the worst of a cell, and those that the page lists."""

import json
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from accuracy.case import Status, Verdict
from reports import features, links, words
from reports.frames import Cell, Frames

WORST_FAILING = 4
WORST_PASSING = 2
LISTED = 40


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


def worst_of(frames: Frames, worst: NDArray[np.int64], run: str) -> tuple[CaseRow, ...]:
    """The worst cases of a cell, from its part of `Frames.worst`; fewer where none fails."""
    shown = WORST_FAILING if frames.columns["failing"][worst].any() else WORST_PASSING
    return tuple(_row(frames, place, run) for place in worst[:shown])


def listed(frames: Frames, linked: Iterable[str], at_home: Container[str], run: str) -> tuple[CaseRow, ...]:
    """The rows that the page shows without a script: the worst, and every case that it links to and shows nowhere else.

    A case is listed on its worst device. Its row carries the anchor that links lead to, save of those `at_home` in
    the section of a cell.
    """
    identity = frames.coded["id"].codes[frames.worst]
    once = frames.worst[np.sort(np.unique(identity, return_index=True)[1])]
    wanted = {name for name in linked if name not in at_home}
    more = [place for place in once[LISTED:] if frames.columns["id"][place] in wanted] if wanted else []
    rows = (_row(frames, place, run) for place in (*once[:LISTED], *more))
    return tuple(replace(row, anchor="") if row.id in at_home else row for row in rows)


def ended(status: str) -> str:
    """How a case ended that gave no numbers."""
    return status if status in (Status.CRASH.value, Status.TIMEOUT.value) else ""


def _row(frames: Frames, place: np.int64, run: str) -> CaseRow:
    row = {name: column[place] for name, column in frames.columns.items()}
    verdict = Verdict.FAIL if row["failing"] else Verdict.PASS
    identity = str(row["id"])
    cell = Cell(str(row["case"]), str(row["device"]), str(row["dtype"]))
    return CaseRow(
        id=identity,
        href="#" + links.case(identity),
        anchor=links.case(identity),
        cell=f"{cell.case} {cell.device} {words.dtype(cell.dtype)}",
        cell_href="#" + links.cell(cell),
        config=features.sentence(json.loads(str(row["config"])), without=("dtype", "mode")),
        quantity=words.quantity(str(row["stage"]), str(row["quantity"])),
        margin=ended(str(row["status"])) or words.standing(str(row["stage"]), float(row["ratio"])),
        kind=verdict.value,
        symbol=words.SYMBOLS[verdict],
        word=words.VERDICTS[verdict],
        reason=words.clipped(str(row["reason"])),
        command=words.replay(run, identity),
    )
