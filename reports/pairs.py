"""Where two devices disagree on the same task, and how often they agree to the last bit."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from accuracy import paired
from accuracy.paired import Agreement
from reports import links, words
from reports.frames import Cell
from reports.table import Table

MOST = 40
"""Lines of disagreement on the page, the farthest first."""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """One line: which two devices, in which cell and quantity, how often, how far, and one such case."""

    devices: str
    cell: str
    cell_href: str
    quantity: str
    number: str
    distance: str
    id: str
    href: str


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The section: how often each two devices agree, and where they do not. `more` lines are left out."""

    agreement: Table
    disagreements: tuple[Disagreement, ...]
    more: int


def build(observations: pd.DataFrame, devices: Sequence[str]) -> Pairs | None:
    """The section of a run on these devices; None where no two of them measured the same."""
    found = paired.pairs(observations, devices) if len(devices) > 1 else pd.DataFrame()
    if found.empty:
        return None
    lines = _disagreements(found)
    return Pairs(agreement=_agreement(found), disagreements=tuple(lines[:MOST]), more=max(0, len(lines) - MOST))


def _agreement(found: pd.DataFrame) -> Table:
    rows = []
    for (first, second), group in found.groupby(["first", "second"], sort=False):
        counts = group["agreement"].value_counts()
        rows.append(
            (
                _between(str(first), str(second)),
                f"{words.count(int(counts.get(Agreement.IDENTICAL, 0)))} of {words.count(len(group))}",
                words.count(int(counts.get(Agreement.WITHIN, 0))),
                words.count(int(counts.get(Agreement.APART, 0))),
            )
        )
    return Table(
        columns=("Devices", "Identical", "Different, within a bound where sampled", "Beyond both bounds"),
        rows=tuple(rows),
    )


def _disagreements(found: pd.DataFrame) -> list[Disagreement]:
    """One for each two devices, cell and quantity that has pairs apart: the farthest first, then by stage."""
    apart = found[found["agreement"] == Agreement.APART.value]
    places = ["first", "second", "case", "dtype", "stage", "quantity"]
    sizes = Counter(zip(*(found[name].tolist() for name in places), strict=True))
    lines: list[tuple[tuple[float, int, float], Disagreement]] = []
    for key, group in apart.groupby(places, sort=True):
        first, second, case, dtype, stage, quantity = map(str, key)
        size = sizes[first, second, case, dtype, stage, quantity]
        farthest = group.sort_values(["distance", "id"], ascending=[False, True], kind="stable").iloc[0]
        place = Cell(case, second, dtype)
        line = Disagreement(
            devices=_between(first, second),
            cell=f"{case} {words.dtype(dtype)}",
            cell_href=f"#{links.cell(place)}",
            quantity=f"{words.quantity(stage, quantity)} ({stage})",
            number=f"{words.count(len(group))} of {words.counted(size, 'case')}",
            distance=f"{words.number(float(farthest['distance']))} × the larger bound",
            id=str(farthest["id"]),
            href=f"#{links.case(str(farthest['id']))}",
        )
        lines.append(((-float(farthest["distance"]), words.stage_rank(stage), -len(group) / size), line))
    return [line for _, line in sorted(lines, key=lambda entry: entry[0])]


def _between(first: str, second: str) -> str:
    return f"{first} and {second}"
