"""Rows as one line of text and back: what a worker answers, what the journal keeps.

Column by column, since rows of a task share most of their texts, and numbers as base64 of their bytes. The parent
looks once whether an answer is rows of the task that was asked for, with every field and of the right types, and
keeps it packed: as objects of Python they would take most of its time, and be looked through by the collector of
garbage again and again. They are unpacked many at once, when a run is over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from operator import itemgetter
from typing import Any, Final

import numpy as np
import orjson
import pybase64
from numpy.typing import NDArray

from accuracy.case import Status
from accuracy.rows import DEFAULTS, NAMES, TYPES, Row, RowError

MOST_ROWS: Final = 100_000
"""Rows after which an answer is refused: the longest there is has some thirty."""


def _named(*kinds: Any) -> tuple[str, ...]:
    return tuple(name for name in NAMES if TYPES[name] in kinds)


_TEXTS: Final = _named(str, tuple[str, ...])
_KNOWN_TEXTS: Final = frozenset(_TEXTS)
_LISTS_OF_TEXT: Final = frozenset(_named(tuple[str, ...]))
_INTEGERS: Final = _named(int)
_FLOATS: Final = _named(float)
_INTEGER_LISTS: Final = _named(tuple[int, ...])
_FLOAT_LISTS: Final = _named(tuple[float, ...])
_LISTS: Final = (*_INTEGER_LISTS, *_FLOAT_LISTS)
_KNOWN: Final = frozenset(NAMES)
_NEEDED: Final = frozenset(name for name in _TEXTS if DEFAULTS[name] is None)
_texts_of, _integers_of, _floats_of, _integer_lists_of, _float_lists_of = (
    itemgetter(*names) for names in (_TEXTS, _INTEGERS, _FLOATS, _INTEGER_LISTS, _FLOAT_LISTS)
)
_STATUSES: Final = frozenset(status.value for status in Status)
_WIDTHS: Final = {"H": "<u2", "I": "<u4", "q": "<i8", "d": "<f8"}
_UNSIGNED: Final = (("H", 1 << 16), ("I", 1 << 32))
_LONGEST: Final = 300
_PARTS: Final = 3


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Answer:
    """So many rows of one task on one device, packed and known to be such.

    `texts` is JSON by field, one text that all share or one a row; what is at its default is not there. `integers`:
    the number of rows, fields for all rows, then the lengths of all fields that are lists, then the elements of those
    of integers. `floats`: fields, then elements. Fields are in the order of `accuracy.rows.NAMES`.
    """

    number: int
    texts: bytes
    integers: NDArray[np.integer[Any]]
    floats: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """A column of lists of numbers: all elements one after the other, and how many each row has."""

    elements: NDArray[Any]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.lengths)

    def parts(self) -> list[NDArray[Any]]:
        """The lists."""
        ends = [0, *np.cumsum(self.lengths).tolist()]
        return [self.elements[begin:end] for begin, end in pairwise(ends)]


Column = list[Any] | NDArray[Any] | Ragged


def pack(rows: Sequence[Row]) -> bytes:
    """The packed form of rows, without a line break; a field that a row has not is at its default.

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
    integers = [len(rows), *_by_field(_integers_of, whole), *map(len, integer_lists), *map(len, float_lists)]
    floats = _by_field(_floats_of, whole)
    return b"\t".join(
        (
            _json_of(texts),
            _text_of_integers(_joined(integers, integer_lists, np.int64)),
            _text(_joined(floats, float_lists, np.float64), "d"),
        )
    )


def _json_of(texts: dict[str, list[Any]]) -> bytes:
    """JSON by field. What UTF-8 cannot hold, half of a surrogate pair in some message, becomes a question mark."""
    try:
        return orjson.dumps(texts)
    except TypeError:
        return orjson.dumps({name: [_in_utf8(value) for value in values] for name, values in texts.items()})


def _in_utf8(value: Any) -> Any:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _by_field(fields: Callable[[Row], tuple[Any, ...]], rows: Sequence[Row]) -> list[Any]:
    """The fields of all rows, the first field of each row first."""
    return list(chain.from_iterable(zip(*map(fields, rows), strict=True)))


def _joined(first: Sequence[Any], lists: Sequence[Any], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.asarray(first, dtype), *(each for each in lists if len(each))], dtype=dtype)


