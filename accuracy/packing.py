"""Rows as one line of text and back: what a worker answers, what the journal keeps.

MessagePack, in base64 since it goes into a line: an array of the fields that all rows of a task share and, last, of
the rows, each an array of its other fields. A list of numbers is the bytes of an array if it is one of a type that is
sent so, else an array of numbers. A path that an earlier row has is the number of the first that has it. The parent
looks once whether an answer is rows of the task that was asked for, with every field and of the right types, and keeps
it packed: as objects of Python they would take most of its time, and be looked through by the collector of garbage
again and again. They are unpacked, some at a time, when a run is over.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from types import GenericAlias
from typing import Annotated, Any, Final, Literal

import numpy as np
import pybase64
from msgspec import Meta, MsgspecError
from msgspec.msgpack import Decoder, Encoder, Ext
from numpy.typing import NDArray

from accuracy import sent
from accuracy.case import Status
from accuracy.rows import DEFAULTS, NAMES, SHARED, TYPES, Measured, Row, RowError, plain

MOST_ROWS: Final = 100_000
"""Rows after which an answer is refused: the longest there is has some thirty."""

_MOST: Final = 1 << 16
"""Elements after which a list is: a histogram has at most 8,192 bins."""

_AT_A_TIME: Final = 500
"""Answers that are objects of Python at once, where many are unpacked: some ten megabytes. With 100 or 2,000 it takes
as long."""

OWN: Final = (*(name for name in NAMES if name not in (*SHARED, "path")), "path")
"""The fields that rows of a task do not share, as they are sent."""

_FIELDS: Final = (*SHARED, *OWN)
_shared_of, _own_of = itemgetter(*SHARED), itemgetter(*OWN)
_SENT: Final = {name: None if value != value else value for name, value in DEFAULTS.items()}  # noqa: PLR0124  NaN
_SENT_SHARED, _SENT_OWN = ({name: _SENT[name] for name in names} for names in (SHARED, OWN))
"""What a field is sent as that is not there: for NaN nil, which is shorter."""

_DTYPES: Final = {int: np.int64, float: np.float64, tuple[int, ...]: np.int64, tuple[float, ...]: np.float64}
"""Types of columns of numbers."""

_LISTS: Final = {tuple[int, ...]: "u", tuple[float, ...]: "f"}
_integers_of, _floats_of = (
    itemgetter(*(place for place, name in enumerate(OWN) if TYPES[name] == kind)) for kind in _LISTS
)
_WHOLE_INTEGERS, _WHOLE_FLOATS = (
    {(code, rest) for code, of in enumerate(sent.TYPES) if of.kind == kind for rest in range(0, 8, of.itemsize)}
    for kind in _LISTS.values()
)
"""The types that the bytes of a list may have, each with what their number may leave when divided by eight."""

_Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_FORMS: Final[dict[Any, Any]] = {
    "status": Literal[*(status.value for status in Status)],
    "path": str | _Integer,
    str: str,
    int: _Integer,
    float: float | None,
    tuple[str, ...]: Annotated[list[str], Meta(max_length=_MOST)],
    tuple[int, ...]: Ext | Annotated[list[_Integer], Meta(max_length=_MOST)],
    tuple[float, ...]: Ext | Annotated[list[float], Meta(max_length=_MOST)],
}
"""What a field may be sent as, by its name or its type."""


def _tuple(names: Sequence[str], *more: Any) -> Any:
    """The type of an array of these fields."""
    return GenericAlias(tuple, (*(_FORMS[name if name in _FORMS else TYPES[name]] for name in names), *more))


_encode = Encoder(enc_hook=sent.form).encode
_rows: Any = GenericAlias(list, _tuple(OWN))
_decode = Decoder(_tuple(SHARED, Annotated[_rows, Meta(min_length=1, max_length=MOST_ROWS)])).decode


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Answer:
    """So many rows of one task on one device, packed (and not in base64) and known to be such."""

    number: int
    packed: bytes


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


def pack(measured: Measured) -> bytes:
    """The packed form of what a task came to, without a line break; a field that is not there is at its default.

    What UTF-8 cannot hold, half of a surrogate pair in some message, becomes a question mark.

    Raises:
        ValueError: if there is a field that no observation has, or one where the other sort of fields is.
    """
    shared = _SENT_SHARED | measured.shared
    rows = [_SENT_OWN | row for row in measured.rows]
    for whole, known in ((shared, _SENT_SHARED), *((row, _SENT_OWN) for row in rows)):
        if len(whole) > len(known):
            raise ValueError(f"no observation has a field {min(whole.keys() - known.keys())!r} here")
    places: dict[Any, int] = {}
    for place, row in enumerate(rows):
        first = places.setdefault(row["path"], place)
        if first < place:
            row["path"] = first
    values = [*_shared_of(shared), [*map(_own_of, rows)]]
    try:
        packed = _encode(values)
    except UnicodeEncodeError:
        packed = _encode(_in_utf8(values))
    return pybase64.b64encode(packed)


def _in_utf8(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case list() | tuple():
            return [*map(_in_utf8, value)]
        case _:
            return value


def unpack(text: bytes, *, task_id: str, device: str) -> Answer:
    """The answer in a line of text.

    Raises:
        RowError: if it is not at least one row of this task on this device, with fields of the right types.
    """
    try:
        packed = pybase64.b64decode(text, validate=True)
        answer: Any = _decode(packed)
    except (ValueError, MsgspecError, MemoryError) as error:
        raise RowError(plain(f"an answer that is no rows: {_PLACE.sub(_name, str(error))}")) from error
    of_task, of_device, *_, rows = answer
    if (of_task, of_device) != (task_id, device):
        raise RowError(plain(f"a row of another task: {of_task} on {of_device}"))
    for lists_of, whole in ((_integers_of, _WHOLE_INTEGERS), (_floats_of, _WHOLE_FLOATS)):
        seen = {(of.code, len(of.data) % 8) for row in rows for of in lists_of(row) if type(of) is not list}
        if not seen <= whole:
            raise RowError(f"a row with a list whose bytes are no numbers of its type: {min(seen - whole)}")
    paths = [row[-1] for row in rows]
    for place, path in enumerate(paths):
        if type(path) is int and not (0 <= path < place and type(paths[path]) is str):
            raise RowError(f"row {place} with the path of row {path}, which has none of its own before it")
    return Answer(number=len(rows), packed=packed)


_PLACE: Final = re.compile(r"`\$(\[\d+\])+`")


def _name(place: re.Match[str]) -> str:
    """The field at `$[field]`, or at `$[rows][row][field]`."""
    index = [int(number) for number in re.findall(r"\d+", place[0])]
    return OWN[index[2]] if len(index) > 2 else (*SHARED, "rows")[index[0]]  # noqa: PLR2004  as said


def rows_of(answers: Sequence[Answer], names: Sequence[str] = NAMES) -> list[Row]:
    """The rows of answers, with these fields in this order; lists of numbers are arrays."""
    fields = [(name, _FIELDS.index(name), TYPES[name]) for name in names]
    return [{name: _plain(row[place], kind) for name, place, kind in fields} for row in _rows_of(answers)]


def _rows_of(answers: Sequence[Answer]) -> list[tuple[Any, ...]]:
    """The rows of answers, whole, with their fields as they were sent, but for paths."""
    return [
        (*shared, *own[:-1], own[-1] if type(own[-1]) is str else rows[own[-1]][-1])
        for *shared, rows in (_decode(answer.packed) for answer in answers)
        for own in rows
    ]


def _plain(value: Any, kind: Any) -> Any:
    if kind in _LISTS:
        return sent.array(value).astype(_DTYPES[kind])
    return math.nan if value is None else value


def columns(answers: Sequence[Answer]) -> Iterator[dict[str, Column]]:
    """The rows of answers by column, those of `_AT_A_TIME` answers at a time."""
    for first in range(0, len(answers), _AT_A_TIME):
        yield _columns(answers[first : first + _AT_A_TIME])


def _columns(answers: Sequence[Answer]) -> dict[str, Column]:
    values = dict(zip(_FIELDS, zip(*_rows_of(answers), strict=True), strict=True))
    return {name: _column(values[name], TYPES[name]) for name in NAMES}


def _column(values: Sequence[Any], kind: Any) -> Column:
    if kind in _LISTS:
        lists = [*map(sent.array, values)]
        some = [each for each in lists if each.size] or lists[:1]
        return Ragged(np.concatenate(some, dtype=_DTYPES[kind]), np.array([*map(len, lists)], np.int64))
    if kind in _DTYPES:
        return np.array(values, _DTYPES[kind])
    same: dict[Any, Any] = {}
    return [*map(same.setdefault, values, values)] if kind is str else [*values]
