"""Rows as one JSON object and back: what a worker answers, what the journal keeps.

Column by column, since rows of a task share most of their texts, and numbers as base64 of their bytes: the
parent then looks at a few dozen columns in place of a few hundred values. Whatever is in an answer, unpacking
it gives rows of the task that was asked for, with every field and of the right types, or an error.
"""

import binascii
from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accuracy.case import Status
from accuracy.rows import DEFAULTS, NAMES, TYPES, Row, RowError

Packed = dict[str, Any]
"""`number` of rows and `texts` by field, one that all share or one a row. `integers`: fields for all rows, then the
lengths of all fields that are lists, then the elements of those of integers. `floats`: fields, then elements. Fields
are in the order of `accuracy.rows.NAMES`."""

MOST_ROWS: Final = 100_000
"""Rows after which an answer is refused: the longest there is has some thirty."""


def _named(*kinds: Any) -> tuple[str, ...]:
    return tuple(name for name in NAMES if TYPES[name] in kinds)


_TEXTS: Final = _named(str, tuple[str, ...])
_LISTS_OF_TEXT: Final = frozenset(_named(tuple[str, ...]))
_INTEGERS: Final = _named(int)
_FLOATS: Final = _named(float)
_INTEGER_LISTS: Final = _named(tuple[int, ...])
_FLOAT_LISTS: Final = _named(tuple[float, ...])
_KNOWN: Final = frozenset(NAMES)
_NEEDED: Final = frozenset(name for name in _TEXTS if DEFAULTS[name] is None)
_texts_of, _integers_of, _floats_of, _integer_lists_of, _float_lists_of = (
    itemgetter(*names) for names in (_TEXTS, _INTEGERS, _FLOATS, _INTEGER_LISTS, _FLOAT_LISTS)
)
_STATUSES: Final = frozenset(status.value for status in Status)
_WIDTHS: Final = {"I": "<u4", "q": "<i8", "d": "<f8"}
_LONGEST: Final = 300


def pack(rows: Sequence[Row]) -> Packed:
    """The packed form of rows; a field that a row has not is at its default.

    Raises:
        ValueError: if a row has a field that no observation has, or a number that is none.
    """
    for row in rows:
        if not row.keys() <= _KNOWN:
            raise ValueError(f"no observation has a field {min(row.keys() - _KNOWN)!r}")
    whole = [DEFAULTS | row for row in rows]
    texts: dict[str, list[Any]] = {}
    for name, values in zip(_TEXTS, zip(*map(_texts_of, whole), strict=True), strict=False):  # no row has no columns
        if values.count(values[0]) < len(values):
            texts[name] = list(values)
        elif values[0] != DEFAULTS[name]:
            texts[name] = [values[0]]
    integer_lists, float_lists = _by_field(_integer_lists_of, whole), _by_field(_float_lists_of, whole)
    integers = [*_by_field(_integers_of, whole), *map(len, integer_lists), *map(len, float_lists)]
    floats = _by_field(_floats_of, whole)
    return {
        "number": len(rows),
        "texts": texts,
        "integers": _text_of_integers(_joined(integers, integer_lists, np.int64)),
        "floats": _text(_joined(floats, float_lists, np.float64), "d"),
    }


def _by_field(fields: Callable[[Row], tuple[Any, ...]], rows: Sequence[Row]) -> list[Any]:
    """The fields of all rows, the first field of each row first."""
    return list(chain.from_iterable(zip(*map(fields, rows), strict=True)))


def _joined(first: Sequence[Any], lists: Sequence[Any], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.asarray(values, dtype) for values in (first, *(each for each in lists if len(each)))])


def _text_of_integers(integers: NDArray[np.int64]) -> str:
    """Integers of 32 bits if all fit, else of 64."""
    fits = bool(integers.size) and integers.min() >= 0 and integers.max() < 1 << 32
    return _text(integers, "I" if fits else "q")


def _text(numbers: NDArray[Any], letter: str) -> str:
    """Numbers as base64 of their bytes, low byte first, after the letter of their type."""
    data = numbers.astype(_WIDTHS[letter]).tobytes()
    return letter + binascii.b2a_base64(data, newline=False).decode()