def _text_of_integers(integers: NDArray[np.int64]) -> bytes:
    """Integers of 16 bits if all fit, of 32 if not, else of 64."""
    largest = integers.max() if integers.min() >= 0 else 1 << 63
    return _text(integers, next((letter for letter, end in _UNSIGNED if largest < end), "q"))


def _text(numbers: NDArray[Any], letter: str) -> bytes:
    """Numbers as base64 of their bytes, low byte first, after the letter of their type."""
    data = numbers.astype(_WIDTHS[letter]).tobytes()
    return letter.encode() + pybase64.b64encode(data)


def _numbers(text: bytes, letters: str) -> NDArray[Any]:
    """The inverse of `_text`, for one of these letters."""
    letter = text[:1].decode(errors="replace")
    if not letter or letter not in letters:
        raise RowError(f"numbers that are not text: {text[:40]!r}")
    try:
        return np.frombuffer(pybase64.b64decode(text[1:], validate=True), _WIDTHS[letter])
    except ValueError as error:
        raise RowError(f"numbers that are not base64: {error}") from error


def unpack(text: bytes, *, task_id: str, device: str) -> Answer:
    """The answer in a line of text.

    Raises:
        RowError: if it is not at least one row of this task on this device, with fields of the right types.
    """
    parts = text.split(b"\t")
    if len(parts) != _PARTS:
        raise RowError(f"an answer without rows: {text[:60]!r}")
    integers, floats = _numbers(parts[1], "HIq"), _numbers(parts[2], "d")
    number = int(integers[0]) if integers.size else 0
    if not 0 < number <= MOST_ROWS:
        raise RowError(f"an answer of {number} rows")
    _check_texts(_json(parts[0]), number, task_id, device)
    _check_numbers(number, integers, floats)
    return Answer(number=number, texts=parts[0], integers=integers, floats=floats)


