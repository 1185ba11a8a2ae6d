"""Memory that nobody wrote, as a layer sees it."""

import platform
import struct

import numpy as np
import pytest
import torch

from accuracy import unwritten

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators fill nothing")


def seen(dtype: torch.dtype) -> set[float]:
    """What memory holds that was just allocated, small and large, after others have used it."""
    values: set[float] = set()
    for size in (1, 1000, 10**6, 3 * 10**7):
        torch.full((size,), 7, dtype=dtype)
        values |= set(np.unique(torch.empty(size, dtype=dtype).numpy()).tolist())
    return values


@pytest.mark.parametrize(
    ("dtype", "value"), [(torch.float32, struct.unpack("f", b"\x7f" * 4)[0]), (torch.int8, 127), (torch.uint8, 127)]
)
def test_it_is_the_same_in_every_run_and_far_from_any_value(dtype: torch.dtype, value: float) -> None:
    with unwritten.filled():
        assert seen(dtype) == {value}


def test_a_float16_is_no_number() -> None:
    with unwritten.filled():
        assert torch.empty(1000, dtype=torch.float16).isnan().all()


def test_memory_of_the_host_is_left_alone_where_an_accelerator_computes() -> None:
    with unwritten.filled_for("cpu"):
        assert seen(torch.int8) == {127}
    with unwritten.filled_for("cuda"):
        assert seen(torch.int8) != {127}


def test_it_ends_with_the_block() -> None:
    """What a check allocates is not filled: that would cost more than it shows."""
    with pytest.raises(KeyError), unwritten.filled():
        raise KeyError

    assert seen(torch.int8) != {127}
