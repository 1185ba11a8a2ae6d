"""The digest of a tensor changes with every bit that matters, and the sample is the same elements on every device."""

import math
import struct
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from xxhash import xxh3_64_hexdigest

from accuracy import fingerprint, sent, tally
from accuracy.fingerprint import SAMPLED, digest, positions, sample

QUIET, LOUD = 0x7FC00000, 0x7FC00123
"""Two NaNs of float32 with different payloads."""


def from_bits(*words: int) -> Tensor:
    return torch.tensor([word - (word >> 31 << 32) for word in words], dtype=torch.int32).view(torch.float32)


def test_the_digest_of_a_known_tensor() -> None:
    """The XXH3 of dtype, shape and bytes, put together by hand; that of nothing is in the specification of XXH3."""
    assert xxh3_64_hexdigest(b"") == "2d06800538d394c2"
    said = b"float32 (3,) " + struct.pack("<3f", 1.0, -2.0, 0.5)
    assert digest(torch.tensor([1.0, -2.0, 0.5])) == xxh3_64_hexdigest(said)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (6,), (2, 3)])
def test_every_dtype_and_shape_has_a_digest_of_its_own(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """The same values in another dtype or shape are another result."""
    ones = torch.ones(shape, dtype=dtype)
    assert digest(ones) == digest(ones.clone())
    assert digest(ones) not in {digest(ones.to(torch.int64)), digest(ones.reshape(1, *shape))}


@given(place=st.integers(0, 11), bit=st.integers(0, 31))
def test_one_flipped_bit_changes_the_digest(place: int, bit: int) -> None:
    """Even the sign of a zero: bits are what is compared, and nothing here is NaN before or after."""
    whole = torch.linspace(-1.0, 1.0, 12)
    changed = whole.clone().view(torch.int32)
    changed[place] ^= 1 << bit if bit < 31 else -(1 << 31)
    assert digest(changed.view(torch.float32)) != digest(whole)


def test_every_nan_is_the_same() -> None:
    """Neither payload nor sign of a NaN is promised by anyone; its place and the other elements count."""
    assert digest(from_bits(QUIET, 1)) == digest(from_bits(LOUD, 1)) == digest(from_bits(QUIET | 1 << 31, 1))
    assert digest(from_bits(QUIET, 1)) != digest(from_bits(1, QUIET))
    assert digest(from_bits(QUIET, 1)) != digest(from_bits(QUIET, 2))


def test_a_view_with_gaps_has_the_digest_of_its_elements() -> None:
    """How a device lays a tensor out is not part of the result."""
    table = torch.arange(12.0).reshape(3, 4)
    assert digest(table.T) == digest(table.T.contiguous())
    assert digest(table.T) != digest(table.reshape(4, 3))


def test_which_elements_are_kept() -> None:
    """Worked out: all up to 16, then the first, the last and evenly between, the stride rounded down."""
    assert positions(0) == []
    assert positions(1) == [0]
    assert positions(16) == list(range(16))
    assert positions(31) == list(range(0, 31, 2))
    assert positions(33) == [0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 32]


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.uint8]
)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (4, 6)])
def test_what_is_shown_without_an_array_are_the_same_bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """In row-major order, of a part with gaps and a parameter too; and what the function says comes back."""
    assert fingerprint.compiled is not None
    values = (torch.arange(math.prod(shape)) - 3).reshape(shape).to(dtype)
    parameter = torch.nn.Parameter(values, requires_grad=False)
    for each in (
        values,
        values.T if values.dim() > 1 else values,
        values[..., ::2] if values.dim() else values,
        parameter,
    ):
        shown = fingerprint.compiled(bytes, each)
        assert shown == fingerprint.shown_in_numpy(bytes, each)
        assert len(shown) == each.nbytes


def test_what_is_shown_is_not_kept() -> None:
    """A memory that a function kept shows nothing afterwards, when the tensor may be gone; what it raises is raised."""
    assert fingerprint.compiled is not None
    kept = fingerprint.compiled(lambda memory: memory, torch.ones(3))
    with pytest.raises(ValueError, match="released memoryview"):
        bytes(kept)
    memories: list[memoryview] = []

    def keep(memory: memoryview) -> None:
        memories.append(memory)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fingerprint.compiled(keep, torch.ones(3))
    with pytest.raises(ValueError, match="released memoryview"):
        bytes(memories[0])
    for wrong in (torch.ones(3, device="meta"), torch.ones(3).to_sparse()):
        with pytest.raises((ValueError, RuntimeError)):
            fingerprint.compiled(bytes, wrong)
    with pytest.raises(TypeError, match="a tensor is wanted"):
        fingerprint.compiled(bytes, b"bytes")


@given(count=st.integers(2, 10**9))
def test_the_sample_has_both_ends_and_no_element_twice(count: int) -> None:
    """Whatever the size."""
    kept = positions(count)
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert len(set(kept)) == len(kept) == min(SAMPLED, count)
    assert kept == sorted(kept)


def sampled(values: Tensor) -> NDArray[Any]:
    """What the other end makes of a sample."""
    return sent.array(sample(tally.array(values.double())))


def test_the_sample_holds_values_as_they_are() -> None:
    """In row-major order, widened exactly, special values among them."""
    values = torch.tensor([[1.0, math.inf], [-0.0, 0.1]], dtype=torch.bfloat16)
    assert sampled(values).tolist() == [1.0, math.inf, 0.0, 0.10009765625]
    assert sampled(values.T).tolist() == [1.0, 0.0, math.inf, 0.10009765625]
    assert math.isnan(sampled(torch.tensor([math.nan]))[0])
