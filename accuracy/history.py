"""Many nights as one table: what each run folder says of itself, and the verdicts of every night, by DuckDB.

The rows of the runs are never read: what the trend needs of them, a quantile and a maximum a cell, stands in
the verdict table. So a year of nights is some hundred small files, each checked against its manifest.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from accuracy import schemas, shards, store, trend
from accuracy.case import CELL, Verdict
from accuracy.environment import PRICE
from accuracy.files import StoreError
from accuracy.summary import overall

COLUMNS = ("verdict", "p99", "largest")

MEASURED = (Verdict.PASS.value, Verdict.WARN.value, Verdict.FAIL.value)

Place = tuple[str, str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class Night:
    """One run; `machines` holds the facts of each device besides versions."""

    folder: str
    created: str
    profile: str
    verdict: str
    counts: Mapping[str, int]
    versions: Mapping[str, str]
    machines: Mapping[str, Mapping[str, str]]
    missing: Mapping[str, str]
    limits_hash: str
    hash: str

    @property
    def day(self) -> str:
        """The date and time, as a table shows it."""
        return self.created[:16].replace("T", " ")

    @property
    def regime(self) -> tuple[str, str]:
        """Limits and profile: under others the ratios, and how many there are, mean something else."""
        return self.limits_hash, self.profile


@dataclass(frozen=True, kw_only=True)
class History:
    """Nights, oldest first; `unreadable` names the folders that are no run one can trust, and why.

    `rows` has one row a cell and night, sorted so: `cell` and `night` (the places in `cells` and `nights`) and
    the columns `COLUMNS`.
    """

    nights: tuple[Night, ...]
    unreadable: Mapping[str, str]
    cells: tuple[Place, ...]
    rows: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Since:
    """How long a cell has failed without a pass between: `nights` nights from night `first` on.

    `before` is the last night that measured it and did not fail; None if there is none.
    """

    first: int
    nights: int
    before: int | None


@dataclass(frozen=True, kw_only=True)
class Shift:
    """From this night on the p99 of a cell has another level; `before` and `after` are the medians of both sides."""

    night: int
    before: float
    after: float


def read(root: Path, *, before: str = "", leave_out: str = "", cell: Place | None = None) -> History:
    """The runs in the folders of `root`.

    Args:
        root: a folder of run folders.
        before: only nights created before this moment (ISO); all without it.
        leave_out: the hash of a run that is not to be counted as its own past.
        cell: only this cell's verdicts.

    Raises:
        StoreError: if `root` is no folder.
    """
    if not root.is_dir():
        raise StoreError(f"{root} is no folder; a folder of run folders is wanted")
    unreadable: dict[str, str] = {}
    found: list[tuple[Night, pa.Table]] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            manifest, table = store.read_verdicts(folder, (*CELL, *COLUMNS))
        except StoreError as error:
            unreadable[folder.name] = str(error)
            continue
        night = _night(folder.name, manifest, map(str, table["verdict"].to_pylist()))
        if night.hash != leave_out and (not before or night.created < before):
            found.append((night, table if cell is None else _only(table, cell)))
    found.sort(key=lambda entry: (entry[0].created, entry[0].folder))
    cells, rows = _query([table for _, table in found])
    return History(nights=tuple(night for night, _ in found), unreadable=unreadable, cells=cells, rows=rows)


def _night(folder: str, manifest: Mapping[str, Any], verdicts: Iterable[str]) -> Night:
    number = Counter(verdicts)
    counts = {verdict.value: number[verdict.value] for verdict in Verdict}
    return Night(
        folder=folder,
        created=str(manifest["created"]),
        profile=str(manifest["profile"]),
        verdict=overall(counts, whole=not shards.gaps(manifest.get("parts"))),
        counts=counts,
        versions=dict(manifest["versions"]),
        machines={
            str(device): {
                name: str(value) for name, value in facts.items() if name not in {*manifest["versions"], *PRICE}
            }
            for device, facts in manifest["environment"].items()
        },
        missing=dict(manifest["devices"]["missing"]),
        limits_hash=str(manifest["limits_hash"]),
        hash=str(manifest.get("hash", "")),
    )


def _only(table: pa.Table, cell: Place) -> pa.Table:
    same = (pc.equal(table[name], pa.scalar(value)) for name, value in zip(CELL, cell, strict=True))
    return table.filter(functools.reduce(pc.and_, same))


def _query(tables: Sequence[pa.Table]) -> tuple[tuple[Place, ...], pd.DataFrame]:
    """The cells that occur, in order, and the verdicts of all nights, by number of the cell and night."""
    import duckdb  # a tenth of a second that no other command has to wait

    numbered = [
        table.append_column("night", pa.array([night] * table.num_rows, pa.int32()))
        for night, table in enumerate(tables)
    ]
    stored = (schemas.VERDICT.field(name) for name in (*CELL, *COLUMNS))
    every = pa.concat_tables([pa.schema([*stored, pa.field("night", pa.int32())]).empty_table(), *numbered])
    cell, told = (", ".join(f'"{name}"' for name in names) for names in (CELL, COLUMNS))
    with duckdb.connect(config={"enable_external_access": "false"}) as connection:
        connection.register("every", every)
        # Only our own column names are put into the text; what comes from outside is in the table.
        cells = connection.execute(f"SELECT DISTINCT {cell} FROM every ORDER BY {cell}").fetchall()  # noqa: S608
        rows = connection.execute(
            f"SELECT (dense_rank() OVER (ORDER BY {cell}) - 1)::INTEGER AS cell, night, {told} "  # noqa: S608
            "FROM every ORDER BY cell, night"
        ).df()
    return tuple(place(cell) for cell in cells), rows


def with_run(history: History, folder: str, manifest: Mapping[str, Any], verdicts: pd.DataFrame) -> History:
    """The history with one more night at its end: the run itself."""
    cells = list(dict.fromkeys([*history.cells, *map(place, verdicts[list(CELL)].itertuples(index=False))]))
    number = {cell: at for at, cell in enumerate(cells)}
    mine = verdicts[list(COLUMNS)].assign(
        cell=[number[place(key)] for key in verdicts[list(CELL)].itertuples(index=False)], night=len(history.nights)
    )
    rows = pd.concat([history.rows, mine], ignore_index=True) if len(history.rows) else mine
    return History(
        nights=(*history.nights, _night(folder, manifest, verdicts["verdict"])),
        unreadable=history.unreadable,
        cells=tuple(cells),
        rows=rows.sort_values(["cell", "night"], ignore_index=True),
    )


def by_cell(history: History) -> dict[Place, pd.DataFrame]:
    """The nights that measured a cell, by cell."""
    measured = history.rows[history.rows["verdict"].isin(MEASURED)]
    return {history.cells[int(str(number))]: rows for number, rows in measured.groupby("cell", sort=False)}


def since(history: History) -> dict[Place, Since]:
    """For each cell that fails in the last night of the history: since when.

    Nights that did not measure the cell neither end nor lengthen the time.
    """
    found: dict[Place, Since] = {}
    last = len(history.nights) - 1
    for cell, rows in by_cell(history).items():
        nights, failing = rows["night"].tolist(), (rows["verdict"] == Verdict.FAIL.value).tolist()
        if nights[-1] != last or not failing[-1]:
            continue
        streak = next((at for at, bad in enumerate(reversed(failing)) if not bad), len(failing))
        start = len(failing) - streak
        found[cell] = Since(first=nights[start], nights=streak, before=nights[start - 1] if start else None)
    return found


def turned(history: History) -> pd.DataFrame:
    """Where the verdict of a cell is another than in the last night before that measured it.

    Returns:
        `night`, `cell`, `was` and `verdict`, by night.
    """
    measured = history.rows[history.rows["verdict"].isin(MEASURED)]
    was = measured["verdict"].shift().where(measured["cell"] == measured["cell"].shift())
    changed = measured.assign(was=was)[was.notna() & (was != measured["verdict"])]
    return changed[["night", "cell", "was", "verdict"]].sort_values(["night", "cell"], ignore_index=True)


def shifts(history: History) -> dict[Place, tuple[Shift, ...]]:
    """Cells whose p99 has changed its level, with the nights from which on. See `accuracy.trend` for the rule.

    Each regime is looked at on its own: under other limits a ratio means something else.
    """
    regime = [night.regime for night in history.nights]
    series: list[tuple[Place, list[int], NDArray[np.float64]]] = []
    for cell, rows in by_cell(history).items():
        places, values = rows["night"].tolist(), rows["p99"].to_numpy(dtype=np.float64)
        edges = [0, *(n for n in range(1, len(places)) if regime[places[n]] != regime[places[n - 1]]), len(places)]
        series += [
            (cell, places[low:high], values[low:high])
            for low, high in itertools.pairwise(edges)
            if len(np.unique(values[low:high])) > 1
        ]
    found: dict[Place, tuple[Shift, ...]] = {}
    for cell, nights, values in series:
        points = trend.change_points(values, series=len(series))
        levels = [float(np.median(part)) for part in np.split(values, points)]
        named = [
            Shift(night=nights[point], before=before, after=after)
            for point, (before, after) in zip(points, itertools.pairwise(levels), strict=True)
        ]
        if named:
            found[cell] = (*found.get(cell, ()), *named)
    return found


def place(key: Any) -> Place:
    """What names a cell, from anything with the five names in order."""
    case, device, dtype, stage, quantity = map(str, key)
    return case, device, dtype, stage, quantity


def differences(before: Night, after: Night) -> tuple[str, ...]:
    """What is recorded to differ between two nights: versions, machines, limits, profile, devices; in words."""
    found = [
        _moved(name, before.versions.get(name), after.versions.get(name))
        for name in _names(before.versions, after.versions)
    ]
    for device in _names(before.machines, after.machines):
        old, new = before.machines.get(device), after.machines.get(device)
        if old is None or new is None:
            found.append(f"{device} {'new' if old is None else 'gone'}")
            continue
        found += [_moved(f"{device} {name}", old.get(name), new.get(name)) for name in _names(old, new)]
    found.append(_moved("limits", before.limits_hash[:8], after.limits_hash[:8]))
    found.append(_moved("profile", before.profile, after.profile))
    return tuple(text for text in found if text)


def _names(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*after, *before]))


def _moved(name: str, old: object, new: object) -> str:
    return "" if old == new else f"{name} {'none' if old is None else old} → {'none' if new is None else new}"
