"""Known deviations: cells that are allowed to fail, for a stated reason, by a stated amount, until a stated day."""

import datetime
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any


class WaiverError(ValueError):
    """The waivers file cannot be used; the message says what was seen, what was wanted and what to do."""


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """One known deviation.

    The patterns are globs over the cell; `at_least` and `at_most` enclose the worst ratio that is
    expected, `expires` is the last day on which the waiver holds, `owner` answers for it and
    `link` names the finding or the upstream issue.
    """

    id: str
    case: str
    stage: str
    quantity: str
    owner: str
    reason: str
    link: str
    expires: datetime.date
    at_most: float
    at_least: float = 1.0
    device: str = "*"
    dtype: str = "*"

    def covers(self, case: str, device: str, dtype: str, stage: str, quantity: str) -> bool:
        """Whether the cell is one that this waiver speaks of."""
        pairs = (
            (case, self.case), (device, self.device), (dtype, self.dtype), (stage, self.stage),
            (quantity, self.quantity),
        )  # fmt: skip
        return all(fnmatchcase(name, pattern) for name, pattern in pairs)


def load(path: Path) -> tuple[Waiver, ...]:
    """Read a waivers file: TOML with one `[[waiver]]` table for each known deviation.

    Raises:
        WaiverError: if the file is missing, is not TOML, or an entry is unknown, missing or ill-typed.
    """
    try:
        raw = tomllib.loads(path.read_bytes().decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise WaiverError(f"cannot read waivers from {path}: {error}; give a TOML file of [[waiver]] tables") from error
    unknown = set(raw) - {"waiver"}
    if unknown:
        raise WaiverError(f"{path}: unknown section {min(unknown)!r}; only [[waiver]] is known")
    entries = raw.get("waiver", [])
    if not isinstance(entries, list):
        raise WaiverError(f"{path}: 'waiver' is {entries!r}; write [[waiver]], once for each")
    return tuple(_waiver(entry, f"{path}: [[waiver]] {number}") for number, entry in enumerate(entries, start=1))


def entry(waiver: Waiver) -> dict[str, str]:
    """The waiver as text, for a manifest: what a run was judged with can be read without the file."""
    return {field.name: str(getattr(waiver, field.name)) for field in fields(Waiver)}


def from_entry(entry: Mapping[str, str]) -> Waiver:
    """The waiver that `entry` made this text of.

    Raises:
        WaiverError: if the text is no waiver.
    """
    try:
        values: dict[str, Any] = {
            field.name: _KINDS.get(field.type, str)(entry[field.name]) for field in fields(Waiver)
        }
    except (KeyError, TypeError, ValueError) as error:
        raise WaiverError(f"the manifest's waiver is not one: {error}; judge the run again") from error
    return Waiver(**values)


_KINDS: dict[Any, Any] = {float: float, datetime.date: datetime.date.fromisoformat}


def _waiver(entry: Any, where: str) -> Waiver:
    if not isinstance(entry, dict):
        raise WaiverError(f"{where} is {entry!r}; a table is wanted")
    known: dict[str, Any] = {field.name: field for field in fields(Waiver)}
    for key in entry:
        if key not in known:
            raise WaiverError(f"{where}: unknown key {key!r}; known are {', '.join(known)}")
    values: dict[str, Any] = {}
    for name, field in known.items():
        if name not in entry:
            if field.default is field.default_factory:
                raise WaiverError(f"{where}: {name!r} is missing; add it")
            continue
        value = entry[name]
        if field.type is float and isinstance(value, int | float) and not isinstance(value, bool):
            value = float(value)
        if not _fits(value, field.type):
            wanted = {float: "a number", datetime.date: "a date like 2027-01-31"}
            raise WaiverError(f"{where}: {name} is {value!r}; {wanted.get(field.type, 'text')} is wanted")
        values[name] = value
    return Waiver(**values)


def _fits(value: object, kind: type) -> bool:
    """Whether a TOML value is of this type; a date with a time of day is not a date, and NaN no number."""
    return isinstance(value, kind) and not isinstance(value, datetime.datetime) and value == value  # noqa: PLR0124  NaN
