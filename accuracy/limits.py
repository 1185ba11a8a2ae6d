"""Limits are data: every number that decides, with its basis, comes from one TOML file."""

import tomllib
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from accuracy.case import Verdict, short_hash

DEFAULT_FILE = Path(__file__).with_name("limits.toml")


class LimitsError(ValueError):
    """The limits file cannot be used; the message says what was seen, what was wanted and what to do."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Constants of the elementwise error bounds, needed while measuring. Pure numbers, no units."""

    confidence: float
    code_slack: float
    tie_slack: float
    zero_block_scale: float
    structure_effect: float
    structure_effect_float32: float
    theory_elements: float


@dataclass(frozen=True, kw_only=True)
class Limit:
    """`metric` of every row that the patterns match must lie in [at_least, at_most], or the row earns `verdict`."""

    id: str
    stage: str
    quantity: str
    metric: str
    verdict: Verdict
    basis: str
    method: str
    at_least: float = float("-inf")
    at_most: float = float("inf")

    def holds(self, value: float) -> bool:
        """Whether `value` is within the limit. NaN never is."""
        return self.at_least <= value <= self.at_most

    def covers(self, stage: str, quantity: str) -> bool:
        """Whether this limit speaks of the quantity of the stage."""
        return fnmatchcase(stage, self.stage) and fnmatchcase(quantity, self.quantity)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The whole file. `bases` says why each elementwise bound is what it is, by the name that rows carry."""

    bounds: Bounds
    bases: dict[str, str]
    limits: tuple[Limit, ...]

    @property
    def hash(self) -> str:
        """Sixteen hex digits that change when any number or word of the file does."""
        return short_hash(
            {
                "bounds": vars(self.bounds),
                "bases": self.bases,
                "limits": [{key: str(value) for key, value in vars(limit).items()} for limit in self.limits],
            }
        )


def load(path: Path = DEFAULT_FILE) -> Limits:
    """Read a limits file.

    Raises:
        LimitsError: if the file is missing, is not TOML, or has an unknown, missing or ill-typed entry.
    """
    try:
        text = path.read_bytes().decode()
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LimitsError(
            f"cannot read limits from {path}: {error}; give a TOML file like {DEFAULT_FILE.name}"
        ) from error
    unknown = set(raw) - {"bounds", "basis", "limit"}
    if unknown:
        raise LimitsError(f"{path}: unknown section {min(unknown)!r}; known are bounds, basis, limit")
    return Limits(
        bounds=Bounds(**_checked(raw.get("bounds", {}), Bounds, f"{path}: [bounds]")),
        bases={str(key): str(value) for key, value in raw.get("basis", {}).items()},
        limits=tuple(
            Limit(**_checked(entry, Limit, f"{path}: [[limit]] {number}"))
            for number, entry in enumerate(raw.get("limit", []), start=1)
        ),
    )


def _checked(entry: dict[str, Any], kind: type[Any], where: str) -> dict[str, Any]:
    known = {field.name: field for field in fields(kind)}
    for key in entry:
        if key not in known:
            raise LimitsError(f"{where}: unknown key {key!r}; known are {', '.join(known)}")
    checked: dict[str, Any] = {}
    for name, field in known.items():
        if name not in entry:
            if field.default is field.default_factory:
                raise LimitsError(f"{where}: {name!r} is missing; add it")
            continue
        value = entry[name]
        checked[name] = _converted(value, field.type, f"{where}: {name}")
    return checked


def _converted(value: object, kind: Any, where: str) -> object:
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LimitsError(f"{where} is {value!r}; a number is wanted")
        return float(value)
    if kind is Verdict:
        if value not in {Verdict.WARN.value, Verdict.FAIL.value}:
            raise LimitsError(f"{where} is {value!r}; 'warn' or 'fail' is wanted")
        return Verdict(value)
    if not isinstance(value, str):
        raise LimitsError(f"{where} is {value!r}; text is wanted")
    return value
