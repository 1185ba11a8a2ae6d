"""The index of nights: verdict and counts of each, what changed on which, and the trends of what moved."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup

from accuracy import history
from accuracy.case import Verdict
from accuracy.history import History, Night, Place
from reports import charts, links, past, render, words
from reports.charts import Shared
from reports.frames import Cell
from reports.head import OVERALL
from reports.past import Past, Trend

MOST_TRENDS = 24
MOST_NAMED = 5
YEAR = 366


@dataclass(frozen=True, kw_only=True)
class NightRow:
    """One night as text; `turned` says which checks have another verdict than the night before."""

    day: str
    href: str
    kind: str
    symbol: str
    word: str
    candidate: str
    failing: str
    warned: str
    gaps: str
    passed: str
    recorded: str
    turned: str


@dataclass(frozen=True, kw_only=True)
class TrendRow:
    """The trend of one check, with a link to its cell in the newest report that has it."""

    name: str
    href: str
    since: str
    trend: Trend


@dataclass(frozen=True, kw_only=True)
class Index:
    """Everything on the page, nights newest first."""

    title: str
    nights: tuple[NightRow, ...]
    trends: tuple[TrendRow, ...]
    scales: Shared
    more_trends: int
    unreadable: tuple[tuple[str, str], ...]


def build(nights: History, *, to: str) -> Index:
    """The index of these nights; `to` leads from the page's folder to that of the runs."""
    known = past.of(nights)
    turned = history.turned(nights)
    every = range(len(nights.nights) - 1, -1, -1)
    moving = _moving(known)
    trends = tuple(row for place in moving[:MOST_TRENDS] for row in _trend(known, place, to))
    return Index(
        title=f"{words.counted(len(nights.nights), 'night')} of accuracy runs",
        nights=tuple(_night(known, number, turned[turned["night"] == number], nights.cells, to) for number in every),
        trends=trends,
        scales=charts.shared([row.trend.chart for row in trends]),
        more_trends=max(0, len(moving) - MOST_TRENDS),
        unreadable=tuple(sorted(nights.unreadable.items())),
    )


def html(index: Index) -> str:
    """The page: no script, one style, nothing from elsewhere."""
    style = (render.TEMPLATES / "page.css").read_text(encoding="utf-8")
    template = render.environment().get_template("history.html")
    return template.render(index=index, style=Markup(style), policy=render.policy(style))  # noqa: S704  our own file


def write(runs: Path, out: Path) -> tuple[str, Mapping[str, str]]:
    """The page of the runs in a folder, for a file `out`; and the folders that could not be read, with why."""
    nights = history.read(runs)
    to = os.path.relpath(runs.resolve(), out.resolve().parent)
    return html(build(nights, to=to)), nights.unreadable


def _night(known: Past, number: int, turned: pd.DataFrame, cells: Sequence[Place], to: str) -> NightRow:
    night = known.nights[number]
    symbol, word, kind = OVERALL.get(night.verdict, OVERALL["incomplete"])
    count = {name: words.count(night.counts.get(name, 0)) for name in ("fail", "warn", "not_run", "pass")}
    missing = "".join(f"; {device} not run" for device in night.missing)
    return NightRow(
        day=night.day,
        href=_report(night, to),
        kind=kind,
        symbol=symbol,
        word=word,
        candidate=f"bitsandbytes {night.versions.get('bitsandbytes', 'not importable')}",
        failing=count["fail"],
        warned=count["warn"],
        gaps=count["not_run"] + missing,
        passed=count["pass"],
        recorded="; ".join(known.marks.get(number, ())),
        turned=_turned(turned, cells),
    )


def _turned(rows: pd.DataFrame, cells: Sequence[Place]) -> str:
    """Checks with another verdict than before, failures first: `3 began to fail (…); 1 fails no more (…)`."""
    bad = rows["verdict"] == Verdict.FAIL.value
    mended = ~bad & (rows["was"] == Verdict.FAIL.value)
    said = [
        f"{len(some)} {word} ({_named([cells[number] for number in some['cell']])})"
        for some, word in ((rows[bad], "began to fail"), (rows[mended], "fail no more"))
        if len(some)
    ]
    other = int((~bad & ~mended).sum())
    return "; ".join([*said, *([f"{other} between pass and warning"] if other else [])])


def _named(cells: Sequence[Place]) -> str:
    names = [_name(cell) for cell in cells[:MOST_NAMED]]
    return ", ".join([*names, *([f"and {len(cells) - MOST_NAMED} more"] if len(cells) > MOST_NAMED else [])])


def _name(place: tuple[str, ...]) -> str:
    case, device, dtype, stage, quantity = place
    return f"{case} {device} {words.dtype(dtype)} {stage}/{quantity}"


def _moving(known: Past) -> list[Place]:
    """Checks worth a look: those whose level shifted, newest shift first, then those that fail, newest first."""
    shifted = sorted(known.shifts, key=lambda place: (-known.shifts[place][-1].night, place))
    failing = sorted(known.since, key=lambda place: (-known.since[place].first, place))
    return list(dict.fromkeys([*shifted, *failing]))


def _trend(known: Past, place: Place, to: str) -> Iterable[TrendRow]:
    found = past.trend(known, place, words.quantity(*place[3:]), drawn=YEAR)
    if found is not None:
        newest = known.nights[int(known.rows[place]["night"].iloc[-1])]
        yield TrendRow(
            name=_name(place),
            href=f"{_report(newest, to)}#{links.cell(Cell(*place[:3]))}",
            since=past.failing_since(known, [place]),
            trend=found,
        )


def _report(night: Night, to: str) -> str:
    return quote(f"{to}/{night.folder}/report.html".removeprefix("./"))
