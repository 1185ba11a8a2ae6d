"""What a user gives on the command line, as values: durations, limits, waivers, libraries, runs."""

import re
import sys
from pathlib import Path
from typing import Any


class UsageError(ValueError):
    """An argument that cannot be used."""


def seconds(text: str) -> float:
    """A duration such as 90s, 10m or 2h, in seconds.

    Raises:
        UsageError: for anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", text)
    if match is None:
        raise UsageError(f"time budget {text!r} is no duration; write 90s, 10m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def load_limits(path: Path | None) -> Any:
    """The limits of this file, or the built-in ones."""
    from accuracy import limits

    return limits.load(path or limits.DEFAULT_FILE)


def load_library(asked: str | None, interpreter: str | None) -> Any:
    """The library of this name for this interpreter, or none: the one that is installed."""
    from accuracy import library

    return None if asked is None else library.resolve(asked, interpreter=interpreter or sys.executable)


def load_waivers(path: Path | None) -> Any:
    """The known deviations of this file; none by default, so that a fresh user sees the truth."""
    from accuracy import waivers

    return waivers.load(path) if path else ()


def opened(run: Path) -> Any:
    """The run that a user names, which may be a stranger's."""
    from accuracy import quarantine, store

    return store.read(run, first=quarantine.survive)
