"""The page as values: every section as rows of text and places, ready for templates that compute nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from accuracy.signature import Signatures
from reports import (
    caselist,
    causes,
    cells,
    charts,
    compared,
    diagnosis,
    dispatch,
    distributions,
    explored,
    frames,
    gaps,
    head,
    island,
    known,
    links,
    matrix,
    pairs,
    power,
    signoff,
    telling,
    words,
)
from reports.axes import Tick, compact
from reports.caselist import CaseRow
from reports.cells import CellSection, Material
from reports.charts import Chart, Shared
from reports.compared import Compared
from reports.dispatch import Coverage
from reports.explored import Exploration
from reports.frames import Cell
from reports.gaps import Gap
from reports.head import Banner, Fact, Reason
from reports.known import Finding
from reports.matrix import Matrix
from reports.pairs import Pairs
from reports.past import Past
from reports.power import Power
from reports.scripts import Script
from reports.signoff import SignOff
from reports.table import Table

if TYPE_CHECKING:
    from accuracy.shrunk import Shrunk

AXIS_TICKS = 8
NO_SIGNATURES = Signatures()


@dataclass(frozen=True, kw_only=True)
class CauseBlock:
    """One cause: what is wrong, how that is known, and where to begin."""

    anchor: str
    kind: str
    symbol: str
    word: str
    sentence: str
    where: str
    since: str
    known: tuple[tuple[str, str], ...]
    evidence: str
    consequences: str
    worst_id: str
    worst_href: str
    command: str
    script: Script
    cells: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything on the page. `island` is the JSON that the filter reads."""

    title: str
    created: str
    banner: Banner
    facts: tuple[Fact, ...]
    reasons: tuple[Reason, ...]
    more_reasons: int
    matrix: Matrix
    causes: tuple[CauseBlock, ...]
    cells: tuple[CellSection, ...]
    axis: tuple[Tick, ...]
    limit_place: str
    scales: Shared
    cases: tuple[CaseRow, ...]
    cases_total: str
    gaps: tuple[Gap, ...]
    more_gaps: int
    compared: Compared | None
    pairs: Pairs | None
    dispatch: tuple[Coverage, ...]
    explored: Exploration | None
    power: Power
    claims: Table
    limits: Table
    bases: tuple[tuple[str, str, str], ...]
    findings: tuple[Finding, ...]
    findings_of: str
    environment: Table
    versions: Table
    hashes: tuple[tuple[str, str], ...]
    signoff: SignOff
    accuracy: str
    island: str


def build(
    manifest: Mapping[str, Any],
    observations: pd.DataFrame,
    verdicts: pd.DataFrame,
    summary: Mapping[str, Any],
    *,
    run: str,
    signatures: Signatures = NO_SIGNATURES,
    past: Past | None = None,
    smaller: "Sequence[Shrunk]" = (),
    comparison: pd.DataFrame | None = None,
) -> Page:
    """The page of one run; `smaller` is what was shrunk of it, `comparison` what became of it since a baseline.

    Depends on nothing but its arguments, and not on the order of the rows.
    """
    signed = signoff.build(manifest, verdicts, signatures, run)
    prepared = frames.prepare(manifest, observations, verdicts)
    standing = matrix.standings(prepared)
    before = compared.distributions(comparison)
    axis = distributions.strip_axis([*prepared.histograms.values(), *before.values()])
    material = Material(
        frames=prepared,
        before=before,
        axis=axis,
        run=run,
        past=past,
        bases=manifest.get("bases", {}),
        held=comparison is not None,
    )
    sections = cells.build(material, standing)
    data = island.text(island.build(prepared, {s.cell: _about(s) for s in sections}, run))
    taken = dispatch.build(manifest, prepared)
    table = matrix.build(prepared, standing, manifest["devices"]["requested"])
    gap_lines, more_gaps = gaps.build(prepared, manifest["devices"]["missing"], manifest["unusable"])
    against = compared.build(manifest, comparison, set(standing), set(prepared.columns["id"][prepared.worst]))
    apart = pairs.build(observations, list(manifest["devices"]["found"]))
    searched = explored.build(manifest, prepared)
    known_causes = diagnosis.find(prepared, manifest, observations, smaller, run)
    found = tuple(each.cause for each in known_causes)
    sections = cells.explained(sections, found)
    reasons, more_reasons = head.reasons(manifest, summary, found, set(standing), past)
    banner = head.banner(summary)
    return Page(
        title=f"{banner.text}: bitsandbytes {manifest['versions'].get('bitsandbytes', 'not importable')}",
        created=str(manifest["created"])[:16].replace("T", " "),
        banner=banner,
        facts=head.facts(manifest, summary, signed.fact, past),
        reasons=reasons,
        more_reasons=more_reasons,
        matrix=table,
        causes=tuple(
            _cause(place, each.cause, run, past, list(manifest["devices"]["found"]), each.script)
            for place, each in enumerate(known_causes, start=1)
        ),
        cells=sections,
        axis=axis.ticks(AXIS_TICKS),
        limit_place=compact(axis.place(1.0)),
        scales=charts.shared([chart for section in sections for chart in _charts(section)]),
        cases=caselist.listed(prepared, _linked(sections, found, against, apart, searched), _at_home(sections), run),
        cases_total=words.counted(len(prepared.worst), "case on a device", "cases on devices"),
        gaps=gap_lines,
        more_gaps=more_gaps,
        compared=against,
        pairs=apart,
        dispatch=taken,
        explored=searched,
        power=power.build(manifest),
        claims=Table(
            columns=("Case", "Layer", "Claim"),
            rows=tuple((name, str(case["layer"]), str(case["claim"])) for name, case in manifest["cases"].items()),
        ),
        limits=_limits(prepared.verdicts),
        bases=tuple((name, links.basis(name), text) for name, text in manifest.get("bases", {}).items()),
        findings=_findings(prepared),
        findings_of=known.load().library,
        environment=_environment(manifest["environment"]),
        versions=Table(
            columns=("Package", "Version"),
            rows=tuple((name, str(version)) for name, version in manifest["versions"].items()),
        ),
        hashes=tuple(
            (name, str(manifest[key]))
            for name, key in (("Plan", "plan_hash"), ("Limits", "limits_hash"), ("Run", "hash"))
            if key in manifest
        ),
        signoff=signed,
        accuracy=str(manifest["accuracy"]),
        island=data,
    )


