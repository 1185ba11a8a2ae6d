"""Limits are data: every number that decides, with its basis, comes from one TOML file."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from accuracy.case import Observation, Verdict, short_hash

DEFAULT_FILE = Path(__file__).with_name("limits.toml")
METRICS = tuple(field.name for field in fields(Observation) if field.type in {int, float})
"""The columns of numbers, on which there can be limits."""
_SECTIONS = {
    "bounds": dict, "calibration": dict, "change": dict, "basis": dict, "published": list, "limit": list,
}  # fmt: skip


class LimitsError(ValueError):
    """The limits file cannot be used; the message says what was seen, what was wanted and what to do."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Constants of the elementwise error bounds, needed while measuring. Pure numbers, no units."""

    confidence: float
    code_slack: float
    code_slack_accelerator: float
    tie_slack: float
    zero_block_scale: float
    structure_effect: float
    structure_effect_float32: float
    structure_quiet: float
    theory_elements: float


@dataclass(frozen=True, kw_only=True)
class Published:
    """A tolerance of the library's own tests: |y - r| <= atol + of_mean·mean|r| + rtol·|r|, r the reference.

    It speaks of the part `part` of the cases of this row, layer and dtype (patterns), and the cell that it makes
    is called `quantity`. In each comparison `outliers` elements and the share `outlier_share` may lie outside.
    `everywhere` is no where only the published points are held to it, because a right library exceeds it at
    other points by chance (docs/method.md, "upstream behaviours").
    """

    id: str
    row: int
    part: str
    quantity: str
    basis: str
    layer: str = "*"
    dtype: str = "*"
    atol: float = 0.0
    of_mean: float = 0.0
    rtol: float = 0.0
    outliers: int = 0
    outlier_share: float = 0.0
    everywhere: bool = True

    def covers(self, row: int | None, layer: str, dtype: str, origin: str) -> bool:
        """Whether a task of this case's row and layer is held to it."""
        return (
            row == self.row
            and fnmatchcase(layer, self.layer)
            and fnmatchcase(dtype, self.dtype)
            and (self.everywhere or origin == "published")
        )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How limits are made from good runs: margins on the largest value seen, and the confidence of the coverage."""

    warn_margin: float
    fail_margin: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is a change from one release to the next, and not noise: rates of false alarm, least relative effects."""

    holm: float
    benjamini_hochberg: float
    rel_fro_floor: float
    abs_p99_floor: float
    least_pairs: float


