"""A column as codes: its different values once, and for each row which of them it has."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NONE = -1
"""The code of a row that has no value."""


@dataclass(frozen=True, kw_only=True)
class Coded:
    """A column. Row i has the value `levels[codes[i]]`, or none where its code is `NONE`; some levels may not occur."""

    levels: tuple[Any, ...]
    codes: NDArray[np.int64]

    def at(self, rows: NDArray[Any]) -> "Coded":
        """The column of some rows, given as places or as a mask."""
        return Coded(levels=self.levels, codes=self.codes[rows])

    def values(self) -> NDArray[np.object_]:
        """The values as objects, None where there is none."""
        levels = np.empty(len(self.levels) + 1, dtype=object)
        levels[: len(self.levels)] = self.levels
        return levels[self.codes]

    def counts(self) -> NDArray[np.int64]:
        """How many rows have each level."""
        return np.bincount(self.codes - NONE, minlength=len(self.levels) + 1)[1:]

    def occurring(self) -> list[Any]:
        """The levels that some row has."""
        return [self.levels[code] for code in np.flatnonzero(self.counts())]

    def among(self, levels: Collection[object]) -> NDArray[np.bool_]:
        """Which rows have one of these levels."""
        return np.array([*(level in levels for level in self.levels), False], dtype=bool)[self.codes]

    def code(self, level: object) -> int:
        """The code of a level; no row's code where there is no such level."""
        return self.levels.index(level) if level in self.levels else NONE - 1


def of_text(column: pd.Series) -> Coded:
    """A column of text without missing cells, its levels sorted: codes sort as the texts do."""
    codes, found = pd.factorize(column)
    levels: list[str] = np.asarray(found, dtype=object).tolist()
    order = sorted(range(len(levels)), key=levels.__getitem__)
    place = np.empty(len(levels), dtype=np.int64)
    place[order] = np.arange(len(levels))
    return Coded(levels=tuple(levels[code] for code in order), codes=place[codes])


def scattered(rows: int, parts: Iterable[tuple[NDArray[np.int64], Sequence[Hashable]]]) -> Coded:
    """A column of so many rows, those at the places of each part having its values and the rest none.

    Levels are in the order in which they come; `1`, `1.0` and `True` are three.
    """
    levels: dict[tuple[type, Hashable], int] = {}
    codes = np.full(rows, NONE, dtype=np.int64)
    for places, values in parts:
        if len(kinds := set(map(type, values))) == 1:
            kind = kinds.pop()
            code = {value: levels.setdefault((kind, value), len(levels)) for value in dict.fromkeys(values)}
            codes[places] = [code[value] for value in values]
        else:
            codes[places] = [levels.setdefault((type(value), value), len(levels)) for value in values]
    return Coded(levels=tuple(level for _, level in levels), codes=codes)


def numbers(*columns: Coded) -> NDArray[np.int64]:
    """One number for each row, the same where all columns have the same levels; it sorts as the columns do in turn.

    No row may lack a value.
    """
    number = np.zeros(len(columns[0].codes), dtype=np.int64)
    for column in columns:
        number = number * len(column.levels) + column.codes
    return number