def _charts(section: CellSection) -> tuple[Chart, ...]:
    return section.charts if section.trend is None else (*section.charts, section.trend.chart)


def _cause(  # noqa: PLR0917  what a block is made of
    place: int, cause: causes.Cause, run: str, past: Past | None, devices: Sequence[str], script: Script
) -> CauseBlock:
    return CauseBlock(
        anchor=f"cause-{place}",
        kind=cause.kind.value,
        symbol=words.SYMBOLS[cause.kind],
        word=words.VERDICTS[cause.kind],
        sentence=telling.sentence(cause),
        where=telling.where(cause, devices),
        since=head.since(cause, past),
        known=known.linked(cause.known),
        evidence=telling.evidence(cause),
        consequences=telling.consequences(cause),
        worst_id=cause.worst_id,
        worst_href="#" + links.case(cause.worst_id),
        command=words.replay(run, cause.worst_id),
        script=script,
        cells=_grouped(cause.cells),
    )


def _grouped(cells: Iterable[Cell]) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Cells by case and device: what they share, and a link for each dtype."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for cell in cells:
        groups.setdefault(f"{cell.case} on {cell.device}", []).append(("#" + links.cell(cell), words.dtype(cell.dtype)))
    return tuple((name, tuple(found)) for name, found in groups.items())


def _at_home(sections: tuple[CellSection, ...]) -> set[str]:
    """Every case that the section of a cell shows with its command."""
    return {row.id for section in sections for row in section.cases}


def _linked(
    sections: tuple[CellSection, ...],
    found: tuple[causes.Cause, ...],
    against: Compared | None,
    apart: Pairs | None,
    searched: Exploration | None,
) -> set[str]:
    """Every case that some part of the page links to."""
    linked = {row.worst_id for section in sections for row in section.quantities if row.worst_href}
    linked |= {line.id for line in against.lines if line.href} if against is not None else set()
    linked |= {line.id for line in apart.disagreements} if apart is not None else set()
    linked |= {line.id for line in searched.lines} if searched is not None else set()
    return linked | {cause.worst_id for cause in found}


def _about(section: CellSection) -> dict[str, Any]:
    return {
        "layer": section.layer,
        "short": words.dtype(section.cell.dtype),
        "anchor": section.anchor,
        "verdict": section.kind,
        "margin": section.margin_value,
        "checks": [
            [row.stage, row.quantity, row.kind, row.margin_value, *([row.findings] if row.findings else [])]
            for row in section.quantities
        ],
    }


def _limits(verdicts: pd.DataFrame) -> Table:
    """Which limit with which basis decided how many checks; stages in the order of the flow."""
    number = Counter(zip(verdicts["stage"], verdicts["limit_id"], verdicts["basis"], strict=True))
    ordered = sorted(number.items(), key=lambda entry: (words.stage_rank(entry[0][0]), *entry[0]))
    return Table(
        columns=("Stage", "Limit", "Basis", "Checks"),
        rows=tuple((str(stage), str(limit), str(basis), words.count(n)) for (stage, limit, basis), n in ordered),
    )


def _findings(prepared: frames.Frames) -> tuple[Finding, ...]:
    """The known findings that some failing row fits, in the order of their list."""
    seen = {name for fits in prepared.fits.values() for names in fits for name in names}
    return tuple(finding for name, finding in known.load().findings.items() if name in seen)


def _environment(environment: Mapping[str, Mapping[str, Any]]) -> Table:
    """Facts as rows, devices as columns."""
    names = list(dict.fromkeys(name for facts in environment.values() for name in facts))
    return Table(
        columns=("Fact", *environment),
        rows=tuple((name, *(str(facts.get(name, "–")) for facts in environment.values())) for name in names),
    )