def _json(text: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except ValueError as error:
        raise RowError(f"texts that are not JSON: {text[:40]!r}") from error
    if not isinstance(found, dict):
        raise RowError(f"texts that are not a JSON object: {text[:40]!r}")
    return found


def _check_texts(texts: dict[str, Any], number: int, task_id: str, device: str) -> None:
    if not _are_columns(texts, number):
        for name, values in texts.items():
            _check_column(name, values, number)
    missing = _NEEDED - texts.keys()
    if missing:
        raise RowError(f"a row without {min(missing)}")
    for name, wanted in (("id", task_id), ("device", device)):
        if texts[name].count(wanted) < len(texts[name]):
            raise RowError(f"a row of another task: {texts['id'][-1]} on {texts['device'][-1]}"[:_LONGEST])
    if not _STATUSES.issuperset(texts.get("status", ())):
        raise RowError(f"a row whose status is {min(set(texts['status']) - _STATUSES)!r}"[:_LONGEST])


def _are_columns(texts: dict[str, Any], number: int) -> bool:
    """Whether no column is one that `_check_column` refuses, told of all at once."""
    if not (
        texts.keys() <= _KNOWN_TEXTS
        and {list}.issuperset(map(type, texts.values()))
        and {1, number}.issuperset(map(len, texts.values()))
    ):
        return False
    of_lists = [texts[name] for name in texts.keys() & _LISTS_OF_TEXT]
    of_texts = [texts[name] for name in texts.keys() - _LISTS_OF_TEXT]
    return all(map(_are_texts, chain.from_iterable(of_lists))) and _are_texts([*chain.from_iterable(of_texts)])


def _check_column(name: str, values: Any, number: int) -> None:
    """A column of text, one value a row or one for all."""
    if name not in _KNOWN_TEXTS:
        raise RowError(f"a row with a field {name!r}"[:_LONGEST])
    if not isinstance(values, list) or len(values) not in {1, number}:
        raise RowError(f"{number} rows whose {name} is {values!r}"[:_LONGEST])
    for value in values:
        if not (_are_texts(value) if name in _LISTS_OF_TEXT else type(value) is str):
            raise RowError(f"a row whose {name} is {value!r}"[:_LONGEST])


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and {str}.issuperset(map(type, value))


def _check_numbers(number: int, integers: NDArray[Any], floats: NDArray[np.float64]) -> None:
    """There must be as many as the lengths of lists say."""
    fields, cut = 1 + len(_INTEGERS) * number, len(_INTEGER_LISTS) * number
    lengths = integers[fields : fields + len(_LISTS) * number].tolist()
    if len(lengths) < len(_LISTS) * number or min(lengths) < 0:
        raise RowError(f"{number} rows whose lists have lengths {lengths[:8]}")
    if len(floats) < len(_FLOATS) * number:
        raise RowError(f"{number} rows with {len(floats)} numbers")
    there = len(integers) - fields - len(lengths), len(floats) - len(_FLOATS) * number
    for said, seen in zip((sum(lengths[:cut]), sum(lengths[cut:])), there, strict=True):
        if said != seen:
            raise RowError(f"rows whose lists have {seen} elements, not {said}")


def rows_of(answers: Sequence[Answer]) -> list[Row]:
    """The rows of answers, whole, with their fields in the order of `NAMES`; lists of numbers are arrays."""
    found = columns(answers)
    values = (_plain(found[name]) for name in NAMES)
    return [dict(zip(NAMES, each, strict=True)) for each in zip(*values, strict=True)]


def _plain(column: Column) -> list[Any]:
    match column:
        case Ragged():
            return column.parts()
        case np.ndarray():
            return list(column.tolist())
        case _:
            return column


def columns(answers: Sequence[Answer]) -> dict[str, Column]:
    """The rows of answers by column."""
    texts = [_json(answer.texts) for answer in answers]
    found: dict[str, Column] = {name: _column(name, answers, texts) for name in _TEXTS}
    numbers = [answer.number for answer in answers]
    integers = _fields([answer.integers[1:] for answer in answers], numbers, len(_INTEGERS) + len(_LISTS), np.int64)
    floats = _fields([answer.floats for answer in answers], numbers, len(_FLOATS), np.float64)
    found |= dict(zip(_INTEGERS, integers, strict=False)) | dict(zip(_FLOATS, floats, strict=True))
    return found | _lists(answers, integers[len(_INTEGERS) :])


def _column(name: str, answers: Sequence[Answer], texts: Sequence[dict[str, Any]]) -> list[Any]:
    """A column of text."""
    column: list[Any] = []
    default = [DEFAULTS[name]]
    for answer, each in zip(answers, texts, strict=True):
        values = each.get(name, default)
        column += values if len(values) == answer.number else values * answer.number
    return column


def _fields(
    arrays: Sequence[NDArray[Any]], numbers: Sequence[int], count: int, dtype: type[np.generic]
) -> NDArray[Any]:
    """The first so many fields of all rows, [count, rows], from arrays with the fields of so many rows each."""
    parts = [array[: count * number].reshape(count, number) for array, number in zip(arrays, numbers, strict=True)]
    return np.concatenate([np.empty((count, 0), dtype), *parts], axis=1, dtype=dtype)


def _lists(answers: Sequence[Answer], lengths: NDArray[np.int64]) -> dict[str, Ragged]:
    """The columns of lists, whose lengths are [field, row]."""
    ends = np.cumsum([0, *(answer.number for answer in answers)])
    whole = np.concatenate([np.zeros((len(_LISTS), 1), np.int64), lengths.cumsum(axis=1)], axis=1)
    counts = np.diff(whole[:, ends]).T.tolist()
    parts: list[list[NDArray[Any]]] = [[np.empty(0, np.int64)] for _ in _INTEGER_LISTS]
    parts += [[np.empty(0, np.float64)] for _ in _FLOAT_LISTS]
    cut = len(_INTEGER_LISTS)
    for answer, mine in zip(answers, counts, strict=True):
        first = 1 + (len(_INTEGERS) + len(_LISTS)) * answer.number, len(_FLOATS) * answer.number
        sides = (answer.integers, mine[:cut], parts[:cut]), (answer.floats, mine[cut:], parts[cut:])
        for place, (elements, sizes, taken) in zip(first, sides, strict=True):
            for (begin, end), part in zip(pairwise(accumulate(sizes, initial=place)), taken, strict=True):
                part.append(elements[begin:end])
    return {
        name: Ragged(np.concatenate(part, dtype=part[0].dtype), row)
        for name, part, row in zip(_LISTS, parts, lengths, strict=True)
    }
