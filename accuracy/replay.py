"""What became of stored cases that were measured again: fixed, still failing, or failing in another way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

import pandas as pd

from accuracy import store
from accuracy.case import BROKEN, Status

ANSWERED: Final = (Status.OK.value, *BROKEN)
"""Statuses of what has run."""

COLUMNS: Final = ("id", "case", "device", "stage", "quantity", "status", "reason")
"""What is looked at of a stored observation."""

Fault: TypeAlias = tuple[str, str, str]
"""Stage, quantity and status of a check that is not as it must be."""


class Outcome(StrEnum):
    """What became of one case on one device, worst first."""

    DIFFERENT = "different"
    STILL_FAILS = "still fails"
    NOT_RUN = "not run"
    FIXED = "fixed"
    PASSES = "passes"


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One case on one device: what it was and is, with the reason in words where it is not well."""

    id: str
    case: str
    device: str
    outcome: Outcome
    reason: str


def failed(stored: store.Run) -> list[str]:
    """The ids of a run that failed somewhere, in the order of its plan."""
    bad = set(stored.observations.loc[stored.observations["status"].isin(BROKEN), "id"])
    return [identity for identity in stored.plan["id"] if identity in bad]


def compared(stored: pd.DataFrame, again: pd.DataFrame) -> list[Replayed]:
    """What became of each case and device of `again`, given the stored observations of its run."""
    before = _by_pair(stored[stored["id"].isin(again["id"])])
    return [
        _replayed(identity, device, before.get((identity, device), stored.iloc[:0]), rows)
        for (identity, device), rows in _by_pair(again).items()
    ]


def exit_code(found: Sequence[Replayed]) -> int:
    """0 if all that failed is fixed, 1 if something fails, 3 if something did not run."""
    outcomes = {each.outcome for each in found}
    if outcomes & {Outcome.DIFFERENT, Outcome.STILL_FAILS}:
        return 1
    return 3 if Outcome.NOT_RUN in outcomes or not found else 0


def faults(rows: pd.DataFrame) -> frozenset[Fault]:
    """The checks among the rows of a case on a device that fail, crash or time out."""
    bad = rows[rows["status"].isin(BROKEN)]
    return frozenset(bad[["stage", "quantity", "status"]].itertuples(index=False, name=None))


def _by_pair(rows: pd.DataFrame) -> Mapping[tuple[str, str], pd.DataFrame]:
    return {(str(key[0]), str(key[1])): group for key, group in rows.groupby(["id", "device"], sort=False)}


def _replayed(identity: str, device: str, before: pd.DataFrame, now: pd.DataFrame) -> Replayed:
    outcome, reason = _outcome(before, now)
    return Replayed(id=identity, case=str(now["case"].iloc[0]), device=device, outcome=outcome, reason=reason)


def _outcome(before: pd.DataFrame, now: pd.DataFrame) -> tuple[Outcome, str]:
    old, new = faults(before), faults(now)
    if new:
        said = _words(now)
        if new == old:
            return Outcome.STILL_FAILS, said
        was = _named(old) if old else "nothing failed"
        return Outcome.DIFFERENT, f"{said}; fails in {_named(new)}, stored: {was}"
    idle = now[now["status"] == Status.NOT_RUN]
    if len(idle):
        return Outcome.NOT_RUN, str(idle["reason"].iloc[0])
    unsupported = now[now["status"] == Status.NOT_SUPPORTED]
    gone = set(_checks(before[before["status"].isin(ANSWERED)])) - set(_checks(now[now["status"].isin(ANSWERED)]))
    if len(unsupported) and gone:
        return Outcome.DIFFERENT, f"not supported: {unsupported['reason'].iloc[0]}"
    return (Outcome.FIXED, _named(old)) if old else (Outcome.PASSES, "")


def _words(rows: pd.DataFrame) -> str:
    """The reason of the first check that is not as it must be."""
    return str(rows.loc[rows["status"].isin(BROKEN), "reason"].iloc[0])


def _checks(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(rows[["stage", "quantity"]].itertuples(index=False, name=None))


def _named(found: frozenset[Fault]) -> str:
    return ", ".join(
        f"{stage}/{quantity}{'' if status == Status.FAIL else f' ({status})'}"
        for stage, quantity, status in sorted(found)
    )
