"""Judged rows to one verdict a cell, and cells to the verdict of the run. Everything shown comes from these."""

import datetime
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accuracy.case import BROKEN, CELL, EXPLORED, MEASURED, Dtype, Stage, Status, Verdict
from accuracy.cell import Cell
from accuracy.waivers import Waiver

CHANGED = "change"
"""Basis, and in the place of a limit, of what a comparison with a baseline decides."""

EXIT_CODES = {"release": 0, "do-not-release": 1, "incomplete": 3}
WORST_FIRST = (Verdict.FAIL, Verdict.NOT_RUN, Verdict.WARN, Verdict.NOT_SUPPORTED, Verdict.PASS)
_DID_NOT = (Status.NOT_RUN.value, Status.NOT_SUPPORTED.value)
_RULES = (Verdict.FAIL, Verdict.NOT_RUN, Verdict.WARN, Verdict.WARN, Verdict.PASS, Verdict.NOT_SUPPORTED)
"""What is said of a cell with a row that failed of its own, did not run, failed at all, warned, ran; or with none."""

_DTYPES = {dtype: place for place, dtype in enumerate(get_args(Dtype))}
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


def summarize(
    judged: pd.DataFrame,
    verdicts: Sequence[Cell],
    *,
    lacking: Sequence[Cell] = (),
    gaps: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """The content of `verdict.json`: verdict, exit code, counts, reasons worst first, and every cell.

    `gaps` say, each by device and in words, what keeps the run from being the whole of its plan; the cells that
    are `lacking` for that give no reasons of their own.
    """
    told, verdicts = _reasons(verdicts), [*verdicts, *lacking]
    counts = {verdict.value: sum(cell.verdict is verdict for cell in verdicts) for verdict in Verdict}
    verdict = overall(counts, whole=not gaps)
    return {
        "schema": 1,
        "verdict": verdict,
        "exit_code": EXIT_CODES[verdict],
        "counts": {
            "cells": len(verdicts),
            **counts,
            "cases": len(judged[["id", "device"]].drop_duplicates()),
            "observations": len(judged),
            "elements": int(judged["count"].sum()),
        },
        "reasons": sorted(
            [*(_gap(device, text) for device, text in gaps), *told],
            key=lambda reason: WORST_FIRST.index(Verdict(reason["verdict"])),
        ),
        "cells": [
            {
                "case": cell.case,
                "device": cell.device,
                "dtype": cell.dtype,
                "stage": cell.stage,
                "quantity": cell.quantity,
                "verdict": cell.verdict.value,
                "worst_ratio": json_number(cell.worst_ratio),
                "worst_id": cell.worst_id,
                "n": cell.n,
            }
            for cell in verdicts
        ],
    }


def overall(counts: Mapping[str, int], *, whole: bool = True) -> str:
    """The verdict of a run from the number of its cells by verdict, and whether it is the whole of its plan.

    No cell that passes or warns makes an incomplete run: nothing was shown to be right.
    """
    if counts["fail"]:
        return "do-not-release"
    return "release" if whole and not counts["not_run"] and counts["pass"] + counts["warn"] else "incomplete"


def json_number(value: float) -> float | str:
    """`value` as strict JSON can carry it: infinities and NaN as the words "inf", "-inf" and "nan"."""
    return value if math.isfinite(value) else str(value)


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
    return pd.Series([*map(tuple, strata)], index=strata.index, dtype=object)


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


def _reasons(verdicts: Sequence[Cell]) -> list[dict[str, Any]]:
    """One reason for each (verdict, case, device, stage, quantity) at the root of a verdict, worst first.

    Cells that fail only because an earlier stage of the same cases fails are left to that stage.
    """
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in verdicts:
        if cell.verdict in WORST_FIRST[:3] and not cell.caused_by:
            groups.setdefault((cell.verdict, cell.case, cell.device, cell.stage, cell.quantity), []).append(cell)
    return [_reason(group) for group in sorted(groups.values(), key=_rank)]


def _rank(group: Sequence[Cell]) -> tuple[Any, ...]:
    worst = max(math.inf if math.isnan(cell.worst_ratio) else cell.worst_ratio for cell in group)
    one = group[0]
    place = (one.case, one.device, STAGE_ORDER.get(one.stage, len(STAGE_ORDER)), one.quantity)
    return WORST_FIRST.index(one.verdict), -worst, -sum(cell.failing for cell in group), *place


def _gap(device: str, text: str) -> dict[str, Any]:
    """The reason of a gap, which has no cell."""
    return {
        "verdict": Verdict.NOT_RUN.value,
        "case": "",
        "device": device,
        "dtype": "",
        "stage": Stage.CONTRACT.value,
        "quantity": "shards",
        "worst_id": "",
        "worst_ratio": json_number(math.nan),
        "failing": 0,
        "n": 0,
        "text": text,
    }


def _reason(group: Sequence[Cell]) -> dict[str, Any]:
    group = sorted(group, key=lambda cell: (_DTYPES.get(cell.dtype, len(_DTYPES)), cell.dtype))
    worst = max(group, key=lambda cell: math.inf if math.isnan(cell.worst_ratio) else cell.worst_ratio)
    failing, n = sum(cell.failing for cell in group), sum(cell.n for cell in group)
    where = f"{worst.case} on {worst.device} in {', '.join(cell.dtype for cell in group)}"
    what = f"{worst.stage}/{worst.quantity} is off in {failing} of {n} cases; {worst.reason}"
    if worst.verdict is Verdict.NOT_RUN:
        what = f"did not run: {worst.reason}"
    elif worst.limit_id == CHANGED:
        what = f"{worst.stage}/{worst.quantity} is {worst.reason}"
    return {
        "verdict": worst.verdict.value,
        "case": worst.case,
        "device": worst.device,
        "dtype": worst.dtype,
        "stage": worst.stage,
        "quantity": worst.quantity,
        "worst_id": worst.worst_id,
        "worst_ratio": json_number(worst.worst_ratio),
        "failing": failing,
        "n": n,
        "text": f"{where}: {what}",
    }
