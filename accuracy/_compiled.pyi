from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from accuracy.tally import Array

_Counts: TypeAlias = tuple[bytearray, bytearray]
_Found: TypeAlias = tuple[
    tuple[float, float, float, float, float, float],
    tuple[float, float, float, float, float],
    tuple[float, float, float, float],
    _Counts,
    _Counts,
    tuple[tuple[float, int], ...],
]

def tally(
    actual: Array,
    expected: Array,
    bound: Array,
    scale: Array,
    below: float,
    smallest: float,
    mantissa: int,
    block: int,
    /,
) -> _Found | None: ...
def sums(error: Array, expected: Array, columns: int, /) -> bytearray: ...
def projected(error: Array, parts: NDArray[np.float32], /) -> bytearray: ...
def split(
    actual: Array, oracle: Array, reference: Array, block: int, /
) -> tuple[float, float, float, float, float] | None: ...
def width(most: int = 4, /) -> int: ...
