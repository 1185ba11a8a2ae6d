"""One failing row as what a script is made of: values that were checked, so that a stranger's run can write no code."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from accuracy import devices
from accuracy.case import Case, Config, Stage, Status, Task
from accuracy.roundoff import UNIT
from accuracy.rows import plain
from accuracy.scripts.draws import DRAWS
from accuracy.strategies import STORAGES

VERSION: Final = re.compile(r"[\w.+!-]{1,40}")
QUANTITY: Final = re.compile(r"[a-z_0-9]{1,60}")
PLACE: Final = re.compile(r"|(mean of )?(all|row|column)( \d{1,9})?|block \d{1,9} of \d{1,9} of the inner dimension")
"""What a version, a quantity and a place may look like in a program."""

LARGEST: Final = 1 << 24
"""Elements of a tensor above which a script would take minutes."""

WORDS: Final[Mapping[str, tuple[str | None, ...]]] = {
    "mode": ("train", "eval"),
    "dtype": tuple(UNIT),
    "weight_dtype": tuple(UNIT),
    "compute_dtype": (*UNIT, None),
    "quant_type": ("nf4", "fp4"),
    "quant_storage": STORAGES,
    "weight": tuple(DRAWS),
    "activation": tuple(DRAWS),
    "gradient": tuple(DRAWS),
}
"""The words that a field of a config may have."""


class ScriptError(ValueError):
    """No script can be made; the message says of what, and why."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What failed: one stage and quantity of one config on one device.

    `size` is `ratio` of the row, `place` its `structure_at`, `reason` what was said, `versions` those it was seen with.
    """

    case: Case
    config: Config
    id: str
    device: str
    stage: Stage
    quantity: str
    status: Status
    ratio: float
    place: str
    reason: str
    versions: Mapping[str, str]


def of(task: Task, case: Case, row: Mapping[str, Any], versions: Mapping[str, str]) -> Failure:
    """The failure that a row of observations of this task tells of.

    Raises:
        ScriptError: if the config holds what none has, or the row what no row has, or a device that is unknown here.
    """
    check(task.config)
    for name, form in (("quantity", QUANTITY), ("structure_at", PLACE)):
        if not form.fullmatch(str(row[name])):
            raise ScriptError(f"a row whose {name} is {str(row[name])[:40]!r}: no script can be made of that")
    try:
        devices.parse(str(row["device"]))
        stage, status = Stage(row["stage"]), Status(row["status"])
    except ValueError as error:
        raise ScriptError(plain(str(error))) from error
    return Failure(
        case=case,
        config=task.config,
        id=task.id,
        device=str(row["device"]),
        stage=stage,
        quantity=str(row["quantity"]),
        status=status,
        ratio=float(row["ratio"]),
        place=str(row["structure_at"]),
        reason=str(row["reason"]),
        versions={
            name: text for name, text in versions.items() if VERSION.fullmatch(name) and VERSION.fullmatch(str(text))
        },
    )


def check(config: Config) -> None:
    """Refuses a config with other values than its fields have: text that would end up in a program.

    Raises:
        ScriptError: if there is one.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if not _fits(field.name, field.type, value):
            raise ScriptError(f"a config whose {field.name} is {str(value)[:40]!r}: no script can be made of that")


def _fits(name: str, kind: object, value: object) -> bool:
    if name in WORDS:
        return value in WORDS[name]
    if kind is str:
        return isinstance(value, str) and re.fullmatch(r"[a-z_0-9 ]{1,40}", value) is not None
    if kind is bool:
        return type(value) is bool
    if kind is int:
        return type(value) is int and 0 <= value <= LARGEST
    if kind is float:
        return type(value) in (int, float) and 0 <= float(value) < LARGEST  # type: ignore[arg-type]  # a number
    return isinstance(value, tuple) and all(type(each) is int and 0 <= each <= LARGEST for each in value)
