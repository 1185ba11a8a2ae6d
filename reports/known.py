"""Known findings: which of them account for a failing row. They explain a verdict and never soften it."""

import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from reports import words

FILE = Path(__file__).with_name("findings.toml")


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
    """Rows on these devices, of these cases and checks, whose reason holds all these words, show these findings."""

    device: str
    cases: tuple[str, ...]
    checks: tuple[str, ...]
    words: tuple[str, ...]
    findings: tuple[str, ...]

    def covers(self, case: str, device: str, check: str, reason: str) -> bool:
        """Whether a row fits."""
        return (
            fnmatchcase(device, self.device)
            and any(fnmatchcase(case, pattern) for pattern in self.cases)
            and any(fnmatchcase(check, pattern) for pattern in self.checks)
            and all(text in reason for text in self.words)
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
    raw = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return Known(
        library=raw["library"],
        findings={
            entry["id"]: Finding(kind=entry["class"], **{key: entry[key] for key in entry if key != "class"})
            for entry in raw["finding"]
        },
        rules=tuple(
            Rule(device=rule["device"], **{name: tuple(rule[name]) for name in rule if name != "device"})
            for rule in raw["explains"]
        ),
    )


@cache
def fitting(case: str, device: str, check: str, reason: str) -> tuple[str, ...]:
    """The ids of the findings that a failing row fits, in the order of the list; none if it is news."""
    rules = [rule for rule in load().rules if rule.covers(case, device, check, reason)]
    return tuple(dict.fromkeys(name for rule in rules for name in rule.findings))


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
