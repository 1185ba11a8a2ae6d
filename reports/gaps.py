"""What the verdict does not cover: devices that were not there, checks that did not run, cases that broke."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from accuracy.case import Status, Verdict
from reports import coded, links, words
from reports.columns import GROUP
from reports.frames import Cell, Frames, records

MOST = 50

RELATION = re.compile(r"^[a-z_]+: (?=[A-Z]\w*: )")
"""The relation that a message begins with, where an exception follows."""

ENDINGS = {
    Status.CRASH.value: (Verdict.FAIL, "crashed"),
    Status.TIMEOUT.value: (Verdict.FAIL, "did not end in time"),
    Status.NOT_RUN.value: (Verdict.NOT_RUN, "not run"),
    Status.NOT_SUPPORTED.value: (Verdict.NOT_SUPPORTED, "not supported"),
}
"""What is said of a case that gave no answer, and the verdict it stands under."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """One line: what, on what, why, and how often."""

    kind: str
    symbol: str
    word: str
    what: str
    href: str
    reason: str
    number: str


def build(frames: Frames, missing: Mapping[str, str], lost: Mapping[str, str]) -> tuple[tuple[Gap, ...], int]:
    """Devices missing or lost on the way, then broken and unmeasured cases by reason, then what was not finite.

    Returns:
        At most `MOST` lines, and how many there are besides.
    """
    found = [
        _gap(Verdict.NOT_RUN, "device not there", what=device, reason=why, number="all cases")
        for device, why in missing.items()
    ]
    found += [
        _gap(Verdict.NOT_RUN, "device given up", what=device, reason=why, number="cases from then on")
        for device, why in lost.items()
    ]
    status, device = (frames.coded[name] for name in ("status", "device"))
    ended, there = status.among(ENDINGS), ~device.among(missing)
    found += _ended(frames.rows(ended & there))
    found += _unmeasured(frames)
    found += _not_finite(frames.rows(frames.columns["special_mismatch"] > 0))
    return tuple(found[:MOST]), max(0, len(found) - MOST)


def _ended(ended: pd.DataFrame) -> list[Gap]:
    """Cases without an answer, by ending and the first sentence of the reason."""
    found = []
    for key, group in ended.assign(said=ended["reason"].map(_first_sentence)).groupby(["status", "said"], sort=True):
        status, reason = map(str, key)
        verdict, word = ENDINGS[status]
        places = [Cell(*place) for place in dict.fromkeys(zip(*(group[name] for name in Cell._fields), strict=True))]
        cases, devices = (words.listed(sorted({place[at] for place in places})) for at in (0, 1))
        found.append(
            _gap(
                verdict,
                word,
                what=f"{cases} on {devices}",
                anchor=links.cell(places[0]),
                reason=reason,
                number=words.counted(len(set(zip(group["id"], group["device"], strict=True))), "case"),
            )
        )
    return found


def _first_sentence(reason: str) -> str:
    """What is left of a message without the relation that it begins with, and without advice."""
    return RELATION.sub("", reason).split(". ", maxsplit=1)[0]


def _unmeasured(frames: Frames) -> list[Gap]:
    """Verdict rows that say "not run" or "not supported" without any row that was planned and broke."""
    group = [frames.coded[name] for name in GROUP]
    once = np.unique(coded.numbers(*group), return_index=True)[1]
    observed = set(zip(*(column.at(once).values() for column in group), strict=True))
    silent = frames.verdicts[frames.verdicts["verdict"].isin([Verdict.NOT_RUN.value, Verdict.NOT_SUPPORTED.value])]
    return [
        _gap(
            Verdict(row["verdict"]),
            words.VERDICTS[Verdict(row["verdict"])],
            what=f"{_name(cell)}, {words.quantity(row['stage'], row['quantity']).lower()}",
            anchor=links.cell(cell),
            reason=str(row["reason"]),
            number="no observation",
        )
        for row in records(silent)
        if (*(cell := Cell(row["case"], row["device"], row["dtype"])), row["stage"], row["quantity"]) not in observed
    ]


def _not_finite(odd: pd.DataFrame) -> list[Gap]:
    return [
        _gap(
            Verdict.FAIL,
            "NaN or infinite",
            what=f"{_name(cell)}, {words.quantity(str(stage), str(quantity)).lower()}",
            anchor=links.cell(cell),
            reason="NaN or infinite where the oracle is finite, or the other way round: "
            f"{words.counted(int(group['special_mismatch'].sum()), 'element')}",
            number=words.counted(group["id"].nunique(), "case"),
        )
        for (case, device, dtype, stage, quantity), group in odd.groupby(
            ["case", "device", "dtype", "stage", "quantity"], sort=True
        )
        for cell in (Cell(str(case), str(device), str(dtype)),)
    ]


def _gap(verdict: Verdict, word: str, *, what: str, anchor: str = "", reason: str, number: str) -> Gap:
    return Gap(
        kind=verdict.value,
        symbol=words.SYMBOLS[verdict],
        word=word,
        what=what,
        href=f"#{anchor}" if anchor else "",
        reason=words.clipped(reason),
        number=number,
    )


def _name(cell: Cell) -> str:
    return f"{cell.case} on {cell.device} {words.dtype(cell.dtype)}"
