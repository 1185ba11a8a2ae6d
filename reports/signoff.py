"""The block that is signed: decisions as they stand today, and the known deviations that the verdict rests on."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from accuracy import waivers
from accuracy.case import CELL, Verdict
from accuracy.signature import Signatures, Signed
from accuracy.waivers import Waiver
from reports import words
from reports.frames import records
from reports.table import Table

DECISIONS = {"release": ("✓", "Release", "pass"), "reject": ("✗", "Reject", "fail")}
"""Symbol, words and colour of a decision."""

SHOWN_HASH = 16


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One signature: the decision, who took it on what, and whether it still speaks of this run."""

    kind: str
    symbol: str
    word: str
    text: str
    note: str


@dataclass(frozen=True, kw_only=True)
class SignOff:
    """Decisions oldest first; `fact` is the newest in a few words; `waivers` has no rows where there are none."""

    fact: str
    command: str
    decisions: tuple[Decision, ...]
    damage: str
    waivers: Table


def build(manifest: Mapping[str, Any], verdicts: pd.DataFrame, signatures: Signatures, run: str) -> SignOff:
    """The sign-off of a run from the signatures in its folder, as held against its manifest."""
    known = [waivers.from_entry(entry) for entry in manifest.get("waivers", ())]
    return SignOff(
        fact=_fact(signatures),
        command=f"accuracy sign {shlex.quote(run)} --name … --decision release",
        decisions=tuple(_decision(each) for each in signatures.entries),
        damage=signatures.damage,
        waivers=_waivers(known, records(verdicts[[*CELL, "verdict", "worst_ratio", "caused_by"]])),
    )


def _fact(signatures: Signatures) -> str:
    if signatures.damage:
        return "damaged: not signed"
    if not signatures.entries:
        return "not signed"
    newest = signatures.entries[-1]
    if not newest.holds:
        return f"not signed: changed since {newest.signature.name} signed"
    return f"{DECISIONS[newest.signature.decision][1].lower()}, by {newest.signature.name}"


def _decision(signed: Signed) -> Decision:
    by = signed.signature
    when = by.signed[:16].replace("T", " ")
    about = f"by {by.name} on {when}, on verdict {by.verdict}, run {by.run[:SHOWN_HASH]}, limits {by.limits_hash}"
    if by.waivers:
        about += f", waivers {words.listed(by.waivers)}"
    symbol, word, kind = DECISIONS.get(by.decision, ("–", by.decision, Verdict.NOT_SUPPORTED.value))
    if signed.holds:
        return Decision(kind=kind, symbol=symbol, word=word, text=about, note=by.note)
    return Decision(
        kind=Verdict.NOT_RUN.value,
        symbol=words.SYMBOLS[Verdict.NOT_RUN],
        word="No longer valid",
        text=f"the run, its limits or its waivers are others than those signed: {word.lower()}, {about}",
        note=by.note,
    )


def _waivers(known: Sequence[Waiver], checks: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        columns=("Waiver", "Speaks of", "Owner", "Until", "Why", "Link", "Today"),
        rows=tuple(
            (
                each.id,
                _speaks_of(each),
                each.owner,
                str(each.expires),
                each.reason,
                each.link,
                _standing(each, checks),
            )
            for each in known
        ),
    )


def _speaks_of(waiver: Waiver) -> str:
    cell = f"{waiver.case} {waiver.device} {waiver.dtype} {waiver.stage}/{waiver.quantity}"
    return f"{cell}, ratio {waiver.at_least:g} to {waiver.at_most:g}"


def _standing(waiver: Waiver, checks: Sequence[Mapping[str, Any]]) -> str:
    """What the waiver does in this run, read from the verdicts."""
    covered = [check for check in checks if waiver.covers(*(check[name] for name in CELL))]
    failing = sum(check["verdict"] == Verdict.FAIL.value for check in covered)
    allowed = sum(
        check["verdict"] == Verdict.WARN.value and check["worst_ratio"] > 1 and not check["caused_by"]
        for check in covered
    )
    if failing:
        return f"does not hold for {words.counted(failing, 'failing check')}"
    return f"allows {words.counted(allowed, 'check')}" if allowed else "allows nothing: remove it"
