"""The first release on which a stored case fails as it failed in its run: bisection over what an index offers.

A release that cannot be told, since it is not there for this platform, cannot be imported, does not support
the case or fails it in another way, is stepped over, and named if it may be the one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import pandas as pd

from accuracy.case import BROKEN, Stage, Status

Check: TypeAlias = Mapping[str, Any]
"""One stored row that fails."""

_SAME_WORDS = 60
"""Letters of a reason, numbers left out, in which two exceptions must agree to be the same."""

_ORDER = {stage.value: place for place, stage in enumerate(Stage)}


class BisectError(ValueError):
    """Ends between which nothing can be found; the message says what was seen, what was wanted and what to do."""


class Seen(StrEnum):
    """What one release shows."""

    GOOD = "good"
    BAD = "bad"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One release, what it shows, and in words why."""

    version: str
    seen: Seen
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """`first_bad` holds the release, with those before it that cannot be told; `last_good` is the one before these."""

    last_good: str
    first_bad: tuple[str, ...]


def between(releases: Sequence[str], good: str, bad: str) -> list[str]:
    """The releases from `good` to `bad`, both of which are there.

    Raises:
        BisectError: if one of them is not, or `bad` is not the later.
    """
    for name in (good, bad):
        if name not in releases:
            raise BisectError(f"there is no release {name} for this platform; choose of {', '.join(releases)}")
    low, high = releases.index(good), releases.index(bad)
    if low >= high:
        raise BisectError(f"{bad} is not after {good}; give an earlier --good or a later --bad")
    return list(releases[low : high + 1])


def search(releases: Sequence[str], probe: Callable[[str], Probe]) -> Found:
    """Bisects from a first release that is good to a last that is bad.

    Raises:
        BisectError: if the ends are not so.
    """
    for version, wanted in ((releases[0], Seen.GOOD), (releases[-1], Seen.BAD)):
        end = probe(version)
        if end.seen is not wanted:
            said = "fails" if end.seen is Seen.BAD else "does not fail" if end.seen is Seen.GOOD else "cannot be told"
            words = f": {end.reason}" if end.reason else ""
            raise BisectError(f"{version} was given as {wanted} and {said}{words}; give another --{wanted}")
    low, high, skipped = 0, len(releases) - 1, set[int]()
    while left := [place for place in range(low + 1, high) if place not in skipped]:
        middle = min(left, key=lambda place: abs(2 * place - low - high))
        seen = probe(releases[middle]).seen
        if seen is Seen.SKIPPED:
            skipped.add(middle)
        elif seen is Seen.BAD:
            high = middle
        else:
            low = middle
    return Found(last_good=releases[low], first_bad=tuple(releases[low + 1 : high + 1]))


def check(stored: pd.DataFrame, name: str = "") -> Check:
    """The row of one case on one device whose failure is looked for: that of `name`, stage/quantity, or the first.

    Raises:
        BisectError: if nothing failed in the stored rows, or not that check.
    """
    failing = stored[stored["status"].isin(BROKEN)]
    if failing.empty:
        raise BisectError("that case did not fail in the run; give the id of one that did")
    rows = sorted(failing.to_dict("records"), key=lambda row: _ORDER[row["stage"]])
    named = {f"{row['stage']}/{row['quantity']}": {str(key): value for key, value in row.items()} for row in rows}
    if name and name not in named:
        raise BisectError(f"{name!r} did not fail in that case; choose of {', '.join(named)}")
    return named[name or next(iter(named))]


def told(version: str, wanted: Check, now: pd.DataFrame) -> Probe:
    """What a release shows, by the `check` that is looked at and the rows of its case as measured on it.

    It is bad if the check fails in the same way: a number beyond its limit, or an exception, crash or timeout
    of the same words. It is good if it passes.
    """
    same = now[(now["stage"] == wanted["stage"]) & (now["quantity"] == wanted["quantity"])]
    row = same.iloc[0] if len(same) else None
    if row is not None and row["status"] == Status.OK:
        return Probe(version=version, seen=Seen.GOOD)
    if row is not None and row["status"] == wanted["status"]:
        gists = {_gist(str(each["reason"])) for each in (row, wanted)}
        if wanted["quantity"] != "completes" or len(gists) == 1:
            return Probe(version=version, seen=Seen.BAD)
    odd = now[now["status"] != Status.OK]
    words = f"{odd['status'].iloc[0]}: {odd['reason'].iloc[0]}" if len(odd) else "the check was not made"
    return Probe(version=version, seen=Seen.SKIPPED, reason=words)


def _gist(reason: str) -> str:
    return re.sub(r"\d+", "", reason)[:_SAME_WORDS]
