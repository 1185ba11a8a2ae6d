"""The functions of `_compiled.c`, where this package was installed with a compiler."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def function(name: str) -> Callable[..., Any] | None:
    """The function of that name; nothing where it was not built, and numpy serves.

    Nor is one taken that was built of another checkout, which an editable install offers to a source tree without.
    """
    try:
        from accuracy import _compiled
    except ImportError:
        return None
    beside = Path(_compiled.__file__).parent == Path(__file__).parent
    found: Callable[..., Any] | None = getattr(_compiled, name) if beside else None
    return found
