"""Memory that nobody wrote: filled while a layer runs, so that what the layer makes of it is wrong in every run.

What is allocated then holds bytes 0x7f: 3.4e38 in float32 and bfloat16, NaN in float16, 127 in int8. So what is read
before it is written is far off, and by the same values each time. Where the allocator is not glibc's, nothing is
filled. Filling everything that a worker allocates would cost a quarter of its time.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

M_PERTURB: Final = -6
"""`mallopt`'s option (glibc, malloc.h): memory is filled with the complement of this byte, and with the byte when it is
freed; 0 fills nothing."""

FILL: Final = 0x7F


def filled_for(device: str) -> AbstractContextManager[None]:
    """`filled` for a layer that computes on the CPU; nothing for one on an accelerator, by torch's name of its type.

    There the layer does not read what is filled, while its libraries take megabytes of the host for a product, and
    touch next to nothing of them: on one H200 a sixth of the pages that measuring 4-bit layers touched was this.
    """
    return filled() if device == "cpu" else nullcontext()


@contextmanager
def filled() -> Iterator[None]:
    """Memory that is allocated meanwhile, by whatever thread, is filled."""
    _mallopt(M_PERTURB, FILL ^ 0xFF)
    try:
        yield
    finally:
        _mallopt(M_PERTURB, 0)


def _found() -> Callable[[int, int], int]:
    try:
        function = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return lambda _option, _value: 0
    function.argtypes, function.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    found: Callable[[int, int], int] = function
    return found


_mallopt: Final = _found()
