"""Work beside other work: in a fork of this process where there is a core for it, else when its answer is wanted."""

import os
import warnings
from collections.abc import Callable

Aside = Callable[[Callable[[], str]], Callable[[], str]]
"""Takes work, and gives what waits for its answer."""


def here(work: Callable[[], str]) -> Callable[[], str]:
    """Does the work in this process, once its answer is wanted."""
    return work


def forked(work: Callable[[], str]) -> Callable[[], str]:
    """Does the work in a fork, which has all that this process has read. If that dies, the work is done here after all.

    No other thread may be at work in this process: a lock that it held would be held for ever in the fork.
    """
    if len(os.sched_getaffinity(0)) == 1:
        return work
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: Arrow's, which are idle
        child = os.fork()
    if child == 0:
        _answer(work, writing)
    os.close(writing)

    def answer() -> str:
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        return said.decode() if status == 0 else work()

    return answer


def _answer(work: Callable[[], str], writing: int) -> None:
    """In the fork: the answer, and the end, without whatever else the process would do at its end."""
    try:
        said = work().encode()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(said)
        os._exit(0)
    finally:
        os._exit(1)
