"""Run folders: what a run leaves behind, read complete and provably unchanged, or not at all.

The manifest holds the SHA-256 of every other file and of itself (`accuracy.storing` writes them), so every byte is
checked. Parquet alone would not do: without page checksums two of three flipped bits read back as other numbers.
Nothing here is ever unpickled.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from accuracy import schemas, shards
from accuracy import shape as shapes
from accuracy.case import canonical_json
from accuracy.files import JOURNAL, StoreError, read_file

if TYPE_CHECKING:  # tables are tried and read by Arrow alone, while pandas is imported
    import pandas as pd

MANIFEST: Final = "manifest.json"
PLAN, OBSERVATIONS, VERDICTS, SUMMARY = "plan.parquet", "observations.parquet", "verdicts.parquet", "verdict.json"
COMPARISON: Final = "comparison.parquet"
SCHEMA: Final = 1

LARGEST_TEXT: Final = 64 << 20
LARGEST_TABLE: Final = 2 << 30
LARGEST_UNPACKED: Final = 16 << 30
MOST_ROWS: Final = 50_000_000
"""Caps on what is read, so that a stranger's folder cannot fill the memory."""

FEW_COLUMNS: Final = 12
"""As many are read sooner than threads start."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run as it is stored. Frames have the columns of their files, `summary` is `verdict.json`.

    `comparison` has one row a cell as `accuracy.change.frame` makes it; None where there was no baseline.
    """

    folder: Path
    manifest: dict[str, Any]
    plan: "pd.DataFrame"
    observations: "pd.DataFrame"
    verdicts: "pd.DataFrame"
    summary: dict[str, Any]
    comparison: "pd.DataFrame | None" = None


def is_unfinished(folder: Path) -> bool:
    """Whether a run was begun there and has not been stored."""
    return (folder / JOURNAL).exists() and not (folder / MANIFEST).exists()


def read(
    folder: Path,
    *,
    first: Callable[[Path, Sequence[tuple[bytes, Sequence[str] | None]]], None] | None = None,
    columns: Callable[[Mapping[str, Any]], Sequence[str]] | None = None,
) -> Run:
    """The run in `folder`, every byte of it checked against the manifest.

    `first` is given the tables before they are read here, with the columns that will be: `accuracy.quarantine.survive`,
    where the run may be a stranger's. `columns` says of a manifest which columns of the observations are wanted, by
    default all. Lists stay Arrow's (`accuracy.lists` takes them apart).

    Raises:
        StoreError: if anything is missing, damaged, too large or of another version.
    """
    manifest = read_manifest(folder)
    wanted = None if columns is None else columns(manifest)
    tables = (PLAN, OBSERVATIONS, VERDICTS, *([COMPARISON] if COMPARISON in manifest["files"] else []))
    names = (*tables, SUMMARY)
    data = {name: _checked(folder / name, manifest["files"].get(name)) for name in names}
    summary = _shaped(folder / SUMMARY, _json(folder / SUMMARY, data[SUMMARY]), shapes.SUMMARY)
    if first is not None:
        first(folder, [(data[name], wanted if name == OBSERVATIONS else None) for name in tables])
    return Run(
        folder=folder,
        manifest=manifest,
        plan=_frame(_table(folder / PLAN, data[PLAN], schemas.PLAN)),
        observations=_frame(_table(folder / OBSERVATIONS, data[OBSERVATIONS], schemas.OBSERVATION, wanted)),
        verdicts=_frame(_table(folder / VERDICTS, data[VERDICTS], schemas.VERDICT)),
        summary=summary,
        comparison=_frame(_table(folder / COMPARISON, data[COMPARISON], schemas.COMPARISON))
        if COMPARISON in tables
        else None,
    )


def read_verdicts(folder: Path, columns: Sequence[str]) -> tuple[dict[str, Any], pa.Table]:
    """The manifest of the run in `folder` and some columns of its verdicts, checked as `read` does.

    Its rows are not touched, so that this takes milliseconds.

    Raises:
        StoreError: if what is read is missing, damaged, too large or of another version.
    """
    return _read_one(folder, VERDICTS, schemas.VERDICT, columns)


def read_observations(folder: Path, columns: Sequence[str]) -> tuple[dict[str, Any], pa.Table]:
    """The manifest of the run in `folder` and some columns of its observations, checked as `read` does.

    Raises:
        StoreError: if what is read is missing, damaged, too large or of another version.
    """
    return _read_one(folder, OBSERVATIONS, schemas.OBSERVATION, columns)