@dataclass(frozen=True, kw_only=True)
class Limit:
    """`metric` of every row that the patterns match must lie in [at_least, at_most], or the row earns `verdict`.

    `explored` says whether that holds for inputs that a search chose, too: bounds do, tests and yardsticks do not.
    """

    id: str
    stage: str
    quantity: str
    metric: str
    verdict: Verdict
    basis: str
    method: str
    case: str = "*"
    device: str = "*"
    dtype: str = "*"
    at_least: float = float("-inf")
    at_most: float = float("inf")
    explored: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` is within the limit. NaN never is."""
        return self.at_least <= value <= self.at_most

    def covers(self, case: str, device: str, dtype: str, stage: str, quantity: str) -> bool:
        """Whether this limit speaks of the cell."""
        return (
            fits(stage, self.stage)
            and fits(quantity, self.quantity)
            and fits(case, self.case)
            and fits(device, self.device)
            and fits(dtype, self.dtype)
        )


def fits(name: str, pattern: str) -> bool:
    """Whether a limit with this pattern speaks of what has this name."""
    return pattern == "*" or fnmatchcase(name, pattern)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The whole file. `bases` says why each elementwise bound is what it is, by the name that rows carry."""

    bounds: Bounds
    calibration: Calibration
    change: Change
    bases: dict[str, str]
    published: tuple[Published, ...]
    limits: tuple[Limit, ...]

    @property
    def measuring(self) -> dict[str, Any]:
        """What is needed while measuring, as JSON carries it: rows cannot be judged by another."""
        return {**asdict(self.bounds), "published": [asdict(each) for each in self.published]}

    @property
    def hash(self) -> str:
        """Sixteen hex digits that change when any number or word of the file does."""
        return short_hash(
            {
                "bounds": vars(self.bounds),
                "calibration": vars(self.calibration),
                "change": vars(self.change),
                "bases": self.bases,
                "published": [asdict(each) for each in self.published],
                "limits": [{key: str(value) for key, value in vars(limit).items()} for limit in self.limits],
            }
        )


def measuring(values: Mapping[str, Any]) -> tuple[Bounds, tuple[Published, ...]]:
    """What `Limits.measuring` holds, in a worker again."""
    bounds = {name: value for name, value in values.items() if name != "published"}
    return Bounds(**bounds), tuple(Published(**each) for each in values["published"])


def load(path: Path = DEFAULT_FILE) -> Limits:
    """Read a limits file.

    Raises:
        LimitsError: if the file is missing, is not TOML, has an unknown, missing or ill-typed entry, or
            would let everything pass.
    """
    try:
        raw = tomllib.loads(path.read_bytes().decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise LimitsError(
            f"cannot read limits from {path}: {error}; give a TOML file like {DEFAULT_FILE.name}"
        ) from error
    for name, value in raw.items():
        if name not in _SECTIONS:
            raise LimitsError(f"{path}: unknown section {name!r}; known are {', '.join(_SECTIONS)}")
        if not isinstance(value, _SECTIONS[name]):
            raise LimitsError(
                f"{path}: {name!r} is no section; "
                "write [bounds], [calibration], [change], [basis], [[published]] and [[limit]]"
            )
    return Limits(
        bounds=Bounds(**_numbers(raw.get("bounds", {}), Bounds, f"{path}: [bounds]")),
        calibration=Calibration(**_numbers(raw.get("calibration", {}), Calibration, f"{path}: [calibration]")),
        change=Change(**_numbers(raw.get("change", {}), Change, f"{path}: [change]")),
        bases={str(key): str(value) for key, value in raw.get("basis", {}).items()},
        published=_published(raw.get("published", []), path),
        limits=_limits(raw.get("limit", []), path),
    )


def _numbers(entry: Any, kind: type[Any], where: str) -> dict[str, Any]:
    values = _checked(entry, kind, where)
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise LimitsError(f"{where}: {name} is {value!r}; a finite number from 0 on is wanted")
    return values


def _published(entries: list[Any], path: Path) -> tuple[Published, ...]:
    published = tuple(
        Published(**_checked(entry, Published, f"{path}: [[published]] {number}"))
        for number, entry in enumerate(entries, start=1)
    )
    for each in published:
        sizes = (each.atol, each.of_mean, each.rtol, each.outliers, each.outlier_share)
        if not (all(0 <= size < math.inf for size in sizes) and each.outlier_share < 1):
            raise LimitsError(
                f"{path}: published {each.id!r} has {sizes}; finite numbers from 0 on, a share below 1 are wanted"
            )
    _different([each.id for each in published], "published tolerances", path)
    return published


def _different(ids: list[str], what: str, path: Path) -> None:
    for number, name in enumerate(ids):
        if name in ids[:number]:
            raise LimitsError(f"{path}: two {what} have the id {name!r}; give each its own")


def _limits(entries: list[Any], path: Path) -> tuple[Limit, ...]:
    limits = tuple(
        Limit(**_checked(entry, Limit, f"{path}: [[limit]] {number}")) for number, entry in enumerate(entries, start=1)
    )
    for limit in limits:
        if limit.metric not in METRICS:
            raise LimitsError(f"{path}: limit {limit.id!r} is on {limit.metric!r}; give one of {', '.join(METRICS)}")
    _different([limit.id for limit in limits], "limits", path)
    if not any(limit.verdict is Verdict.FAIL for limit in limits):
        raise LimitsError(f"{path}: no [[limit]] has the verdict 'fail', so every run would pass; add one")
    return limits


def _checked(entry: Any, kind: type[Any], where: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise LimitsError(f"{where} is {entry!r}; a table is wanted")
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
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise LimitsError(f"{where} is {value!r}; a number is wanted")
        return float(value)
    if kind in {int, bool}:
        if type(value) is not kind:
            raise LimitsError(f"{where} is {value!r}; {'a whole number' if kind is int else 'true or false'} is wanted")
        return value
    if kind is Verdict:
        if value not in {Verdict.WARN.value, Verdict.FAIL.value}:
            raise LimitsError(f"{where} is {value!r}; 'warn' or 'fail' is wanted")
        return Verdict(value)
    if kind is bool:
        if not isinstance(value, bool):
            raise LimitsError(f"{where} is {value!r}; true or false is wanted")
        return value
    if not isinstance(value, str):
        raise LimitsError(f"{where} is {value!r}; text is wanted")
    return value
