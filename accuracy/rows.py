"""Rows as plain values: what a worker may send, and what stands in for a task that did not complete."""

import signal
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any, Final, get_type_hints

from accuracy.case import Observation, Stage, Status, Task, canonical_json

Row = dict[str, Any]

NAMES: Final = tuple(field.name for field in fields(Observation))
"""The columns of observations, in their order."""

TYPES: Final[Mapping[str, Any]] = get_type_hints(Observation)
_DEFAULTS: Final = {field.name: field.default for field in fields(Observation) if field.default is not MISSING}
_NEEDED: Final = frozenset(NAMES) - frozenset(_DEFAULTS)
_LONGEST_REASON: Final = 300


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_integer(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_number(value: object) -> bool:
    return type(value) is float or _is_integer(value)


def _are(holds: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(holds, value))


_HOLDS: Final[Mapping[Any, Callable[[object], bool]]] = {
    str: _is_text,
    int: _is_integer,
    float: _is_number,
    tuple[str, ...]: _are(_is_text),
    tuple[int, ...]: _are(_is_integer),
}
_CHECKS: Final = tuple((name, _HOLDS[TYPES[name]]) for name in NAMES)
_STATUSES: Final = frozenset(status.value for status in Status)


class RowError(Exception):
    """A worker's answer is not rows of its task. The text says what was seen, in one line."""


def checked(rows: object, *, task_id: str, device: str) -> list[Row]:
    """`rows` with defaults filled in, in the order of `NAMES`.

    Raises:
        RowError: if they are not a list of at least one row of this task, with fields of the right types.
    """
    if not isinstance(rows, list) or not rows:
        raise RowError("an answer without rows")
    return [_checked(row, task_id, device) for row in rows]


def _checked(row: object, task_id: str, device: str) -> Row:
    if not isinstance(row, dict):
        raise RowError(f"a row that is a {type(row).__name__}")
    if not (_NEEDED <= row.keys() <= _TYPED):
        raise RowError(f"a row with other fields: {sorted(row.keys() ^ _TYPED - _DEFAULTS.keys())[:3]}")
    whole = {**_DEFAULTS, **row}
    for name, holds in _CHECKS:
        if not holds(whole[name]):
            raise RowError(f"a row whose {name} is {whole[name]!r}"[:_LONGEST_REASON])
    if (whole["id"], whole["device"]) != (task_id, device):
        raise RowError(f"a row of another task: {whole['id']} on {whole['device']}"[:_LONGEST_REASON])
    if whole["status"] not in _STATUSES:
        raise RowError(f"a row whose status is {whole['status']!r}"[:_LONGEST_REASON])
    return {name: whole[name] for name in NAMES}


_TYPED: Final = frozenset(TYPES)


def incomplete(
    task: Task, task_id: str, device: str, *, status: Status, reason: str, device_name: str = "", seconds: float
) -> Row:
    """The one row of a task that gave none: quantity `completes` of the contract, nothing measured."""
    row = Observation(
        id=task_id,
        case=task.case,
        config=canonical_json(asdict(task.config)),
        seed=str(task.seed),
        origin=task.origin,
        device=device,
        device_name=device_name,
        dtype=task.config.dtype,
        mode=task.config.mode,
        stage=Stage.CONTRACT.value,
        quantity="completes",
        status=status.value,
        observed=plain(reason),
        reason=plain(reason),
        seconds=seconds,
    )
    return {name: getattr(row, name) for name in NAMES}


def plain(text: str) -> str:
    """`text` as one line of at most 300 characters, without control characters that could steer a terminal."""
    words = "".join(" " if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character for character in text)
    return " ".join(words.split())[:_LONGEST_REASON]


def exit_reason(code: int) -> str:
    """What an exit code says, as `subprocess` gives it: negative is a signal."""
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code} without an answer"


def last_words(log: bytes) -> str:
    """The line of a dead worker's output that says most: the innermost Python frame, or else the last line."""
    lines = [line.strip() for line in log.decode(errors="replace").splitlines() if line.strip()]
    frames = _frames(lines)
    if frames:
        return f"at {frames[0]}"
    return lines[-1] if lines else ""


def _frames(lines: Sequence[str]) -> list[str]:
    """Frames of the last traceback that faulthandler printed, innermost first, without folders."""
    starts = [number for number, line in enumerate(lines) if line.endswith("(most recent call first):")]
    if not starts:
        return []
    frames = [line for line in lines[starts[-1] + 1 :] if line.startswith('File "')]
    return [line[len('File "') :].rpartition("/")[2].replace('"', "") for line in frames]
