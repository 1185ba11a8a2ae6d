"""What a user gives on the command line, as values: durations, limits, waivers, libraries, runs."""

import re
import sys
from collections.abc import Sequence
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


def exploring(text: str | None, usual_s: float) -> Any:
    """How much to explore, as an `accuracy.exploration.Budget`; for None the usual time. None for not at all.

    Raises:
        UsageError: for anything else than off, a duration or a number of examples from 1 on.
    """
    from accuracy.exploration import Budget

    if text is None:
        return Budget(seconds=usual_s) if usual_s else None
    if text == "off":
        return None
    if re.fullmatch(r"0*[1-9]\d{0,8}", text, re.ASCII):
        return Budget(examples=int(text))
    try:
        return Budget(seconds=seconds(text))
    except UsageError:
        raise UsageError(
            f"explore {text!r} is no budget; write 30s or 10m for all cases together, 200 for examples of each, or off"
        ) from None


def sharing(text: str | None) -> Any:
    """The share of the plan that is asked for, as an `accuracy.shards.Shard`; None for all of it.

    Raises:
        UsageError: for anything but a text such as 2/3.
    """
    from accuracy import shards

    try:
        return None if text is None else shards.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from None


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


def load_baseline(asked: str | None) -> Any:
    """The run to hold a night against: the one that is named, not `none`, or by default the user's; None for none.

    Raises:
        UsageError: if the user's baseline is not what it was when it was set.
    """
    from accuracy import baseline

    if asked == "none":
        return None
    if asked is not None:
        return opened(found_run(Path(asked)))
    if (named := baseline.kept()) is None:
        return None
    folder, hashed = named
    if not folder.is_dir():
        raise UsageError(f"the baseline {folder} is gone; name another with `accuracy baseline set RUN`, or clear it")
    stored = opened(folder)
    if stored.manifest["hash"] != hashed:
        raise UsageError(f"the baseline {folder} has changed since it was set; look, and set it again")
    return stored


def opened(run: Path, columns: Sequence[str] | None = None) -> Any:
    """The run that a user names, which may be a stranger's, with all columns of its observations or some."""
    from accuracy import quarantine, store

    return store.read(run, first=quarantine.survive, columns=None if columns is None else lambda _: columns)


def found_run(run: Path) -> Path:
    """The folder of a run: a page knows its name, not where it stands, so that `runs/` is looked into too."""
    under = Path("runs") / run
    return under if not run.is_dir() and under.is_dir() else run


def wanted_ids(case: str | None, failed: Sequence[str] | None) -> list[str]:
    """The cases to measure again: the one that is named, or those that failed.

    Raises:
        UsageError: if both or neither are asked for, or none failed.
    """
    if (case is None) == (failed is None):
        raise UsageError("give the id of a case, as the report shows it, or --failed for all that failed")
    if failed is not None and not failed:
        raise UsageError("no case of this run failed; give the id of one to measure it again")
    return [case] if case is not None else list(failed or ())
