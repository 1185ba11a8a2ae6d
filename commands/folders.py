"""What commands that measure leave in folders: a run with its page."""

from pathlib import Path
from typing import Any

from accuracy import storing
from accuracy.conclusion import Result
from accuracy.journal import Journal
from reports import publish


def written(folder: Path, result: Result, journal: Journal, *, nights_in: Path | None = None) -> Any:
    """Store a run and its page; returns the page. What is complete needs its journal no more."""
    manifest = storing.write(
        folder,
        result.manifest,
        result.plan,
        result.observations,
        result.verdicts,
        result.summary,
        comparison=result.comparison,
    )
    page = publish.write(
        folder,
        manifest,
        result.observations,
        result.verdicts,
        result.summary,
        comparison=result.comparison,
        nights_in=nights_in,
    )
    if result.complete:
        journal.discard()
    return page
