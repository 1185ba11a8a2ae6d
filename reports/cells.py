"""One section a cell: its quantities with their distributions, what the error depends on, its worst cases."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accuracy import histogram
from accuracy.case import EXPLORED, Verdict
from accuracy.histogram import Counts
from accuracy.verdicts import CHANGED
from reports import caselist, distributions, drivers, known, links, telling, words
from reports.axes import LogAxis
from reports.caselist import CaseRow
from reports.causes import Cause
from reports.charts import Chart
from reports.distributions import Strip
from reports.drivers import StratumRow, Term
from reports.frames import Cell, Frames, by_cell, records
from reports.matrix import DISTRIBUTION_STAGES, Standing
from reports.past import Past, Trend, failing_since, trend

FEWEST_BINS = 4
"""Bins from which a histogram has a shape; exact stages that fail have two, right and wrong."""

HARD = "hard"
"""The limit that goes without saying: error ÷ limit of no element above 1."""

EMPTY = histogram.zeros(0)
NO_ROWS: NDArray[np.int64] = np.empty(0, dtype=np.int64)

LINKED = (Verdict.FAIL, Verdict.WARN)
"""Verdicts whose worst case is worth a look."""


@dataclass(frozen=True, kw_only=True)
class QuantityRow:
    """One (stage, quantity) of a cell."""

    anchor: str
    stage: str
    quantity: str
    name: str
    kind: str
    symbol: str
    word: str
    margin: str
    margin_value: float
    failing: str
    basis: str
    broken: str
    reason: str
    since: str
    known: str
    findings: str
    basis_href: str
    worst_id: str
    worst_href: str
    strip: Strip


@dataclass(frozen=True, kw_only=True)
class CellSection:
    """A cell, ready to show; `said` are the causes that reach into it, with their addresses."""

    anchor: str
    cell: Cell
    layer: str
    place: str
    kind: str
    symbol: str
    word: str
    margin: str
    margin_value: float
    focus: str
    drawn: str
    strip: Strip
    said: tuple[tuple[str, str], ...]
    quantities: tuple[QuantityRow, ...]
    charts: tuple[Chart, ...]
    trend: Trend | None
    terms: tuple[Term, ...]
    strata: tuple[StratumRow, ...]
    cases: tuple[CaseRow, ...]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What every section is made from; `before` has the baseline's error ÷ limit, by (cell, stage, quantity).

    `held` says whether the page has a section on the baseline.
    """

    frames: Frames
    before: Mapping[tuple[str, ...], Counts]
    axis: LogAxis
    run: str
    past: Past | None
    bases: Container[str]
    held: bool


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The rows of one cell: its verdicts, and its part of `Frames.worst`."""

    verdicts: Sequence[Mapping[str, Any]]
    worst: NDArray[np.int64]


def build(material: Material, standing: Mapping[Cell, Standing]) -> tuple[CellSection, ...]:
    """All cells, worst first, and nothing yet of causes."""
    verdicts, worst = by_cell(records(material.frames.verdicts)), _worst(material.frames)
    theory = drivers.against_theory(material.frames)

    def badness(cell: Cell) -> tuple[int, float, int, Cell]:
        found = standing[cell]
        return *words.verdict_order(found.verdict, found.ratio), -found.failing, cell

    sections = (
        _section(
            material,
            cell,
            standing[cell],
            _Rows(verdicts=verdicts[cell], worst=worst.get(cell, NO_ROWS)),
            [theory[cell]] if cell in theory else [],
        )
        for cell in sorted(standing, key=badness)
    )
    return _anchored(sections)


def explained(sections: Iterable[CellSection], found: Sequence[Cause]) -> tuple[CellSection, ...]:
    """The sections with the causes that reach into each."""
    said = [
        (f"#cause-{place}", telling.sentence(cause), set(cause.cells)) for place, cause in enumerate(found, start=1)
    ]
    return tuple(
        replace(section, said=tuple((href, sentence) for href, sentence, cells in said if section.cell in cells))
        for section in sections
    )


def _worst(frames: Frames) -> dict[Cell, NDArray[np.int64]]:
    """The rows of `Frames.worst` of each cell."""
    found: dict[Cell, list[int]] = {}
    for cell, row in zip(
        zip(*(frames.columns[name][frames.worst] for name in Cell._fields), strict=True), frames.worst, strict=True
    ):
        found.setdefault(Cell(*cell), []).append(row)
    return {cell: np.array(rows, dtype=np.int64) for cell, rows in found.items()}


def _anchored(sections: Iterable[CellSection]) -> tuple[CellSection, ...]:
    """Each case carries its anchor in the first section that shows it, and in no other."""
    met: set[str] = set()
    found = []
    for section in sections:
        rows = tuple(replace(row, anchor="") if row.id in met else row for row in section.cases)
        met.update(row.id for row in rows)
        found.append(replace(section, cases=rows))
    return tuple(found)


def _section(material: Material, cell: Cell, standing: Standing, rows: _Rows, theory: Sequence[Chart]) -> CellSection:
    charted = _charted(material.frames, cell, rows.verdicts)
    counts = material.frames.histograms[charted] if charted else EMPTY
    return CellSection(
        anchor=links.cell(cell),
        cell=cell,
        layer=material.frames.layers[cell.case],
        place=f"{cell.device} {words.dtype(cell.dtype)}",
        kind=standing.verdict.value,
        symbol=words.SYMBOLS[standing.verdict],
        word=words.VERDICTS[standing.verdict],
        margin=standing.margin,
        margin_value=words.margin_value(standing.ratio),
        focus=words.quantity(standing.stage, standing.quantity),
        drawn=words.quantity(*charted[-2:]).lower() if charted else "",
        strip=distributions.strip(counts, material.axis, material.before.get(charted) if charted else None),
        said=(),
        quantities=tuple(_quantity(row, cell, material) for row in rows.verdicts),
        charts=(
            *(_charts(material, charted) if charted else ()),
            *theory,
        ),
        trend=_trend(material.past, cell, charted),
        terms=drivers.terms(material.frames, cell),
        strata=drivers.strata(material.frames, rows.worst[material.frames.columns["origin"][rows.worst] != EXPLORED]),
        cases=caselist.worst_of(material.frames, rows.worst, material.run),
    )


def _charted(frames: Frames, cell: Cell, verdicts: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """The quantity worth drawing: the worst of those whose errors spread; by design ones last."""
    drawn = [
        (
            len(frames.histograms[key][0]) < FEWEST_BINS,
            row["stage"] in DISTRIBUTION_STAGES,
            *words.verdict_order(row["verdict"], row["worst_ratio"]),
            place,
            key,
        )
        for place, row in enumerate(verdicts)
        for key in ((*cell, str(row["stage"]), str(row["quantity"])),)
        if key in frames.histograms and frames.histograms[key][0].any()
    ]
    return min(drawn)[-1] if drawn else None


def _charts(material: Material, charted: tuple[str, ...]) -> tuple[Chart, ...]:
    frames, name = material.frames, words.quantity(*charted[-2:])
    drawn = distributions.distribution(frames.histograms[charted], name, material.before.get(charted))
    return drawn + drivers.charts_of(frames, frames.places[charted], name)


def _trend(past: Past | None, cell: Cell, charted: tuple[str, ...] | None) -> Trend | None:
    if past is None or charted is None:
        return None
    *_, stage, quantity = charted
    return trend(past, (*cell, stage, quantity), words.quantity(stage, quantity))


def _quantity(row: Mapping[str, Any], cell: Cell, material: Material) -> QuantityRow:
    stage, name = str(row["stage"]), str(row["quantity"])
    verdict = Verdict(row["verdict"])
    ratio = float(row["worst_ratio"])
    judged = verdict not in (Verdict.NOT_RUN, Verdict.NOT_SUPPORTED)
    identity = str(row["worst_id"] or "")
    place = (*cell, stage, name)
    counts = material.frames.histograms.get(place, EMPTY)
    fits = material.frames.fits.get(place, [])
    return QuantityRow(
        anchor=links.quantity(cell, stage, name) if verdict in LINKED else "",
        stage=stage,
        quantity=name,
        name=words.quantity(stage, name),
        kind=verdict.value,
        symbol=words.SYMBOLS[verdict],
        word=words.VERDICTS[verdict],
        margin=words.standing(stage, ratio) if judged else "–",
        margin_value=words.margin_value(ratio),
        failing=f"{row['failing']} of {row['n']}" if judged else "–",
        basis="held against the baseline" if row["basis"] == CHANGED else words.clipped(str(row["basis"])),
        broken="" if row["limit_id"] in (HARD, CHANGED) else str(row["limit_id"]),
        reason="" if verdict is Verdict.PASS else words.clipped(str(row["reason"])),
        known=known.said(fits),
        findings=" ".join(dict.fromkeys(name for names in fits for name in names)),
        basis_href=_why(str(row["basis"]), material),
        since=failing_since(material.past, [place]) if material.past else "",
        worst_id=identity,
        worst_href="#" + links.case(identity) if verdict in LINKED else "",
        strip=distributions.strip(counts, material.axis, material.before.get(place)),
    )


def _why(basis: str, material: Material) -> str:
    """Where the page says why a limit is what it is; empty where it does not."""
    if basis == CHANGED:
        return "#comparison" if material.held else ""
    return "#" + links.basis(basis) if basis in material.bases else ""
