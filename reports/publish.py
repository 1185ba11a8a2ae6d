"""Where a run is told of: the page and its twins in the run folder, and GitHub's job summary and annotations."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from accuracy import signature
from accuracy.files import write_file
from reports import github, junit, markdown, render, view

PAGE, JUNIT, MARKDOWN = "report.html", "junit.xml", "summary.md"


def write(  # noqa: PLR0917  the four parts of a run and where they go
    folder: Path,
    manifest: Mapping[str, Any],
    observations: pd.DataFrame,
    verdicts: pd.DataFrame,
    summary: Mapping[str, Any],
    out: Path | None = None,
) -> view.Page:
    """Write the page to `out`, or to the run folder with the same verdicts as JUnit XML and as Markdown.

    Raises:
        StoreError: if a file cannot be written.
    """
    signatures = signature.read(folder, manifest)
    page = view.build(manifest, observations, verdicts, summary, run=folder.name, signatures=signatures)
    write_file(out or folder / PAGE, render.html(page).encode())
    if out is None:
        write_file(folder / JUNIT, junit.render(manifest, verdicts).encode())
        write_file(folder / MARKDOWN, markdown.render(page).encode())
    return page


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
