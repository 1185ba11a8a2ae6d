"""Judged rows to one verdict a cell, and what is known of deviations. `accuracy.summary` goes on from there."""

import datetime
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from accuracy import lists
from accuracy.case import BROKEN, CELL, EXPLORED, MEASURED, Stage, Status, Verdict
from accuracy.cell import Cell
from accuracy.waivers import Waiver

CHANGED = "change"
"""Basis, and in the place of a limit, of what a comparison with a baseline decides."""

_DID_NOT = (Status.NOT_RUN.value, Status.NOT_SUPPORTED.value)
_RULES = (Verdict.FAIL, Verdict.NOT_RUN, Verdict.WARN, Verdict.WARN, Verdict.PASS, Verdict.NOT_SUPPORTED)
"""What is said of a cell with a row that failed of its own, did not run, failed at all, warned, ran; or with none."""

STAGE_ORDER = {stage.value: number for number, stage in enumerate(Stage)}
CAN_CAUSE = {
    Stage.COMPUTE.value: {Stage.DECODE.value},
    Stage.QUANTIZATION.value: {Stage.ENCODE.value, Stage.DECODE.value, Stage.COMPUTE.value},
}
"""For each stage the earlier ones whose fault it must show too, by what it compares. Decoding starts from the
stored bytes and the compute oracle from our own decoding, so a wrong code is no excuse for either."""


def cells(judged: pd.DataFrame, strata: Mapping[str, Sequence[str]]) -> list[Cell]:
    """One cell for each (case, device, dtype, stage, quantity) that occurs, in order of occurrence.

    `strata` names those that each case must touch, in each dtype, on each device that ran it; one
    that never occurred is a cell of its own, NOT RUN, and so is one that the device refused, NOT SUPPORTED.

    A cell fails with one failing row, unless all of them are explained, by a lower precision or
    by the failure of an earlier stage in the same case (a warning: that stage's cell fails). A row
    that did not run makes the cell NOT RUN: it never counts as a pass.
    """
    rows = judged.reset_index(drop=True)
    return [*_cells(rows), *_missing_strata(rows, strata)] if len(rows) else []


def waive(judged: Sequence[Cell], waivers: Sequence[Waiver], today: datetime.date) -> list[Cell]:
    """Cells with known deviations taken into account.

    A failing cell inside a valid waiver's interval is a warning; outside it, or after its last
    day, it fails and says so. A waiver that meets cells but no failure is a warning: remove it.
    """
    waived = list(judged)
    for waiver in waivers:
        covered = [
            number
            for number, cell in enumerate(waived)
            if waiver.covers(cell.case, cell.device, cell.dtype, cell.stage, cell.quantity)
        ]
        failing = [number for number in covered if waived[number].verdict is Verdict.FAIL]
        for number in failing:
            waived[number] = _waived(waived[number], waiver, today)
        passing = [number for number in covered if waived[number].verdict is Verdict.PASS]
        if passing and not failing:
            gone = f"waiver {waiver.id} is not needed any more: remove it ({waiver.link})"
            waived[passing[0]] = replace(waived[passing[0]], verdict=Verdict.WARN, reason=gone)
    return waived


