"""What a row keeps of a tensor so that devices can be compared without it: a digest and a small sample."""

import hashlib
from functools import cache
from typing import Protocol
from weakref import ref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLED = 16
"""How many elements a row keeps."""

_AS_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def digest(values: Tensor, *, without_nan: bool = False) -> str:
    """Sixteen hex digits of the SHA-256 of dtype, shape and bytes in row-major order.

    Every NaN counts as the same: its payload is nobody's promise. Zeros of either sign differ. `without_nan`
    says that it is known to hold none.
    """
    plain = values.detach()
    if not without_nan and plain.is_floating_point() and plain.isnan().any():
        plain = torch.where(plain.isnan(), torch.nan, plain)
    said = hashlib.sha256(f"{str(values.dtype).removeprefix('torch.')} {tuple(values.shape)} ".encode())
    said.update(plain.view(_AS_INTEGERS[plain.element_size()]).numpy().ravel().data)
    return said.hexdigest()[:16]


class Digest(Protocol):
    """What gives digests: `digest`, or one that remembers them."""

    def __call__(self, values: Tensor, *, without_nan: bool = False) -> str:
        """The digest of `values`."""


def remembered() -> Digest:
    """`digest` of tensors that nobody changes meanwhile: one that several stages compare is read once."""
    known: dict[int, tuple[ref[Tensor], str]] = {}

    def digest_of(values: Tensor, *, without_nan: bool = False) -> str:
        kept = known.get(id(values))
        if kept is None or kept[0]() is not values:
            kept = known[id(values)] = ref(values), digest(values, without_nan=without_nan)
        return kept[1]

    return digest_of


def positions(count: int) -> list[int]:
    """Which elements of a tensor of `count` are kept: the first, the last, and evenly between; `SAMPLED` at most.

    They depend on the count alone, so every device keeps the same ones.
    """
    kept = min(SAMPLED, count)
    return [place * (count - 1) // (kept - 1) for place in range(kept)] if kept > 1 else list(range(kept))


def sample(values: NDArray[np.float64]) -> list[float]:
    """The elements at `positions` of an array of one dimension."""
    numbers: list[float] = values[_places(values.size)].tolist()
    return numbers


@cache
def _places(count: int) -> NDArray[np.int64]:
    return np.array(positions(count), dtype=np.int64)
