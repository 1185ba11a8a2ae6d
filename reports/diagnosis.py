"""Causes with the script of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports import causes, scripts
from reports.causes import Cause
from reports.frames import Frames
from reports.scripts import Script

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
