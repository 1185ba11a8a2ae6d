"""Where a run is told of: the page and its twins in the run folder, and GitHub's job summary and annotations."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from accuracy import history, signature
from accuracy.files import SHRUNK, write_file
from reports import github, known, markdown, past, render, scripts, view
from reports.past import Past

if TYPE_CHECKING:
    from accuracy.conclusion import Result
    from accuracy.shrunk import Shrunk
    from accuracy.store import Run

PAGE, JUNIT, MARKDOWN, HISTORY = "report.html", "junit.xml", "summary.md", "history.html"


def write(  # noqa: PLR0917  the four parts of a run and where they go
    folder: Path,
    manifest: Mapping[str, Any],
    observations: pd.DataFrame,
    verdicts: pd.DataFrame,
    summary: Mapping[str, Any],
    out: Path | None = None,
    *,
    comparison: pd.DataFrame | None = None,
    nights_in: Path | None = None,
) -> view.Page:
    """Write the page to `out`, or to the run folder with the same verdicts as JUnit XML and as Markdown.

    `comparison` is what became of each cell since a baseline; `nights_in` is a folder of run folders: those from
    before this run are its past.

    Raises:
        StoreError: if a file cannot be written.
    """
    signatures = signature.read(folder, manifest)
    past = None if nights_in is None else _past(nights_in, folder.name, manifest, verdicts)
    page = view.build(
        manifest,
        observations,
        verdicts,
        summary,
        run=folder.name,
        signatures=signatures,
        past=past,
        smaller=_smaller(folder),
        comparison=comparison,
    )
    write_file(out or folder / PAGE, render.html(page).encode())
    if out is None:
        from reports import junit

        write_file(folder / JUNIT, junit.render(manifest, verdicts).encode())
        write_file(folder / MARKDOWN, markdown.render(page).encode())
    return page


def write_stored(
    folder: Path, stored: "Run | Result", out: Path | None = None, *, nights_in: Path | None = None
) -> view.Page:
    """The same of a run as it was read from its folder."""
    return write(
        folder,
        stored.manifest,
        stored.observations,
        stored.verdicts,
        stored.summary,
        out,
        comparison=stored.comparison,
        nights_in=nights_in,
    )


def ahead() -> Iterator[None]:
    """Does now, piece by piece, what the first page would do once; first what every page needs."""
    known.load()
    render.compiled()
    yield
    yield from scripts.ahead()


def write_history(runs: Path, out: Path) -> Mapping[str, str]:
    """Write the index of the runs in a folder; returns the folders that could not be read, with why.

    Raises:
        StoreError: if `runs` is no folder, or the page cannot be written.
    """
    from reports import nights

    page, unreadable = nights.write(runs, out)
    write_file(out, page.encode())
    return unreadable


def _smaller(folder: Path) -> "list[Shrunk]":
    """What was shrunk of a run. What reads it knows all layers, and is imported where there is something to read."""
    if not (folder / SHRUNK).is_file():
        return []
    from accuracy import shrunk

    return shrunk.read(folder)


def _past(root: Path, folder: str, manifest: Mapping[str, Any], verdicts: pd.DataFrame) -> Past:
    earlier = history.read(root, before=str(manifest["created"]), leave_out=str(manifest["hash"]))
    return past.build(earlier, folder, manifest, verdicts)


def announce(page: view.Page, environment: Mapping[str, str]) -> None:
    """Where GitHub Actions runs this: annotations on stderr, which it reads, and the Markdown in the job summary.

    A summary that cannot be written costs one line on stderr and not the verdict.
    """
    if environment.get("GITHUB_ACTIONS") == "true":
        for line in github.annotations(page):
            sys.stderr.write(line + "\n")
    target = environment.get("GITHUB_STEP_SUMMARY")
    if not target:
        return
    try:
        with Path(target).open("ab") as file:
            file.write(github.summary(markdown.render(page), already=os.fstat(file.fileno()).st_size))
    except OSError as error:
        sys.stderr.write(f"accuracy: the job summary {target} cannot be written: {error.strerror}\n")
