"""What the search after the plan did: how many examples of each case, and the worst of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from accuracy.case import EXPLORED
from reports import links, words
from reports.caselist import ended
from reports.frames import Frames, records


@dataclass(frozen=True, kw_only=True)
class Line:
    """The explored examples of one case; `id` names the worst."""

    case: str
    examples: str
    failing: str
    margin: str
    quantity: str
    id: str
    href: str


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """The section: how much was explored, in words, and a line for each case with examples."""

    sentence: str
    lines: tuple[Line, ...]


def build(manifest: Mapping[str, Any], frames: Frames) -> Exploration | None:
    """The section of a run that explored, from its rows; None for any other."""
    rows = frames.rows(frames.worst[frames.columns["origin"][frames.worst] == EXPLORED])
    if rows.empty and not manifest.get("exploration"):
        return None
    found = words.counted(rows["id"].nunique(), "example")
    return Exploration(
        sentence=f"{found}{_budget(manifest.get('exploration'))}.",
        lines=tuple(_line(str(case), mine) for case, mine in rows.groupby("case", sort=True)),
    )


def _budget(exploration: object) -> str:
    """How much was to be explored and how much of that was replayed, as far as the manifest says."""
    match exploration:
        case {"budget": {"seconds": int() | float() as seconds}, "cases": dict(cases)}:
            asked = f" within {words.duration(seconds)} for all cases together"
        case {"budget": {"examples": int(number)}, "cases": dict(cases)}:
            asked = f", at most {words.count(number)} of each case"
        case _:
            return ""
    replayed = [entry["replayed"] for entry in cases.values() if isinstance(entry, dict) and "replayed" in entry]
    number = sum(each for each in replayed if type(each) is int)
    return f"{asked}; {words.count(number)} of them were found on an earlier night and replayed"


def _line(case: str, rows: pd.DataFrame) -> Line:
    worst = records(rows.head(1))[0]
    identity = str(worst["id"])
    return Line(
        case=case,
        examples=words.count(rows["id"].nunique()),
        failing=words.count(rows.loc[rows["failing"], "id"].nunique()),
        margin=ended(str(worst["status"])) or words.standing(str(worst["stage"]), float(worst["ratio"])),
        quantity=words.quantity(str(worst["stage"]), str(worst["quantity"])),
        id=identity,
        href="#" + links.case(identity),
    )
