"""Rows as plain values: what a worker may send, and what stands in for a task that did not complete."""

import binascii
import signal
import sys
import unicodedata
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any, Final, get_type_hints

import numpy as np
from numpy.typing import NDArray

from accuracy.case import Observation, Stage, Status, Task, canonical_json

Row = dict[str, Any]
"""An observation by field name. Lists of numbers are any sequence, in rows that came from a worker numpy arrays."""

Packed = dict[str, Any]
"""Rows without what goes without saying: `common` holds fields that all rows share, `rows` what is left of each."""

NAMES: Final = tuple(field.name for field in fields(Observation))
"""The columns of observations, in their order."""

TYPES: Final[Mapping[str, Any]] = get_type_hints(Observation)
_DEFAULTS: Final[Row] = {
    field.name: None if field.default is MISSING else field.default for field in fields(Observation)
}
_LONGEST_REASON: Final = 300
_LISTS_OF_INTEGERS: Final = tuple(name for name in NAMES if TYPES[name] == tuple[int, ...])
_LISTS_OF_FLOATS: Final = tuple(name for name in NAMES if TYPES[name] == tuple[float, ...])
_ARRAYS: Final[Mapping[str, type[np.generic]]] = {
    **dict.fromkeys(_LISTS_OF_INTEGERS, np.int64),
    **dict.fromkeys(_LISTS_OF_FLOATS, np.float64),
}


def _is_integer(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_length(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and {str}.issuperset(map(type, value))


_TEXTS: Final = frozenset(name for name in NAMES if TYPES[name] is str)
_FLOATS: Final = frozenset(name for name in NAMES if TYPES[name] is float)
_HOLDS: Final[Mapping[Any, Callable[[object], bool]]] = {
    str: lambda value: type(value) is str,
    int: _is_integer,
    float: lambda value: type(value) is float or _is_integer(value),
    tuple[str, ...]: _are_texts,
    tuple[int, ...]: _is_length,
    tuple[float, ...]: _is_length,
}
_STATUSES: Final = frozenset(status.value for status in Status)


class RowError(Exception):
    """A worker's answer is not rows of its task. The text says what was seen, in one line."""


def pack(rows: Sequence[Row]) -> Packed:
    """The short form of rows: those of a task share most of their fields or leave them at the default.

    Lists of numbers, most of what there is, go into one text a type; a row keeps their lengths.
    """
    integers, floats = array("q"), array("d")
    slim: list[Row] = []
    for row in rows:
        part = {
            name: value
            for name, value in row.items()
            if value is not _DEFAULTS.get(name) and not _is_default(name, value)
        }
        for names, numbers in ((_LISTS_OF_INTEGERS, integers), (_LISTS_OF_FLOATS, floats)):
            for name in (name for name in names if name in part):
                part[name] = len(part[name])
                numbers.extend(array(numbers.typecode, row[name]))
        slim.append(part)
    first = slim[0] if slim else {}
    common = {name for name in first if all(name in part and part[name] == first[name] for part in slim)}
    return {
        "common": {name: first[name] for name in common},
        "rows": [{name: value for name, value in part.items() if name not in common} for part in slim],
        "integers": _integers_text(integers),
        "floats": _text(floats),
    }


def _is_default(name: str, value: object) -> bool:
    default = _DEFAULTS.get(name)
    if default is None:
        return False
    return value == default or (value != value and default != default) or (default == () and not value)  # noqa: PLR0124  NaN is a default


def _integers_text(integers: "array[int]") -> str:
    """The text of integers: of 32 bits if all fit, else of 64."""
    try:
        return _text(array("I", integers))
    except OverflowError:
        return _text(integers)


def _text(numbers: "array[Any]") -> str:
    """Numbers as base64 of their bytes, low byte first, after the letter of their type."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.typecode + binascii.b2a_base64(numbers.tobytes(), newline=False).decode()


def _numbers(text: object, letters: str, dtype: type[np.generic]) -> NDArray[Any]:
    """The inverse of `_text`, for one of these letters."""
    if not isinstance(text, str) or not text or text[0] not in letters:
        raise RowError(f"numbers that are not text: {str(text)[:40]!r}")
    try:
        return np.frombuffer(binascii.a2b_base64(text[1:], strict_mode=True), _WIDTHS[text[0]]).astype(dtype)
    except ValueError as error:
        raise RowError(f"numbers that are not base64: {error}") from error


_WIDTHS: Final = {"I": "<u4", "q": "<i8", "d": "<f8"}


def unpack(packed: object, *, task_id: str, device: str) -> list[Row]:
    """The rows of a packed answer, whole, with their fields in the order of `NAMES`.

    Raises:
        RowError: if it is not at least one row of this task, with fields of the right types.
    """
    match packed:
        case {"common": dict(common), "rows": [_, *_] as parts, "integers": integers, "floats": floats}:
            _check(common)
        case _:
            raise RowError(f"an answer without rows: {str(packed)[:60]}")
    base = {**_DEFAULTS, **common}
    rows = [_whole(base, part, task_id, device) for part in parts]
    _share_out(rows, _LISTS_OF_INTEGERS, _numbers(integers, "Iq", np.int64))
    _share_out(rows, _LISTS_OF_FLOATS, _numbers(floats, "d", np.float64))
    return rows


def _share_out(rows: Sequence[Row], names: Sequence[str], numbers: NDArray[Any]) -> None:
    """Puts in place of each length as many of the numbers, row by row."""
    begin = 0
    for row in rows:
        for name in names:
            length = row[name] or 0
            row[name] = numbers[begin : begin + length]
            begin += length
            if len(row[name]) != length:
                raise RowError(f"a row whose {name} should have {length} numbers")


def _whole(base: Row, part: object, task_id: str, device: str) -> Row:
    if not isinstance(part, dict):
        raise RowError(f"a row that is a {type(part).__name__}")
    _check(part)
    row = {**base, **part}
    missing = [name for name in _NEEDED if row[name] is None]
    if missing:
        raise RowError(f"a row without {missing[0]}")
    if (row["id"], row["device"]) != (task_id, device):
        raise RowError(f"a row of another task: {row['id']} on {row['device']}"[:_LONGEST_REASON])
    if row["status"] not in _STATUSES:
        raise RowError(f"a row whose status is {row['status']!r}"[:_LONGEST_REASON])
    return row


_NEEDED: Final = tuple(name for name, default in _DEFAULTS.items() if default is None)


def _check(part: Row) -> None:
    """Raises unless every field is one of an observation and has its type."""
    for name, value in part.items():
        kind = type(value)
        if (kind is float and name in _FLOATS) or (kind is str and name in _TEXTS):
            continue
        if name not in TYPES:
            raise RowError(f"a row with a field {name!r}"[:_LONGEST_REASON])
        if not _HOLDS[TYPES[name]](value):
            raise RowError(f"a row whose {name} is {value!r}"[:_LONGEST_REASON])


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
