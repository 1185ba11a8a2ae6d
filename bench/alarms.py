"""Whether nights cry wolf: `python -m bench.alarms RUN...`, for runs of one build and one device under several seeds.

A cell that fails or did not run must do so in every run, and each failing row must fit a finding of docs/findings.md.
What does neither is a false alarm, or a finding that nobody has written down. Warnings of a finding may come and go.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import pandas as pd

from accuracy import store
from accuracy.case import Status
from accuracy.files import StoreError
from reports import known
from reports.columns import SIZES

Cell: TypeAlias = tuple[str, str, str, str, str]
CELL: Final = ["case", "device", "dtype", "stage", "quantity"]
BAD: Final = (Status.FAIL, Status.CRASH, Status.TIMEOUT, Status.NOT_SUPPORTED)


@dataclass(frozen=True, kw_only=True)
class Night:
    """What one run says: its cells, those that fail or did not run or warn, and failing rows that fit no finding."""

    name: str
    cells: int
    alarms: frozenset[Cell]
    warnings: frozenset[Cell]
    news: tuple[tuple[str, ...], ...]


def night(name: str, observations: pd.DataFrame, verdicts: pd.DataFrame) -> Night:
    """One run, from its tables. What its adapter or the library refuses in words of its own is no news."""
    alarms, warnings = (
        frozenset(verdicts.loc[verdicts["verdict"].isin(words), CELL].itertuples(index=False, name=None))
        for words in (["fail", "not_run"], ["warn"])
    )
    rows = observations[observations["status"].isin([status for status in BAD if status is not Status.NOT_SUPPORTED])]
    said: list[dict[str, Any]] = rows[[*CELL, "id", "reason", "config", *SIZES]].to_dict("records")  # type: ignore[assignment]  # names are text
    return Night(
        name=name,
        cells=len(verdicts),
        alarms=alarms,
        warnings=warnings,
        news=tuple(tuple(row[name] for name in (*CELL, "id", "reason")) for row in said if not known.fitting(row)),
    )


def flickering(nights: Sequence[Night]) -> Mapping[Cell, list[str]]:
    """Cells that fail in some of the runs and do not in others, with the names of the runs in which they fail."""
    seen: dict[Cell, list[str]] = defaultdict(list)
    for each in nights:
        for cell in each.alarms:
            seen[cell].append(each.name)
    return {cell: names for cell, names in sorted(seen.items()) if len(names) < len(nights)}


def lines(nights: Sequence[Night]) -> list[str]:
    """What there is to say, a line a fact."""
    said = [f"{each.name}: {len(each.alarms)} of {each.cells} cells fail, {len(each.warnings)} warn" for each in nights]
    common = frozenset.intersection(*(each.alarms for each in nights))
    said.append(f"{len(nights)} runs, {len(common)} failing cells in common")
    for cell, names in flickering(nights).items():
        said.append(f"in {len(names)} of {len(nights)} only: {' '.join(cell)} ({', '.join(names)})")
    said += [f"fits no finding: {each.name} {' '.join(row)}" for each in nights for row in each.news]
    return said


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares the alarms of runs; 1 if some flicker or fit no finding."""
    parser = argparse.ArgumentParser(prog="python -m bench.alarms", description=main.__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    try:
        runs = [store.read(folder) for folder in parser.parse_args(arguments).runs]
    except StoreError as error:
        parser.error(str(error))
    nights = [night(run.folder.name, run.observations, run.verdicts) for run in runs]
    sys.stdout.write("\n".join(lines(nights)) + "\n")
    return int(bool(flickering(nights)) or any(each.news for each in nights))


if __name__ == "__main__":
    sys.exit(main())
