"""The script of each cause, made from its worst row, or from the smallest config that was found for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from accuracy.plan import PlanError
from accuracy.scripts import found, program
from accuracy.scripts.failure import ScriptError
from accuracy.shrunk import Shrunk, of_case
from reports import words
from reports.causes import Cause


@dataclass(frozen=True, kw_only=True)
class Script:
    """A program to copy, and how small its config is, if that was looked for. Without a `text`, `note` says why."""

    text: str
    command: str
    note: str


def of_cause(
    cause: Cause, manifest: Mapping[str, Any], observations: pd.DataFrame, smaller: Sequence[Shrunk], run: str
) -> Script:
    """The script of a cause."""
    rows = observations[(observations["id"] == cause.worst_id) & (observations["stage"] == cause.stage)]
    rows = rows[rows["quantity"].isin(cause.quantities) & rows["device"].isin(cause.devices)]
    rows = rows[
        [(str(row), str(device)) in cause.members for row, device in zip(rows["id"], rows["device"], strict=True)]
    ]
    row = {str(name): value for name, value in rows.sort_values("ratio", na_position="last").iloc[-1].items()}
    known = of_case(smaller, str(row["id"]), str(row["device"]), f"{row['stage']}/{row['quantity']}")
    command = words.script(run, cause.worst_id)
    try:
        failure = found.of_row(row, manifest["versions"], smaller)
        text = program.text(failure, found.bounds_of(manifest))
    except (KeyError, PlanError, ScriptError) as error:
        return Script(text="", command=command, note=words.clipped(f"No script: {error}."))
    return Script(text=text, command=command, note="" if known is None else _note(known))


def _note(known: Shrunk) -> str:
    before, after = (words.count(each) for each in known.elements)
    return f"Shrunk from {before} to {after} elements; failed in {known.failed} of {known.tried} runs."
