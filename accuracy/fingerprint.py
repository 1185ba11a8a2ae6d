"""What a row keeps of a tensor so that devices can be compared without it: a digest and a small sample."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from msgspec.msgpack import Ext
from numpy.typing import NDArray
from torch import Tensor
from xxhash import xxh3_64

from accuracy import sent
from accuracy.compiled import function

compiled = function("show")

SAMPLED = 16
"""How many elements a row keeps."""


def digest(values: Tensor, *, without_nan: bool = False) -> str:
    """XXH3 (64 bits, sixteen hex digits) of dtype, shape and bytes in row-major order.

    Every NaN counts as the same: its payload is nobody's promise. Zeros of either sign differ. `without_nan`
    says that it is known to hold none. It tells whether two tensors are the same bits, by chance wrongly once in 2^64,
    and not whether somebody made one to look like another (https://xxhash.com, specification of XXH3).
    """
    plain = values.detach() if values.requires_grad else values
    if not without_nan and plain.is_floating_point() and plain.isnan().any():
        plain = torch.where(plain.isnan(), torch.nan, plain)
    said = xxh3_64(_head(values.dtype, values.shape))
    (compiled or shown_in_numpy)(said.update, plain)
    return said.hexdigest()


def shown_in_numpy(see: Callable[[memoryview], object], values: Tensor) -> object:
    """What a function makes of the bytes of a tensor on the CPU, in row-major order; it must not keep them."""
    if values.dtype == torch.bfloat16:  # which numpy has not
        values = values.view(torch.int16)
    return see(np.ascontiguousarray(values.numpy()).data)


@cache
def _head(dtype: torch.dtype, shape: torch.Size) -> bytes:
    return f"{str(dtype).removeprefix('torch.')} {tuple(shape)} ".encode()


def positions(count: int) -> list[int]:
    """Which elements of a tensor of `count` are kept: the first, the last, and evenly between; `SAMPLED` at most.

    They depend on the count alone, so every device keeps the same ones.
    """
    kept = min(SAMPLED, count)
    return [place * (count - 1) // (kept - 1) for place in range(kept)] if kept > 1 else list(range(kept))


def sample(values: NDArray[np.float64]) -> Ext:
    """The elements at `positions` of an array, in row-major order, as they are sent."""
    return Ext(sent.FLOAT64, values.take(_places(values.size)).tobytes())


@cache
def _places(count: int) -> NDArray[np.int64]:
    return np.array(positions(count), dtype=np.int64)
