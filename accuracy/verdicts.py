"""Judged rows to one verdict a cell, and cells to the verdict of the run. Everything shown comes from these."""

import datetime
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import pandas as pd

from accuracy.case import EXPLORED, Stage, Status, Verdict
from accuracy.waivers import Waiver

EXIT_CODES = {"release": 0, "do-not-release": 1, "incomplete": 3}
WORST_FIRST = (Verdict.FAIL, Verdict.NOT_RUN, Verdict.WARN, Verdict.NOT_SUPPORTED, Verdict.PASS)
STAGE_ORDER = {stage.value: number for number, stage in enumerate(Stage)}
CAN_CAUSE = {
    Stage.COMPUTE.value: {Stage.DECODE.value},
    Stage.QUANTIZATION.value: {Stage.ENCODE.value, Stage.DECODE.value, Stage.COMPUTE.value},
}
"""For each stage the earlier ones whose fault it must show too, by what it compares. Decoding starts from the
stored bytes and the compute oracle from our own decoding, so a wrong code is no excuse for either."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a verdict needs of one judged row of observations."""

    id: str
    case: str
    origin: str
    device: str
    dtype: str
    stage: str
    quantity: str
    status: str
    ratio: float
    basis: str
    reason: str
    broken: str
    warned: str
    explained: bool
    strata: Sequence[str]

    @property
    def failed(self) -> bool:
        """Whether the library was seen to fail, by a number, a crash or a hang."""
        return self.status in {Status.FAIL, Status.CRASH, Status.TIMEOUT}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The verdict of one (case, device, dtype, stage, quantity).

    `n` counts the rows that ran, `failing` those that failed. The worst of a cell that does not fail is
    that of its planned rows, so that nights compare whatever a search found. `caused_by` names the earlier
    stage/quantity that fails in each of the failing cases and must show here too, "" otherwise. `p99` and
    `largest` are the 0.99 quantile (inverse distribution function) and the maximum of `ratio` over the planned
    rows that were measured, for the trend over nights; NaN counts as larger than any number.
    """

    case: str
    device: str
    dtype: str
    stage: str
    quantity: str
    verdict: Verdict
    worst_ratio: float
    worst_id: str
    n: int
    failing: int
    caused_by: str
    limit_id: str
    basis: str
    reason: str
    p99: float = math.nan
    largest: float = math.nan


def cells(judged: pd.DataFrame, strata: Mapping[str, Sequence[str]]) -> list[Cell]:
    """One cell for each (case, device, dtype, stage, quantity) that occurs, in order of occurrence.

    `strata` names those that each case must touch, in each dtype, on each device that ran it; one
    that never occurred is a cell of its own, NOT RUN, and so is one that the device refused, NOT SUPPORTED.

    A cell fails with one failing row, unless all of them are explained, by a lower precision or
    by the failure of an earlier stage in the same case (a warning: that stage's cell fails). A row
    that did not run makes the cell NOT RUN: it never counts as a pass.
    """
    names = [field.name for field in fields(Row)]
    rows = [Row(**dict(zip(names, values, strict=True))) for values in judged[names].itertuples(index=False)]
    roots = _roots(rows)
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(_place(row), []).append(row)
    return [*(_cell(group, roots) for group in groups.values()), *_missing_strata(rows, strata)]


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


def summarize(judged: pd.DataFrame, verdicts: Sequence[Cell]) -> dict[str, Any]:
    """The content of `verdict.json`: verdict, exit code, counts, reasons worst first, and every cell."""
    counts = {verdict.value: sum(cell.verdict is verdict for cell in verdicts) for verdict in Verdict}
    verdict = overall(counts)
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
        "reasons": _reasons(verdicts),
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


def overall(counts: Mapping[str, int]) -> str:
    """The verdict of a run from the number of its cells by verdict.

    No cell that passes or warns makes an incomplete run: nothing was shown to be right.
    """
    if counts["fail"]:
        return "do-not-release"
    return "incomplete" if counts["not_run"] or not counts["pass"] + counts["warn"] else "release"


def json_number(value: float) -> float | str:
    """`value` as strict JSON can carry it: infinities and NaN as the words "inf", "-inf" and "nan"."""
    return value if math.isfinite(value) else str(value)


def _missing_strata(rows: Sequence[Row], strata: Mapping[str, Sequence[str]]) -> Iterator[Cell]:
    """A cell for each stratum that no row touches, NOT RUN.

    And one, NOT SUPPORTED, for each that was refused wherever it was touched, unless a cell says so already: the
    refusals of some strata do not show in a cell in which others ran.
    """
    ran = {_place(row) for row in rows if row.status not in {Status.NOT_RUN, Status.NOT_SUPPORTED}}
    touched: dict[tuple[str, str, str], set[str]] = {}
    refused: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in rows:
        # A crash leaves no other trace of what it was drawn for than its origin.
        names = [*row.strata, row.origin.removeprefix("stratum:")]
        if row.origin == EXPLORED:
            continue  # what was hunted for, and not drawn for a stratum
        if row.status == Status.NOT_SUPPORTED and _place(row) in ran:
            refused.setdefault(_place(row)[:3], {}).update((name, row.reason) for name in names)
        elif row.status != Status.NOT_RUN:
            touched.setdefault(_place(row)[:3], set()).update(names)
    for place, seen in touched.items():
        for name in strata.get(place[0], ()):
            if name not in seen:
                yield _missing(place, name, refused.get(place, {}).get(name, ""))


def _place(row: Row) -> tuple[str, str, str, str, str]:
    return row.case, row.device, row.dtype, row.stage, row.quantity


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


def _roots(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, str]]:
    """For each failing (id, device): the stages that fail there, each with one failing quantity."""
    failing: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        if row.status == Status.FAIL:
            failing.setdefault((row.id, row.device), {}).setdefault(row.stage, f"{row.stage}/{row.quantity}")
    return failing


def _cause(row: Row, roots: dict[tuple[str, str], dict[str, str]]) -> str:
    """The first failing stage/quantity of the same case that this row must show too, "" if there is none."""
    failing = roots.get((row.id, row.device), {})
    stages = sorted(CAN_CAUSE.get(row.stage, set()) & set(failing), key=lambda stage: STAGE_ORDER[stage])
    return failing[stages[0]] if stages else ""


def _cell(group: Sequence[Row], roots: dict[tuple[str, str], dict[str, str]]) -> Cell:
    failed = [row for row in group if row.failed]
    own = [row for row in failed if not row.explained and not _cause(row, roots)]
    ran = [row for row in group if row.status not in {Status.NOT_RUN, Status.NOT_SUPPORTED}]
    idle = [row for row in group if row.status == Status.NOT_RUN]
    warned = [row for row in group if row.warned]
    if own:
        verdict, shown = Verdict.FAIL, own
    elif idle:
        verdict, shown = Verdict.NOT_RUN, idle
    elif failed:
        verdict, shown = Verdict.WARN, failed
    elif warned:
        verdict, shown = Verdict.WARN, warned
    elif ran:
        verdict, shown = Verdict.PASS, ran
    else:
        verdict, shown = Verdict.NOT_SUPPORTED, list(group)
    if verdict is not Verdict.FAIL:
        shown = [row for row in shown if row.origin != EXPLORED] or shown
    worst = max(shown, key=lambda row: math.inf if math.isnan(row.ratio) else row.ratio)
    caused_by = "" if own or worst.explained else _cause(worst, roots)
    reason = worst.reason or (f"outside the warning limit {worst.warned!r}" if worst.warned else "")
    return Cell(
        case=worst.case,
        device=worst.device,
        dtype=worst.dtype,
        stage=worst.stage,
        quantity=worst.quantity,
        verdict=verdict,
        worst_ratio=worst.ratio,
        worst_id=worst.id,
        n=len(ran),
        failing=len(failed),
        caused_by=caused_by,
        limit_id=worst.broken or worst.warned,
        basis=worst.basis,
        reason=f"only where {caused_by} fails; {reason}" if caused_by else reason,
        p99=_quantile(ran, 0.99),
        largest=_quantile(ran, 1.0),
    )


def _quantile(ran: Sequence[Row], q: float) -> float:
    """The inverse distribution function of the planned rows' ratios; NaN without any."""
    ratios = [row.ratio for row in ran if row.origin != EXPLORED and row.status in {Status.OK, Status.FAIL}]
    ratios.sort(key=lambda ratio: (math.isnan(ratio), ratio))
    return ratios[math.ceil(q * len(ratios)) - 1] if ratios else math.nan


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


def _rank(group: Sequence[Cell]) -> tuple[int, float, int]:
    worst = max(math.inf if math.isnan(cell.worst_ratio) else cell.worst_ratio for cell in group)
    return WORST_FIRST.index(group[0].verdict), -worst, -sum(cell.failing for cell in group)


def _reason(group: Sequence[Cell]) -> dict[str, Any]:
    worst = max(group, key=lambda cell: math.inf if math.isnan(cell.worst_ratio) else cell.worst_ratio)
    failing, n = sum(cell.failing for cell in group), sum(cell.n for cell in group)
    where = f"{worst.case} on {worst.device} in {', '.join(cell.dtype for cell in group)}"
    what = (
        f"did not run: {worst.reason}"
        if worst.verdict is Verdict.NOT_RUN
        else f"{worst.stage}/{worst.quantity} is off in {failing} of {n} cases; {worst.reason}"
    )
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
