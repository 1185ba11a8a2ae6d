"""The first screen: the verdict, what was measured, and why the verdict is what it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from accuracy.case import Verdict
from reports import causes, compared, links, telling, words
from reports.causes import Cause
from reports.frames import Cell
from reports.past import Past, failing_since

FEW_DEVICES: Final = 6
"""Devices whose names fit on one line of the first screen."""

SHOWN_REASONS = 5
LONGEST_REASON = 240

OVERALL = {
    "release": ("✓", "Release", "pass"),
    "do-not-release": ("✗", "Do not release", "fail"),
    "incomplete": ("○", "Incomplete", "not_run"),
}
"""Symbol, words and colour of the verdict on the run."""


@dataclass(frozen=True, kw_only=True)
class Banner:
    """The verdict in words, and the counts that stand beside it."""

    symbol: str
    text: str
    kind: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact of the run; `gap` is the part that did not happen."""

    name: str
    text: str
    gap: str = ""
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One line of why; `href` is empty where no cell belongs to it."""

    kind: str
    symbol: str
    word: str
    text: str
    href: str


def banner(summary: Mapping[str, Any]) -> Banner:
    """The verdict of `verdict.json`, never one computed here."""
    symbol, text, kind = OVERALL[summary["verdict"]]
    counts = summary["counts"]
    parts = [f"{words.count(counts['fail'])} of {words.counted(counts['cells'], 'check')} fail"]
    parts += [
        f"{words.count(counts[name])} {said}"
        for name, said in (
            ("warn", "warn"),
            ("not_run", "not run"),
            ("not_supported", "not supported"),
            ("pass", "pass"),
        )
        if counts[name] or name == "pass"
    ]
    return Banner(symbol=symbol, text=text, kind=kind, detail=" · ".join(parts))


def facts(manifest: Mapping[str, Any], summary: Mapping[str, Any], signed: str, past: Past | None) -> tuple[Fact, ...]:
    """What was measured, with what, on what, and who signed; what was asked for and did not run is named."""
    versions, devices, counts = manifest["versions"], manifest["devices"], summary["counts"]
    missing = "; ".join(f"{name} not run: {reason}" for name, reason in devices["missing"].items())
    held_against, not_held = compared.facts(manifest)
    return (
        Fact(name="Candidate", text=f"bitsandbytes {versions.get('bitsandbytes', 'not importable')}"),
        Fact(name="Baseline", text=held_against, gap=not_held),
        Fact(
            name="Devices",
            text=_some(sorted(devices["found"], key=_place)),
            gap=missing,
            title="; ".join(f"{name}: {what}" for name, what in devices["found"].items()),
        ),
        Fact(
            name="Cases",
            text=f"{words.count(counts['cases'])}, {magnitude(counts['elements'])} elements",
            title=f"a case counts once a device; {words.count(counts['observations'])} observations, "
            f"{words.count(counts['elements'])} elements compared",
        ),
        Fact(name="Seed", text=str(manifest["seed"])),
        Fact(name="Profile", text=f"{manifest['profile']}, {words.duration(manifest['duration_s'])}"),
        Fact(name="Limits", text=str(manifest["limits_hash"])[:8], title=str(manifest["limits_hash"])),
        _nights(past),
        Fact(name="Sign-off", text=signed),
    )


def _place(device: str) -> tuple[str, int, str]:
    """Sorts `cuda:10` behind `cuda:9`."""
    kind, _, number = device.partition(":")
    return kind, int(number) if number.isdecimal() else 0, number


def _some(devices: Sequence[str]) -> str:
    """Names as far as they fit on a line; the title and the section on devices have all."""
    if len(devices) <= FEW_DEVICES:
        return ", ".join(devices) or "none"
    return f"{', '.join(devices[: FEW_DEVICES - 1])} and {words.count(len(devices) - FEW_DEVICES + 1)} more"


def _nights(past: Past | None) -> Fact:
    """What "since when" rests on."""
    if past is None:
        return Fact(name="Earlier nights", text="not given", title="accuracy report RUN --history runs says since when")
    earlier = len(past.nights) - 1
    title = f"from {past.nights[0].created[:10]} on" if earlier else ""
    return Fact(name="Earlier nights", text=words.count(earlier) if earlier else "none", title=title)


def magnitude(value: int) -> str:
    """A large count in words: `2.1 million`."""
    for size, name in ((10**9, "billion"), (10**6, "million")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return words.count(value)


def reasons(
    manifest: Mapping[str, Any],
    summary: Mapping[str, Any],
    found: Sequence[Cause],
    known: set[Cell],
    past: Past | None = None,
) -> tuple[tuple[Reason, ...], int]:
    """At most five lines of why, worst first, and how many there are besides.

    Failures come by cause and missing devices once each; then what the judge says of checks that
    neither accounts for, each with since when, if there is a past. A run in which nothing passed never goes
    without a reason.
    """
    missing = manifest["devices"]["missing"]
    accounted = {(cell, cause.stage, name) for cause in found for cell in cause.cells for name in causes.checked(cause)}
    lines = [_cause(place, cause, past, list(manifest["devices"]["found"])) for place, cause in enumerate(found, 1)]
    lines += [_gap(f"{device} did not run: {why}", "#gaps") for device, why in missing.items()]
    lines += [
        _reason(entry, known, past)
        for entry in summary["reasons"]
        if (_cell(entry), entry["stage"], entry["quantity"]) not in accounted
        and not (entry["verdict"] == Verdict.NOT_RUN.value and entry["device"] in missing)
    ]
    if not summary["counts"]["pass"] + summary["counts"]["warn"]:
        lines.append(_gap("no check passed, so nothing was shown to be right", "#gaps"))
    lines.sort(key=lambda line: words.SEVERITY.index(Verdict(line.kind)))
    return tuple(lines[:SHOWN_REASONS]), max(0, len(lines) - SHOWN_REASONS)


def _gap(text: str, href: str) -> Reason:
    verdict = Verdict.NOT_RUN
    return Reason(
        kind=verdict.value,
        symbol=words.SYMBOLS[verdict],
        word=words.VERDICTS[verdict],
        text=words.clipped(text, LONGEST_REASON),
        href=href,
    )


def _cause(place: int, cause: Cause, past: Past | None, devices: Sequence[str]) -> Reason:
    return Reason(
        kind=cause.kind.value,
        symbol=words.SYMBOLS[cause.kind],
        word=words.VERDICTS[cause.kind],
        text=" ".join(
            filter(None, (telling.sentence(cause), telling.where(cause, devices), since(cause, past), cause.known))
        ),
        href=f"#cause-{place}",
    )


def since(cause: Cause, past: Past | None) -> str:
    """Since when the checks of a cause fail; empty without a past."""
    if past is None:
        return ""
    return failing_since(past, [(*cell, cause.stage, name) for cell in cause.cells for name in cause.quantities])


def _reason(entry: Mapping[str, Any], known: set[Cell], past: Past | None) -> Reason:
    verdict = Verdict(entry["verdict"])
    cell = _cell(entry)
    when = failing_since(past, [(*cell, str(entry["stage"]), str(entry["quantity"]))]) if past else ""
    return Reason(
        kind=verdict.value,
        symbol=words.SYMBOLS[verdict],
        word=words.VERDICTS[verdict],
        text=f"{words.clipped(str(entry['text']), LONGEST_REASON)} {when}".rstrip(),
        href="#" + links.cell(cell) if cell in known else "",
    )


def _cell(entry: Mapping[str, Any]) -> Cell:
    return Cell(*(str(entry[name] or "") for name in Cell._fields))
