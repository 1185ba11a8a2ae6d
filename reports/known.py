"""Known findings: which of them account for a failing row. They explain a verdict and never soften it."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from reports import where, words

FILE = Path(__file__).with_name("findings.md")
"""A link to docs/findings.md: people write that, and an installed package has a copy."""

VERSION = re.compile(r"^# Findings: defects of bitsandbytes (\S+)$", re.MULTILINE)
FINDING = re.compile(r"^\| (?:\[(?=F\d+\]))?(F\d+)(?:\]\(#f\d+\))? \| (.*) \|$", re.MULTILINE)
SCRIPT = re.compile(r"\(findings/(\d\d_\w+\.py)\)")
RULES = {"cpu*": "| cases | stage/quantity |", "cuda*": "| cases on CUDA | stage/quantity |"}
"""The tables from a cell to its findings, by the devices that they speak of."""

COLUMN = re.compile(r"(?<!\\)\|")
QUOTED = re.compile("`(.+?)`")
ONE_QUOTED = re.compile("`([^`]+)`")
IDENTITY = re.compile(r"F\d+")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One defect of the library, as docs/findings.md lists it."""

    id: str
    layer: str
    condition: str
    effect: str
    kind: str
    since: str
    script: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Rows on these devices, of these cases and checks, whose reason holds all these words, show these findings.

    `where` is a condition on their config and the size of their error (`reports.where`); empty if every row will do.
    """

    device: str
    cases: tuple[str, ...]
    checks: tuple[str, ...]
    words: tuple[str, ...]
    where: str
    findings: tuple[str, ...]

    def speaks_of(self, case: str, device: str, check: str) -> bool:
        """Whether rows of a cell may fit."""
        return all(
            any(fnmatchcase(name, pattern) for pattern in patterns)
            for name, patterns in ((device, (self.device,)), (case, self.cases), (check, self.checks))
        )

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of such a cell does."""
        return all(text in row["reason"] for text in self.words) and (
            not self.where or where.holds(self.where, row["config"], row["device"], row)
        )


@dataclass(frozen=True, kw_only=True)
class Known:
    """All findings, by id, of one version of the library, and the rules in their order."""

    library: str
    findings: dict[str, Finding]
    rules: tuple[Rule, ...]


@cache
def load() -> Known:
    """The findings that come with this version."""
    return parsed(FILE.read_text(encoding="utf-8"))


def parsed(document: str) -> Known:
    """The findings of a document like docs/findings.md: its tables of findings, and its tables from cells to them.

    Raises:
        ValueError: if a line of the tables from cells to findings cannot be read; it says which.
    """
    version = VERSION.search(document)
    scripts = {f"F{name[:2]}": f"docs/findings/{name}" for name in SCRIPT.findall(document)}
    rows = [(found[1], _columns(found[2])) for found in FINDING.finditer(document)]
    return Known(
        library=version[1] if version else "",
        findings={
            identity: Finding(
                id=identity,
                layer=layer,
                condition=condition,
                effect=effect,
                kind=kind,
                since=since[0] if since else "",
                script=scripts.get(identity, ""),
            )
            for identity, (layer, condition, effect, kind, *since) in rows
        },
        rules=tuple(_rule(device, line) for device, head in RULES.items() for line in _table(document, head)),
    )


def _table(document: str, head: str) -> list[str]:
    """The lines of the Markdown table that begins so."""
    lines = document.partition(head)[2].splitlines()[2:]
    return list(itertools.takewhile(lambda line: line.startswith("|"), lines))


def _rule(device: str, line: str) -> Rule:
    try:
        cases, checks, reason, condition, findings = _columns(line.strip("| "))
        return Rule(
            device=device,
            cases=tuple(QUOTED.findall(cases)),
            checks=tuple(QUOTED.findall(checks)),
            words=tuple(QUOTED.findall(reason)),
            where=_condition(condition),
            findings=tuple(IDENTITY.findall(findings)),
        )
    except ValueError as error:
        raise ValueError(f"the findings' line {line} cannot be read: {error}") from error


def _condition(text: str) -> str:
    """What a column quotes, if it can be read; one that is not quoted would ask nothing."""
    if not text:
        return ""
    quoted = ONE_QUOTED.fullmatch(text)
    if not quoted:
        raise ValueError(f"{text!r} is no single condition between backticks")
    where.read(quoted[1])
    return quoted[1]


def _columns(row: str) -> list[str]:
    return [text.strip() for text in COLUMN.split(row)]


def fitting(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of the findings that a failing row of observations fits, in the order of the list; none if it is news.

    Asked are its case, device, stage, quantity, reason, config, as JSON, and `reports.columns.SIZES`.
    """
    rules = _speaking_of(row["case"], row["device"], f"{row['stage']}/{row['quantity']}")
    return tuple(dict.fromkeys(name for rule in rules if rule.fits(row) for name in rule.findings))


@cache
def _speaking_of(case: str, device: str, check: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in load().rules if rule.speaks_of(case, device, check))


def linked(text: str) -> tuple[tuple[str, str], ...]:
    """What `said` gives, in pieces with their addresses on the page; empty where a piece is no finding."""
    pieces = re.split(rf"\b({IDENTITY.pattern})\b", text)
    return tuple((piece, f"#finding={piece}" if place % 2 else "") for place, piece in enumerate(pieces) if piece)


def said(rows: Iterable[Sequence[str]]) -> str:
    """What the findings say of failing rows (their fitting ids), in a few words; empty without rows."""
    fits = list(rows)
    if not fits:
        return ""
    number = Counter(name for names in fits for name in names)
    named = [name for name, _ in sorted(number.items(), key=lambda entry: (-entry[1], entry[0]))]
    news = sum(not names for names in fits)
    if not named:
        return "No known finding fits."
    rest = f"; {words.count(news)} of {words.counted(len(fits), 'row')} fit none" if news else ""
    return f"Known: {words.listed(named) if len(named) == 1 else ' or '.join(named)}{rest}."
