"""Packed answers, taken apart and put together again, whatever is wrong with them by then."""

from binascii import a2b_base64, b2a_base64
from typing import Any

from msgspec import msgpack

from accuracy.packing import OWN
from accuracy.rows import SHARED


def taken_apart(text: bytes) -> dict[str, Any]:
    """What rows share by field, and `rows` as such."""
    *shared, rows = msgpack.decode(a2b_base64(text))
    return dict(zip(SHARED, shared, strict=True)) | {"rows": [dict(zip(OWN, row, strict=True)) for row in rows]}


def together(parts: dict[str, Any]) -> bytes:
    """The inverse."""
    *shared, rows = parts.values()
    return packed([*shared, [[*row.values()] for row in rows]])


def packed(value: object) -> bytes:
    """Anything in place of an answer."""
    return in_base64(msgpack.encode(value))


def in_base64(data: bytes) -> bytes:
    """Any bytes in place of an answer's."""
    return b2a_base64(data, newline=False)
