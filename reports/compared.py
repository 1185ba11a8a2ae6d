"""The comparison with a baseline: what became of each check, worst first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from accuracy import histogram
from accuracy.case import CELL, Verdict
from accuracy.change import CellChange, Outcome, counts, listed
from accuracy.histogram import Counts
from reports import links, words
from reports.frames import Cell

MOST = 100
"""Lines on the page, the worst first."""

SILENT = frozenset({Outcome.WITHIN_NOISE, Outcome.IDENTICAL, Outcome.NOT_COMPARED})
"""What is counted and not listed."""

ALL_BUT_ZERO = 25.0
"""A log ratio beyond this stands for a size that was zero in one of the runs."""

DOUBLED = math.log(2)
"""The log ratio beyond which a change is told as a factor and not in percent."""

SAID: Mapping[Outcome, tuple[str, str, Verdict]] = {
    Outcome.REGRESSED: ("✗", "Regressed", Verdict.FAIL),
    Outcome.GONE: ("✗", "Gone", Verdict.FAIL),
    Outcome.CHANGED: ("!", "Changed", Verdict.WARN),
    Outcome.IMPROVED: ("✓", "Improved", Verdict.PASS),
    Outcome.NEW: ("✓", "New", Verdict.PASS),
    Outcome.WITHIN_NOISE: ("✓", "Within noise", Verdict.PASS),
    Outcome.IDENTICAL: ("✓", "Identical", Verdict.PASS),
    Outcome.NOT_COMPARED: ("○", "Not compared", Verdict.NOT_RUN),
}
"""Symbol, words and colour of each outcome."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One check that is not as it was; links are empty where the page has nothing to lead to."""

    symbol: str
    word: str
    kind: str
    cell: str
    cell_href: str
    quantity: str
    pairs: str
    change: str
    p: str
    id: str
    href: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The section: the baseline in words, how many checks became what, and those that changed.

    `drawn` says whether its distributions stand on the page.
    """

    baseline: str
    how: str
    why_not: str
    drawn: bool
    counts: tuple[tuple[str, str, str, str], ...]
    lines: tuple[Line, ...]
    more: int


def build(
    manifest: Mapping[str, Any],
    comparison: pd.DataFrame | None,
    cells: set[Cell],
    cases: set[str],
) -> Compared | None:
    """The section of a run with a baseline, None without; `cells` and `cases` are those that the page can show."""
    if comparison is None:
        return None
    facts = manifest.get("comparison") or {}
    changes = listed(comparison)
    order = list(Outcome)
    told = sorted(
        (each for each in changes if each.outcome not in SILENT),
        key=lambda each: (order.index(each.outcome), words.stage_rank(each.stage), -_size(each), each.case),
    )
    paired = bool(facts.get("paired", True))
    return Compared(
        baseline=str(manifest["baseline"]),
        how="the same layers on the same inputs, pair by pair" if paired else "other draws, by their sizes",
        why_not=str(facts.get("why_not", "")),
        drawn=any(each.before_bins for each in changes),
        counts=_counts(changes),
        lines=tuple(_line(each, cells, cases) for each in told[:MOST]),
        more=max(0, len(told) - MOST),
    )


def distributions(comparison: pd.DataFrame | None) -> dict[tuple[str, ...], Counts]:
    """The baseline's histograms of error ÷ limit, by (case, device, dtype, stage, quantity), of those that have one."""
    if comparison is None:
        return {}
    columns = [comparison[name] for name in (*CELL, "before_bins", "before_counts")]
    found = {tuple(key): histogram.merge([(bins, number)]) for *key, bins, number in zip(*columns, strict=True)}
    return {key: counts for key, counts in found.items() if len(counts[0])}


def facts(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """The baseline in words, and the part of the comparison that did not happen."""
    known = manifest.get("comparison") or {}
    why_not = str(known.get("why_not", ""))
    how = "" if not known or known.get("paired", True) else ", by sizes: its plan is another"
    baseline = str(manifest["baseline"] or "none").removeprefix("bitsandbytes ")
    return f"{baseline}{'' if why_not else how}", f"not comparable: {why_not}" if why_not else ""


def _counts(changes: Sequence[CellChange]) -> tuple[tuple[str, str, str, str], ...]:
    found = counts(changes)
    return tuple(
        (SAID[outcome][0], SAID[outcome][1], SAID[outcome][2].value, words.count(found[outcome.value]))
        for outcome in Outcome
        if found[outcome.value]
    )


def _line(each: CellChange, cells: set[Cell], cases: set[str]) -> Line:
    symbol, word, kind = SAID[each.outcome]
    place = Cell(each.case, each.device, each.dtype)
    pairs = words.count(each.n)
    parts = ((each.identical, "identical"), (each.worse, "worse"), (each.better, "better"))
    if said := ", ".join(f"{number} {what}" for number, what in parts if number):
        pairs += f": {said}"
    return Line(
        symbol=symbol,
        word=word,
        kind=kind.value,
        cell=f"{each.case} on {each.device}, {words.dtype(each.dtype)}",
        cell_href=f"#{links.cell(place)}" if place in cells else "",
        quantity=f"{words.quantity(each.stage, each.quantity)} ({each.stage})",
        pairs=pairs,
        change=_change(each),
        p="" if math.isnan(each.p) else words.number(float(f"{each.p:.2g}")),
        id=each.worst_id,
        href=f"#{links.case(each.worst_id)}" if each.worst_id in cases else "",
        reason=words.clipped(each.reason, 200),
    )


def _size(each: CellChange) -> float:
    return 0.0 if math.isnan(each.effect) else abs(each.effect)


def _change(each: CellChange) -> str:
    """The median change of the size, in percent or, far beyond, as a factor."""
    if math.isnan(each.effect):
        return ""
    if abs(each.effect) > ALL_BUT_ZERO:
        return "from 0" if each.effect > 0 else "to 0"
    factor = math.exp(each.effect)
    if abs(each.effect) > DOUBLED:
        return f"{each.metric} × {words.number(factor)}"
    return f"{each.metric} {factor - 1:+.1%}"