def _numbers(text: object, letters: str, dtype: type[np.generic]) -> NDArray[Any]:
    """The inverse of `_text`, for one of these letters."""
    if not isinstance(text, str) or not text or text[0] not in letters:
        raise RowError(f"numbers that are not text: {str(text)[:40]!r}")
    try:
        return np.frombuffer(binascii.a2b_base64(text[1:], strict_mode=True), _WIDTHS[text[0]]).astype(dtype)
    except ValueError as error:
        raise RowError(f"numbers that are not base64: {error}") from error


def unpack(packed: object, *, task_id: str, device: str) -> list[Row]:
    """The rows of a packed answer, whole, with their fields in the order of `NAMES`; lists of numbers are arrays.

    Raises:
        RowError: if it is not at least one row of this task on this device, with fields of the right types.
    """
    match packed:
        case {"number": number, "texts": dict(texts), "integers": integers, "floats": floats} if _counts(number):
            columns: dict[str, Sequence[Any]] = _texts(texts, number, task_id, device)
        case _:
            raise RowError(f"an answer without rows: {str(packed)[:60]}")
    columns |= _share_out(number, _numbers(integers, "Iq", np.int64), _numbers(floats, "d", np.float64))
    return [dict(zip(NAMES, values, strict=True)) for values in zip(*(columns[name] for name in NAMES), strict=True)]


def _counts(number: object) -> bool:
    return type(number) is int and 0 < number <= MOST_ROWS


def _texts(texts: dict[str, Any], number: int, task_id: str, device: str) -> dict[str, Sequence[Any]]:
    """The columns of text, whole; those that were not sent are at their default."""
    columns = {name: _column(name, values, number) for name, values in texts.items()}
    missing = _NEEDED - columns.keys()
    if missing:
        raise RowError(f"a row without {min(missing)}")
    for seen in zip(columns["id"], columns["device"], strict=True):
        if seen != (task_id, device):
            raise RowError(f"a row of another task: {seen[0]} on {seen[1]}"[:_LONGEST])
    for status in columns.get("status", ()):
        if status not in _STATUSES:
            raise RowError(f"a row whose status is {status!r}"[:_LONGEST])
    return {name: columns.get(name) or [DEFAULTS[name]] * number for name in _TEXTS}


def _column(name: str, values: Any, number: int) -> Sequence[Any]:
    """A column of text, one value a row."""
    if name not in _TEXTS:
        raise RowError(f"a row with a field {name!r}"[:_LONGEST])
    if not isinstance(values, list) or len(values) not in {1, number}:
        raise RowError(f"{number} rows whose {name} is {values!r}"[:_LONGEST])
    for value in values:
        if not (_are_texts(value) if name in _LISTS_OF_TEXT else type(value) is str):
            raise RowError(f"a row whose {name} is {value!r}"[:_LONGEST])
    return values * number if len(values) == 1 else values


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and {str}.issuperset(map(type, value))


def _share_out(number: int, integers: NDArray[np.int64], floats: NDArray[np.float64]) -> dict[str, Sequence[Any]]:
    """The columns of numbers. There must be as many as the lengths say."""
    lists = (*_INTEGER_LISTS, *_FLOAT_LISTS)
    fields = len(_INTEGERS) * number
    lengths = integers[fields : fields + len(lists) * number]
    if len(lengths) < len(lists) * number or (lengths < 0).any():
        raise RowError(f"{number} rows whose lists have lengths {lengths[:8].tolist()}")
    columns: dict[str, Sequence[Any]] = {
        **_fields(_INTEGERS, number, integers),
        **_fields(_FLOATS, number, floats),
    }
    cut = len(_INTEGER_LISTS) * number
    elements = integers[fields + len(lengths) :], floats[len(_FLOATS) * number :]
    kinds = (_INTEGER_LISTS, _FLOAT_LISTS)
    for names, counts, values in zip(kinds, (lengths[:cut], lengths[cut:]), elements, strict=True):
        if (counts > len(values)).any() or int(counts.sum()) != len(values):
            raise RowError(f"rows whose lists have {len(values)} elements, not {int(counts.sum())}")
        ends = [0, *np.cumsum(counts).tolist()]
        parts = [values[begin:end] for begin, end in pairwise(ends)]
        columns |= {name: parts[place * number : (place + 1) * number] for place, name in enumerate(names)}
    return columns


def _fields(names: Sequence[str], number: int, values: NDArray[Any]) -> dict[str, list[Any]]:
    """The fields that are one number a row."""
    if len(values) < len(names) * number:
        raise RowError(f"{number} rows with {len(values)} numbers")
    return {name: values[place * number : (place + 1) * number].tolist() for place, name in enumerate(names)}
