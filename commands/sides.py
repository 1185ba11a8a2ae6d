"""The two sides of a comparison: runs that are stored, and libraries that are measured side by side.

Apart from `commands.folders`, since SciPy's statistics take half a second, which a nightly run has not to wait for.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from accuracy import arms, nightly, progress, store, storing, unfinished
from accuracy.arguments import load_library, opened
from accuracy.cases import CASES
from accuracy.change import CellChange
from accuracy.files import write_file
from accuracy.journal import Journal
from commands import folders
from reports import publish
from reports.terminal import INCOMPLETE, INTERRUPTED, end

SIDES: Final = ("baseline", "candidate")
COMPARISON: Final = "comparison.json"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison: a stored run, or a library that is to be measured."""

    asked: str
    run: Any = None
    library: Any = None


def side(asked: str) -> Side:
    """What a user names: the folder of a run, or a library, which is fetched before anything is run.

    Raises:
        StoreError, LibraryError: if it is neither.
    """
    if (Path(asked) / store.MANIFEST).is_file():
        return Side(asked=asked, run=opened(Path(asked)))
    return Side(asked=asked, library=load_library(asked, None))


def measured(sides: Sequence[Side], options: arms.Options, folder: Path | None, *, unpaired: bool) -> list[Any]:
    """The runs of both sides, once the libraries among them are measured side by side into folders of `folder`.

    Exits 130 if that is interrupted, which leaves both runs to be resumed, and 3 if a library cannot be measured.

    Raises:
        ComparisonError: if a stored run has another plan than was asked for, and pairs are wanted.
        StoreError: if a folder cannot be used.
    """
    runs = [each.run for each in sides]
    asked = [number for number, each in enumerate(sides) if each.run is None]
    if folder is None or not asked:
        return runs
    stored = [run for run in runs if run is not None]
    options = options.as_in(stored[0].manifest) if stored else options
    prepared = arms.prepared([sides[number].library for number in asked], options, CASES)
    if stored and not unpaired:
        arms.same_plan(stored[0].manifest, arms.plan_to_be(prepared[0]))
    targets = [folder / SIDES[number] for number in asked]
    for each in targets:
        storing.prepare(each)
    with ExitStack() as stack:
        journals = [
            stack.enter_context(Journal(each, one.key, about=unfinished.about(one)))
            for each, one in zip(targets, prepared, strict=True)
        ]
        with progress.shown() as show:
            results = nightly.run_together(prepared, journals, show)
        for each, result, journal in zip(targets, results, journals, strict=True):
            folders.written(each, result, journal)
    if any(result.interrupted for result in results):
        end(f"interrupted; go on with each of {folder}/* by `accuracy nightly --resume`", INTERRUPTED)
    for number, result in zip(asked, results, strict=True):
        runs[number] = store.read(folder / SIDES[number])
        unusable = result.manifest["unusable"]
        if len(unusable) == len(result.manifest["devices"]["found"]):
            why = next(iter(unusable.values()), "there is no such device here")
            end(f"{sides[number].asked} cannot be measured: {why}", INCOMPLETE)
    return runs


def compared(
    folder: Path, runs: Sequence[Any], found: Sequence[CellChange], document: Mapping[str, Any], *, paired: bool
) -> Path:
    """Write the comparison: the candidate's run with its page, and `comparison.json`; returns the page's path."""
    target = folder / SIDES[1]
    target.mkdir(parents=True, exist_ok=True)
    run = arms.write(target, runs[0], runs[1], found, paired=paired)
    publish.write_stored(target, run)
    write_file(folder / COMPARISON, json.dumps(document, indent=1).encode())
    return target / publish.PAGE
