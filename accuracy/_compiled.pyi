from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from accuracy.tally import Array
from accuracy.totals import Element

_Seen = TypeVar("_Seen")
_Part: TypeAlias = Array | Tensor

def totals(
    actual: _Part,
    expected: _Part,
    bound: _Part,
    scale: _Part,
    shape: tuple[int, ...],
    below: float,
    smallest: float,
    mantissa: int,
    block: int,
    /,
) -> tuple[dict[str, Any], list[Element], bytes, bytes] | None: ...
def classes(
    actual: _Part, expected: _Part, bound: _Part, scale: _Part, threshold: float, /
) -> tuple[bytes, bytes, tuple[bytes, bytes, bytes, bytes]]: ...
def strongest(error: Array, expected: Array, blocks: Array, least: float, /) -> tuple[float, float, int]: ...
def projected(error: Array, parts: NDArray[np.float32], /) -> bytearray: ...
def split(
    actual: _Part, oracle: _Part, reference: _Part, block: int, /
) -> tuple[float, float, float, float, float] | None: ...
def show(function: Callable[[memoryview], _Seen], tensor: Tensor, /) -> _Seen: ...
def width(most: int = 8, /) -> int: ...