def _read_one(folder: Path, name: str, schema: pa.Schema, columns: Sequence[str]) -> tuple[dict[str, Any], pa.Table]:
    manifest = read_manifest(folder)
    data = _checked(folder / name, manifest["files"].get(name))
    return manifest, _table(folder / name, data, schema, columns)


def read_parts(
    folder: Path,
    manifest: Mapping[str, Any],
    columns: Sequence[str],
    first: Callable[[Path, Sequence[tuple[bytes, Sequence[str] | None]]], None],
) -> tuple[pa.Table, pa.Table]:
    """The plan of the run in `folder` and some columns of its observations, all files checked as `read` does.

    Raises:
        StoreError: if anything is missing, damaged or too large, or not what the manifest says.
    """
    data = {name: _checked(folder / name, manifest["files"].get(name)) for name in (PLAN, OBSERVATIONS, VERDICTS)}
    first(folder, [(each, None) for each in data.values()])
    plan = _table(folder / PLAN, data[PLAN], schemas.PLAN)
    return plan, _table(folder / OBSERVATIONS, data[OBSERVATIONS], schemas.OBSERVATION, columns)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, whole and of this version; its entry `files` holds the hashes of the other files.

    Raises:
        StoreError: if it is missing, damaged or of another version.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder} is no folder; the folder of a run is wanted")
    manifest = _json(folder / MANIFEST, read_file(folder / MANIFEST, LARGEST_TEXT))
    if manifest.get("schema") != SCHEMA:
        seen = manifest.get("schema")
        raise StoreError(f"{folder} has format {seen!r}, and {SCHEMA} is wanted: use the version that wrote it")
    if not isinstance(manifest.get("files"), dict) or manifest.get("hash") != own_hash(manifest):
        raise StoreError(f"{folder / MANIFEST} is damaged: its hash is not that of its text; restore it or run again")
    if wrong := shards.misfit(manifest.get("parts")):
        raise StoreError(f"{folder / MANIFEST}: {wrong}; use the version that wrote it")
    return _shaped(folder / MANIFEST, manifest, shapes.MANIFEST)


def _shaped(path: Path, value: dict[str, Any], shape: Any) -> dict[str, Any]:
    if wrong := shapes.misfit(value, shape):
        raise StoreError(f"{path}: {wrong}; use the version that wrote it")
    return value


def sha256(data: bytes) -> str:
    """The hash that the manifest holds of a file, in hex."""
    return hashlib.sha256(data).hexdigest()


def own_hash(manifest: Mapping[str, Any]) -> str:
    """The SHA-256 of all that a manifest says, save this hash."""
    return sha256(canonical_json({name: value for name, value in manifest.items() if name != "hash"}).encode())


def _checked(path: Path, wanted: object) -> bytes:
    data = read_file(path, LARGEST_TABLE)
    seen = sha256(data)
    if seen != wanted:
        raise StoreError(
            f"{path} is damaged or was being rewritten: its SHA-256 is {seen[:16]}…, the manifest has "
            f"{str(wanted)[:16]}…; run again or restore the folder"
        )
    return data


def _json(path: Path, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not JSON: {error}; it is damaged: restore the folder or run again") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path} is not a JSON object; it is damaged: restore the folder or run again")
    return value


def _table(path: Path, data: bytes, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in `data`, or some of its columns, after a look at its size and schema."""
    wanted = schema.names if columns is None else list(columns)
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        groups = [file.metadata.row_group(number).total_byte_size for number in range(file.metadata.num_row_groups)]
        if file.metadata.num_rows > MOST_ROWS or sum(groups) > LARGEST_UNPACKED:
            raise StoreError(f"{path} unpacks to {file.metadata.num_rows} rows, {sum(groups)} bytes: too many to read")
        there = file.schema_arrow
        added = [field for field in schema if field.name in schemas.ADDED and field.name not in there.names]
        if not there.equals(pa.schema([field for field in schema if field not in added])):
            differ = sorted(set(there.names) ^ set(schema.names)) or "types"
            raise StoreError(f"{path} has another schema ({differ}): use the version that wrote it")
        stored = [name for name in wanted if name in there.names]
        table = file.read(stored, use_threads=len(stored) > FEW_COLUMNS)
        for field in added:
            table = table.append_column(field, pa.array([schemas.ADDED[field.name]] * table.num_rows, type=field.type))
        return table.select(wanted)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} is damaged: {str(error).splitlines()[0]}; run again or restore the folder") from error


def _frame(table: pa.Table) -> "pd.DataFrame":
    """The table for pandas; its lists stay Arrow's."""
    from accuracy.lists import kept  # pandas comes with it

    return table.to_pandas(types_mapper=kept)
