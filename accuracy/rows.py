"""Rows as plain values: what a worker may send, and what stands in for a task that did not complete."""

import signal
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, Final, NamedTuple, get_type_hints

import numpy as np

from accuracy.case import Observation, Stage, Status, Task

Row = dict[str, Any]
"""An observation by field name. Lists of numbers are any sequence, in rows that came from a worker numpy arrays, and in
those that go to its parent arrays as they are sent (`accuracy.sent`)."""

NAMES: Final = tuple(field.name for field in fields(Observation))
"""The columns of observations, in their order."""

TYPES: Final[Mapping[str, Any]] = get_type_hints(Observation)
DEFAULTS: Final[Row] = {
    field.name: None if field.default is MISSING else field.default for field in fields(Observation)
}
"""What a field is that a row does not have; None where it must have it."""

SHARED: Final = (
    *("id", "device", "case", "config", "seed", "origin", "device_name", "dtype", "mode", "seconds", "strata"),
)
"""Fields that are the same in all rows of a task on a device."""

_LONGEST_REASON: Final = 300
_DTYPES: Final[Mapping[Any, type[np.generic]]] = {tuple[int, ...]: np.int64, tuple[float, ...]: np.float64}
_ARRAYS: Final = {name: _DTYPES[TYPES[name]] for name in NAMES if TYPES[name] in _DTYPES}


class Measured(NamedTuple):
    """What a task came to on a device: the fields that all its rows share (`SHARED`), and of each row the others."""

    shared: Row
    rows: list[Row]


def apart(rows: Sequence[Row]) -> Measured:
    """Rows of one task, whole, at least one, as what they share and what is each one's own.

    Raises:
        ValueError: if one differs from another in what they share.
    """
    shared, *others = [{name: value for name, value in row.items() if name in SHARED} for row in rows]
    for other in others:
        if other != shared:
            raise ValueError(f"rows of one task that differ in what they share: {shared}, {other}")
    return Measured(shared, [{name: value for name, value in row.items() if name not in SHARED} for row in rows])


class RowError(Exception):
    """A worker's answer is not rows of its task. The text says what was seen, in one line."""


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Rows by column, lists of numbers as numpy arrays of int64 or float64, ready for a frame."""
    return {
        name: [np.asarray(row[name], dtype=_ARRAYS[name]) for row in rows]
        if name in _ARRAYS
        else [row[name] for row in rows]
        for name in NAMES
    }


def incomplete(
    task: Task, task_id: str, device: str, *, status: Status, reason: str, device_name: str = "", seconds: float
) -> Row:
    """The one row of a task that gave none: quantity `completes` of the contract, nothing measured."""
    row = Observation(
        id=task_id,
        case=task.case,
        config=task.text,
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
    """The line of a dead worker's output that says most: the innermost Python frame, or else the last line.

    Of a process without a frame faulthandler says last which modules it had, which says nothing.
    """
    lines = [line.strip() for line in log.decode(errors="replace").splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("Extension modules:", "<no Python frame>"))]
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
