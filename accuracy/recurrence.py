"""The history of one case: on which nights, libraries and devices it was measured, and what failed.

A case recurs where its id does: the published points are in every plan, a finding of a search is replayed, and a
plan of the same seed is the same plan.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from accuracy import store
from accuracy.case import BROKEN, Status
from accuracy.files import StoreError

COLUMNS: Final = ("id", "case", "device", "stage", "quantity", "status", "reason")


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """One night's measurement of the case on one device; `failing` names the checks, empty if none fails."""

    folder: str
    created: str
    version: str
    case: str
    device: str
    status: str
    failing: tuple[str, ...]
    reason: str


def read(root: Path, identity: str) -> tuple[list[Occurrence], Mapping[str, str]]:
    """Every occurrence of a case in the runs of a folder, oldest first; and the folders that cannot be read, with why.

    Raises:
        StoreError: if `root` is no folder, or no run in it has the case.
    """
    if not root.is_dir():
        raise StoreError(f"{root} is no folder; a folder of run folders is wanted")
    unreadable: dict[str, str] = {}
    found: list[Occurrence] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        try:
            manifest, table = store.read_observations(folder, COLUMNS)
        except StoreError as error:
            unreadable[folder.name] = str(error)
            continue
        rows = table.filter(pc.equal(table["id"], pa.scalar(identity))).to_pandas()
        versions, created = manifest["versions"], str(manifest["created"])
        for device, mine in rows.groupby("device", sort=False):
            found.append(_occurrence(folder.name, created, versions.get("bitsandbytes", "unknown"), str(device), mine))
    if not found:
        raise StoreError(f"no run in {root} has the case {identity!r}; the reports and plan.parquet list the ids")
    return sorted(found, key=lambda each: (each.created, each.folder)), unreadable


def failing(found: Iterable[Occurrence]) -> list[Occurrence]:
    """Those that failed."""
    return [each for each in found if each.status in BROKEN]


def _occurrence(folder: str, created: str, version: str, device: str, rows: pd.DataFrame) -> Occurrence:
    worst = min(rows["status"], key=_WORST_FIRST.index)
    shown = rows[rows["status"] == worst]
    bad = rows[rows["status"].isin(BROKEN)]
    return Occurrence(
        folder=folder,
        created=created,
        version=version,
        case=str(rows["case"].iloc[0]),
        device=device,
        status=worst,
        failing=tuple(f"{stage}/{quantity}" for stage, quantity in zip(bad["stage"], bad["quantity"], strict=True)),
        reason=str(shown["reason"].iloc[0]),
    )


_WORST_FIRST: Final[Sequence[str]] = [
    Status.CRASH, Status.TIMEOUT, Status.FAIL, Status.NOT_RUN, Status.NOT_SUPPORTED, Status.OK,
]  # fmt: skip
