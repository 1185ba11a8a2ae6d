"""The widths of vectors that the compiled code has here, and values as bits, so that equal means equal to the bit."""

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from msgspec.msgpack import Ext

from accuracy import sent
from accuracy.compiled import function


def widths() -> Iterator[int]:
    """Each width of vectors that the processor has, chosen one after the other; the widest last, which is the usual."""
    choose = function("width")
    assert choose is not None
    for width in sorted({choose(2), choose(4), choose(8)}):
        assert choose(width) == width
        yield width


def bits(value: Any) -> object:
    """All that something holds, floats as their bytes, so that equal means equal to the bit. NaN is NaN."""
    match value:
        case float():
            return b"NaN" if math.isnan(value) else struct.pack("d", value)
        case dict():
            return {name: bits(each) for name, each in value.items()}
        case tuple() | list():
            return [bits(each) for each in value]
        case Ext():
            return bits(sent.array(value).tolist())
        case np.ndarray() | memoryview():
            return bits(value.tolist())
    return value
