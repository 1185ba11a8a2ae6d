"""Cells to the verdict of the run, with its counts and reasons. Everything shown comes from these."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import pandas as pd

from accuracy.case import Dtype, Stage, Verdict
from accuracy.cell import Cell
from accuracy.verdicts import CHANGED, STAGE_ORDER

EXIT_CODES = {"release": 0, "do-not-release": 1, "incomplete": 3}
WORST_FIRST = (Verdict.FAIL, Verdict.NOT_RUN, Verdict.WARN, Verdict.NOT_SUPPORTED, Verdict.PASS)
_DTYPES = {dtype: place for place, dtype in enumerate(get_args(Dtype))}


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
