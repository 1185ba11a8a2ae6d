"""Sign-off: who decided what, on exactly which rows, verdicts, limits and waivers. A changed run is no longer signed.

It is a record and not a proof of identity: whoever can write the folder can write a name.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accuracy.case import canonical_json
from accuracy.files import StoreError, read_file, write_file
from accuracy.store import Run, sha256

FILE = "signature.json"
SCHEMA = 1
DECISIONS = ("release", "reject")
LARGEST = 1 << 20


class SignatureError(ValueError):
    """A run cannot be signed so; the message says what was seen, what was wanted and what to do."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One decision. `run` is the hash of the run's manifest, which holds those of its rows, verdicts and limits."""

    name: str
    decision: str
    note: str
    signed: str
    verdict: str
    limits_hash: str
    waivers: tuple[str, ...]
    run: str


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A signature as it stands today: `holds` is false once the run is another than the one that was signed."""

    signature: Signature
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Signatures:
    """All signatures of a run folder, oldest first; `damage` says why there are none to be read."""

    entries: tuple[Signed, ...] = ()
    damage: str = ""


def sign(run: Run, *, name: str, decision: str, note: str, moment: datetime.datetime) -> Signature:
    """The decision of `name` on this run.

    Raises:
        SignatureError: for no name, an unknown decision, or a release against the verdict without a note that says why.
    """
    if not name.strip():
        raise SignatureError("nobody signs: give --name with the name of who decides")
    if decision not in DECISIONS:
        raise SignatureError(f"unknown decision {decision!r}; choose one of {', '.join(DECISIONS)}")
    verdict = str(run.summary["verdict"])
    if decision == "release" and verdict != "release" and not note.strip():
        raise SignatureError(f"the verdict is {verdict}; to release all the same, say why with --note")
    return Signature(
        name=name.strip(),
        decision=decision,
        note=note.strip(),
        signed=moment.isoformat(timespec="seconds"),
        verdict=verdict,
        limits_hash=str(run.manifest["limits_hash"]),
        waivers=tuple(str(waiver["id"]) for waiver in run.manifest.get("waivers", ())),
        run=str(run.manifest["hash"]),
    )


def add(folder: Path, manifest: Mapping[str, Any], signature: Signature) -> Signatures:
    """Write the signature beside those that are there; returns all.

    Raises:
        StoreError: if the file that is there is damaged, or cannot be written.
    """
    before = read(folder, manifest)
    if before.damage:
        raise StoreError(f"{folder / FILE} {before.damage}; move it away to sign anew")
    body = {"schema": SCHEMA, "signatures": [asdict(each.signature) for each in before.entries] + [asdict(signature)]}
    text = json.dumps({**body, "hash": _hash(body)}, indent=1, sort_keys=True)
    write_file(folder / FILE, text.encode() + b"\n")
    return read(folder, manifest)


def read(folder: Path, manifest: Mapping[str, Any]) -> Signatures:
    """The signatures in a run folder, each held against the manifest as it is now. A damaged file signs nothing."""
    path = folder / FILE
    if not path.exists() and not path.is_symlink():
        return Signatures()
    try:
        body = json.loads(read_file(path, LARGEST))
        entries = _entries(body)
    except (StoreError, ValueError, KeyError, TypeError, RecursionError):
        return Signatures(damage="is damaged: its hash is not that of its text")
    return Signatures(entries=tuple(Signed(signature=each, holds=each.run == manifest.get("hash")) for each in entries))


def _entries(body: object) -> Sequence[Signature]:
    if not isinstance(body, dict):
        raise TypeError("not as written")
    rest = {name: value for name, value in body.items() if name != "hash"}
    if body["schema"] != SCHEMA or body["hash"] != _hash(rest):
        raise ValueError("not as written")
    entries = [Signature(**{**entry, "waivers": tuple(entry["waivers"])}) for entry in body["signatures"]]
    texts = [text for each in entries for text in ({**vars(each), "waivers": ""}).values()]
    if not all(isinstance(text, str) for text in (*texts, *(name for each in entries for name in each.waivers))):
        raise TypeError("not as written")
    return entries


def _hash(body: Mapping[str, Any]) -> str:
    return sha256(canonical_json(body).encode())