def frame(judged: Iterable[Cell]) -> pd.DataFrame:
    """Cells as the table that `verdicts.parquet` holds, one row a cell."""
    columns = [field.name for field in fields(Cell)]
    return pd.DataFrame([asdict(cell) | {"verdict": cell.verdict.value} for cell in judged], columns=columns)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as `frame` makes it, as the fields of cells."""
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    return [row | {"verdict": Verdict(row["verdict"])} for row in rows]


def _missing_strata(rows: pd.DataFrame, strata: Mapping[str, Sequence[str]]) -> Iterator[Cell]:
    """A cell for each stratum that no row touches, NOT RUN.

    And one, NOT SUPPORTED, for each that was refused wherever it was touched, unless a cell says so already: the
    refusals of some strata do not show in a cell in which others ran.
    """
    drawn = rows[[*CELL, "origin", "status", "reason"]].assign(strata=_hashable(rows["strata"]))
    drawn = drawn[(drawn["origin"] != EXPLORED) & (drawn["status"] != Status.NOT_RUN.value)]
    no = drawn["status"] == Status.NOT_SUPPORTED.value
    ran = set(drawn.loc[~no, list(CELL)].drop_duplicates().itertuples(index=False, name=None))
    did = drawn[~no].drop_duplicates(["case", "device", "dtype", "origin", "strata"])
    kinds = pd.concat([did, drawn[no].drop_duplicates()]).sort_index()
    touched: dict[tuple[str, str, str], set[str]] = {}
    refused: dict[tuple[str, str, str], dict[str, str]] = {}
    for *place, origin, status, reason, drawn in kinds.itertuples(index=False, name=None):
        case, device, dtype, *_ = map(str, place)
        # A crash leaves no other trace of what it was drawn for than its origin.
        names = [*drawn, origin.removeprefix("stratum:")]
        if status == Status.NOT_SUPPORTED and tuple(place) in ran:
            refused.setdefault((case, device, dtype), {}).update((name, reason) for name in names)
        else:
            touched.setdefault((case, device, dtype), set()).update(names)
    for where, seen in touched.items():
        for name in strata.get(where[0], ()):
            if name not in seen:
                yield _missing(where, name, refused.get(where, {}).get(name, ""))


def _hashable(strata: "pd.Series[Any]") -> "pd.Series[Any]":
    """Lists of names as tuples. Those of a merged run are categories, and tuples already."""
    if isinstance(strata.dtype, pd.CategoricalDtype):
        return strata
    texts: Any = pc.binary_join(lists.of(strata, pa.string()), lists.APART)
    numbered = texts.dictionary_encode()
    tuples = lists.named(numbered.dictionary.to_pylist())
    return pd.Series([tuples[code] for code in numbered.indices.to_pylist()], index=strata.index, dtype=object)


def _missing(place: tuple[str, str, str], stratum: str, refused: str) -> Cell:
    case, device, dtype = place
    return Cell(
        case=case,
        device=device,
        dtype=dtype,
        stage=Stage.CONTRACT.value,
        quantity=f"stratum {stratum}",
        verdict=Verdict.NOT_SUPPORTED if refused else Verdict.NOT_RUN,
        worst_ratio=math.nan,
        worst_id="",
        n=0,
        failing=0,
        caused_by="",
        limit_id="",
        basis="every boundary of the format is in every plan",
        reason=refused or f"the stratum {stratum!r} never occurred",
    )


def _cells(rows: pd.DataFrame) -> Iterator[Cell]:
    """The cells of the rows that there are; columns are looked at as a whole, since a night may have millions."""
    status, planned = rows["status"], (rows["origin"] != EXPLORED).to_numpy()
    failed = status.isin(BROKEN).to_numpy()
    ran = ~status.isin(_DID_NOT).to_numpy()
    idle = (status == Status.NOT_RUN.value).to_numpy()
    warned = (rows["warned"] != "").to_numpy()
    excused = rows["explained"].to_numpy(dtype=bool)
    ratio = rows["ratio"].to_numpy(dtype=np.float64)
    causes = _causes(rows, failed)
    own = failed & ~excused & np.array([not cause for cause in causes], dtype=bool)
    groups = rows.groupby(list(CELL), sort=False, observed=True)
    group = np.asarray(groups.ngroup(), dtype=np.int64)
    has = [np.bincount(group, weights=mask) > 0 for mask in (own, idle, failed, warned, ran)]
    rule = np.select(has, range(len(has)), len(has))
    shown = np.choose(rule[group], [own, idle, failed, warned, ran, np.ones_like(ran)])
    shown &= planned | (rule == 0)[group] | (np.bincount(group, weights=shown & planned) == 0)[group]
    worst = _first(group, np.where(shown, np.where(np.isnan(ratio), -np.inf, -ratio), np.nan), rows["id"])
    measured = ran & planned & status.isin(MEASURED).to_numpy()
    n, failing = (np.bincount(group, weights=mask).astype(int).tolist() for mask in (ran, failed))
    p99, largest = _quantiles(group, ratio, measured, (0.99, 1.0))
    told = rows.iloc[worst]
    for number, (place, row) in enumerate(zip(worst.tolist(), told.to_dict("records"), strict=True)):
        verdict = _RULES[rule[number]]
        caused_by = "" if rule[number] == 0 or row["explained"] else causes[place]
        reason = row["reason"] or (f"outside the warning limit {row['warned']!r}" if row["warned"] else "")
        yield Cell(
            **{name: str(row[name]) for name in CELL},
            verdict=verdict,
            worst_ratio=float(row["ratio"]),
            worst_id=str(row["id"]),
            n=n[number],
            failing=failing[number],
            caused_by=caused_by,
            limit_id=str(row["broken"] or row["warned"]),
            basis=str(row["basis"]),
            reason=f"only where {caused_by} fails; {reason}" if caused_by else str(reason),
            p99=p99[number],
            largest=largest[number],
        )


def _causes(rows: pd.DataFrame, failed: NDArray[np.bool_]) -> list[str]:
    """For each row that failed the first failing stage/quantity of the same case that it must show too, else ""."""
    causes = [""] * len(rows)
    named = [rows.loc[failed, name].astype(object).tolist() for name in ("id", "device", "stage", "quantity", "status")]
    failing: dict[tuple[str, str], dict[str, str]] = {}
    for identity, device, stage, quantity, status in zip(*named, strict=True):
        if status == Status.FAIL:
            failing.setdefault((identity, device), {}).setdefault(stage, f"{stage}/{quantity}")
    for place, identity, device, stage, *_ in zip(np.flatnonzero(failed).tolist(), *named, strict=True):
        there = failing.get((identity, device), {})
        if stages := CAN_CAUSE.get(stage, set()) & there.keys():
            causes[place] = there[min(stages, key=STAGE_ORDER.__getitem__)]
    return causes


def _first(group: NDArray[np.int64], key: NDArray[np.float64], ids: "pd.Series[str]") -> NDArray[np.int64]:
    """The place of the row of each group with the smallest key, NaN last, and of equals that of the smallest id."""
    smallest = np.full(group.max() + 1, math.nan)
    np.fmin.at(smallest, group, key)
    least = smallest[group]
    places = np.flatnonzero((key == least) | np.isnan(least))
    codes, names = pd.factorize(ids.iloc[places])
    rank = np.argsort(pd.Index(np.asarray(names, dtype=object)).argsort())
    order = places[np.lexsort((rank[codes], group[places]))]
    _, starts = np.unique(group[order], return_index=True)
    return np.asarray(order[starts])


def _quantiles(
    group: NDArray[np.int64], ratio: NDArray[np.float64], measured: NDArray[np.bool_], wanted: Sequence[float]
) -> list[list[float]]:
    """For each quantile and group the inverse distribution function of the measured ratios.

    NaN is the largest; a group without any has NaN.
    """
    values, of = ratio[measured], group[measured]
    order = np.lexsort((values, of))
    values = values[order]
    there, starts, number = np.unique(of[order], return_index=True, return_counts=True)
    found = np.full((len(wanted), group.max() + 1), math.nan)
    for row, q in zip(found, wanted, strict=True):
        row[there] = values[starts + np.ceil(q * number).astype(np.int64) - 1]
    return [[float(value) for value in row] for row in found]


def _waived(cell: Cell, waiver: Waiver, today: datetime.date) -> Cell:
    if today > waiver.expires:
        return replace(cell, reason=f"waiver {waiver.id} expired on {waiver.expires}; {cell.reason}")
    if not waiver.at_least <= cell.worst_ratio <= waiver.at_most:
        expected = f"{waiver.at_least:g} to {waiver.at_most:g}"
        note = f"ratio {cell.worst_ratio:.3g} is outside waiver {waiver.id}, which expects {expected}"
        return replace(cell, reason=f"{note}; {cell.reason}")
    note = f"waived by {waiver.owner} until {waiver.expires}: {waiver.reason} ({waiver.link})"
    return replace(cell, verdict=Verdict.WARN, reason=f"{note}; {cell.reason}")
