"""The script of each cause, made from its worst row, or from the smallest config that was found for it."""

import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports import words
from reports.causes import Cause
from reports.frames import records

if TYPE_CHECKING:
    from accuracy.shrunk import Shrunk


@dataclass(frozen=True, kw_only=True)
class Script:
    """A program to copy, and how small its config is, if that was looked for. Without a `text`, `note` says why."""

    text: str
    command: str
    note: str


def ahead() -> Iterator[None]:
    """Does now, piece by piece, what the first script would: imports all layers and how they are drawn; compiles."""
    from accuracy.scripts import program

    importlib.import_module("accuracy.scripts.found")
    yield
    yield from program.ahead()


def worst_rows(causes: Sequence[Cause], observations: pd.DataFrame) -> list[dict[str, Any]]:
    """The observations of the worst cases of causes, in their order."""
    return records(observations[observations["id"].isin([cause.worst_id for cause in causes])])


def of_cause(
    cause: Cause,
    manifest: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    smaller: "Sequence[Shrunk]",
    run: str,
) -> Script:
    """The script of a cause; `rows` are those of `worst_rows`."""
    # All layers and how they are drawn come along: a page without causes needs none of them.
    from accuracy.plan import PlanError
    from accuracy.scripts import found, program
    from accuracy.scripts.failure import ScriptError
    from accuracy.shrunk import of_case

    mine = [
        row
        for row in rows
        if (row["id"], row["stage"]) == (cause.worst_id, cause.stage)
        and row["quantity"] in cause.quantities
        and (row["id"], row["device"]) in cause.members
    ]
    row = max(reversed(mine), key=lambda row: math.inf if math.isnan(row["ratio"]) else row["ratio"])
    known = of_case(smaller, str(row["id"]), str(row["device"]), f"{row['stage']}/{row['quantity']}")
    command = words.script(run, cause.worst_id)
    try:
        failure = found.of_row(row, manifest["versions"], smaller)
        text = program.text(failure, found.bounds_of(manifest))
    except (KeyError, PlanError, ScriptError) as error:
        return Script(text="", command=command, note=words.clipped(f"No script: {error}."))
    return Script(text=text, command=command, note="" if known is None else _note(known))


def _note(known: "Shrunk") -> str:
    before, after = (words.count(each) for each in known.elements)
    return f"Shrunk from {before} to {after} elements; failed in {known.failed} of {known.tried} runs."
