"""Lists of numbers as MessagePack carries them: the bytes of an array, as an extension with the number of its type."""

from typing import Any, Final

import numpy as np
from msgspec.msgpack import Ext
from numpy.typing import NDArray

UINT16, UINT32, FLOAT64 = range(3)
TYPES: Final = tuple(map(np.dtype, ("<u2", "<u4", "<f8")))
"""Types of arrays that are sent as bytes, in the order of their numbers."""

_CODES: Final = {dtype: code for code, dtype in enumerate(TYPES)}
_NONE: Final = np.empty(0, TYPES[UINT16])


def form(value: Any) -> Any:
    """An array or a number of numpy as it is sent.

    Raises:
        ValueError: if it is neither.
    """
    if type(value) is np.ndarray:
        code = _CODES.get(value.dtype)
        return _narrow(value) if code is None else Ext(code, value.tobytes())
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"no observation has a field that is a {type(value).__name__}")


def _narrow(values: NDArray[Any]) -> Any:
    """An array of a type that is not sent as it is, as one that is if that holds all its integers; else as numbers."""
    for code, dtype in enumerate(TYPES[:FLOAT64]) if values.dtype.kind in "iu" else ():
        narrow = values.astype(dtype)
        if narrow.astype(values.dtype).tobytes() == values.tobytes():
            return Ext(code, narrow.tobytes())
    return values.tolist()


def array(sent: Any) -> NDArray[Any]:
    """A list of numbers, sent or not, as an array, as narrow as it was sent."""
    if isinstance(sent, Ext):
        return np.frombuffer(memoryview(sent.data), TYPES[sent.code])
    return np.array(sent) if len(sent) else _NONE
