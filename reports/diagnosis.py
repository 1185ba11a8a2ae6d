"""Causes with the script of each, and both as JSON, so that another process than the page's may find them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from accuracy.case import Verdict
from reports import causes, scripts
from reports.causes import Cause
from reports.condition import Condition
from reports.frames import Cell, Frames
from reports.scripts import Script
from reports.trigger import Trigger

if TYPE_CHECKING:
    from accuracy.shrunk import Shrunk


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One cause, and the script that shows its worst case."""

    cause: Cause
    script: Script


def find(
    frames: Frames,
    manifest: Mapping[str, Any],
    observations: pd.DataFrame,
    smaller: "Sequence[Shrunk]",
    run: str,
) -> tuple[Diagnosis, ...]:
    """All causes in the order of `causes.find`; `smaller` is what was shrunk of the run."""
    found = causes.find(frames)
    rows = scripts.worst_rows(found, observations)
    return tuple(
        Diagnosis(cause=cause, script=scripts.of_cause(cause, manifest, rows, smaller, run)) for cause in found
    )


def text(found: Sequence[Diagnosis]) -> str:
    """The same as JSON."""
    entries = [asdict(each) for each in found]
    for entry in entries:
        entry["cause"]["members"] = sorted(entry["cause"]["members"])
    return json.dumps(entries)


def read(said: str) -> tuple[Diagnosis, ...]:
    """What `text` was made of."""
    return tuple(
        Diagnosis(cause=_cause(entry["cause"]), script=Script(**entry["script"])) for entry in json.loads(said)
    )


def _cause(values: Mapping[str, Any]) -> Cause:
    tuples = {name: tuple(values[name]) for name in ("quantities", "devices", "dtypes")}
    return Cause(
        **{
            **values,
            **tuples,
            "kind": Verdict(values["kind"]),
            "trigger": values["trigger"] and _trigger(values["trigger"]),
            "also": tuple(tuple(each) for each in values["also"]),
            "cells": tuple(Cell(*each) for each in values["cells"]),
            "members": frozenset((identity, device) for identity, device in values["members"]),
        }
    )


def _trigger(values: Mapping[str, Any]) -> Trigger:
    return Trigger(**{**values, "conditions": tuple(Condition(**each) for each in values["conditions"])})
