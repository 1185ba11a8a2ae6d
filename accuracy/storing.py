"""Writes run folders: whole and provably unchanged, or not at all.

Each file is written under another name, synced and then renamed; the manifest comes last and holds
the SHA-256 of every other and of itself. So a folder without a manifest is an unfinished run, and one whose hashes
disagree was damaged or was being rewritten (`accuracy.store` reads them).
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from accuracy import schemas
from accuracy.files import JOURNAL, StoreError, appearing, sweep, write_file
from accuracy.store import COMPARISON, MANIFEST, OBSERVATIONS, PLAN, SCHEMA, SUMMARY, VERDICTS, Run, own_hash, sha256

if TYPE_CHECKING:
    import pandas as pd

JUDGED: Final = ("ratio", "limit", "basis", "status", "reason")
"""Columns of observations that judging may change; the rest is as measured."""


def prepare(folder: Path, *, resume: bool = False) -> None:
    """Makes the folder of a run, or checks that it can be used.

    A folder that is resumed loses the half files of a write that was killed.

    Raises:
        StoreError: if it holds anything and `resume` is false, if it is not a folder, or if `resume` is
            true and there is nothing to resume.
    """
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        held = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise StoreError(f"{folder} cannot be the folder of a run: {error.strerror}; name another") from error
    if resume and JOURNAL not in held:
        what = "a finished run" if MANIFEST in held else "no journal"
        raise StoreError(
            f"{folder} holds {what}: there is nothing to resume; leave --resume out or name another folder"
        )
    if resume:
        sweep(folder)
    elif held:
        what = "another run" if {MANIFEST, JOURNAL} & set(held) else f"other files ({held[0]})"
        raise StoreError(f"{folder} holds {what}; an empty or new folder is wanted: name another, or --resume")


def write(  # noqa: PLR0917  the five parts of a run, in the order of `Run`
    folder: Path,
    manifest: Mapping[str, Any],
    plan: "pd.DataFrame",
    observations: "pd.DataFrame",
    verdicts: "pd.DataFrame",
    summary: Mapping[str, Any],
    *,
    comparison: "pd.DataFrame | None" = None,
) -> dict[str, Any]:
    """Stores a run and returns its manifest with the hashes of its files under `files`.

    Raises:
        StoreError: if a frame has other columns than its schema, or a file cannot be written.
    """
    data = {
        PLAN: _parquet(PLAN, plan, schemas.PLAN),
        OBSERVATIONS: _parquet(OBSERVATIONS, observations, schemas.OBSERVATION),
        **({} if comparison is None else {COMPARISON: _parquet(COMPARISON, comparison, schemas.COMPARISON)}),
        **_judgement(verdicts, summary),
    }
    return _write_all(folder, manifest, data)


def rewrite_verdicts(
    run: Run, observations: "pd.DataFrame", verdicts: "pd.DataFrame", summary: Mapping[str, Any], **changed: Any
) -> dict[str, Any]:
    """Stores another judgement of the same measurements; `changed` are entries of the manifest, as `limits_hash`.

    A crash between two files leaves hashes that disagree, which `read` says.

    Raises:
        StoreError: if `observations` differs from the stored ones elsewhere than in the columns `JUDGED`.
    """
    measured = [field for field in schemas.OBSERVATION if field.name not in JUDGED]
    if not all(_same(run.observations[field.name], observations[field.name], field) for field in measured):
        raise StoreError(f"{run.folder}: judging changed what was measured; only {', '.join(JUDGED)} may change")
    data = {
        OBSERVATIONS: _parquet(OBSERVATIONS, observations, schemas.OBSERVATION),
        **_judgement(verdicts, summary),
    }
    return _write_all(run.folder, {**run.manifest, **changed}, data)


@contextmanager
def writing_observations(folder: Path) -> Iterator[Callable[[pa.Table], None]]:
    """What to call with the observations of a run, some rows at a time. They are stored once the block ends.

    Raises:
        StoreError: if they cannot be written.
    """
    with (
        appearing(folder / OBSERVATIONS) as file,
        pq.ParquetWriter(file, schemas.OBSERVATION, **_packing(schemas.OBSERVATION)) as writer,
    ):
        yield writer.write_table


def write_around_observations(
    folder: Path,
    manifest: Mapping[str, Any],
    plan: "pd.DataFrame",
    verdicts: "pd.DataFrame",
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    """Stores what belongs to observations that `writing_observations` has stored; else as `write`.

    Raises:
        StoreError: as `write`.
    """
    with (folder / OBSERVATIONS).open("rb") as file:
        observed = hashlib.file_digest(file, "sha256").hexdigest()
    data = {PLAN: _parquet(PLAN, plan, schemas.PLAN), **_judgement(verdicts, summary)}
    return _write_all(folder, {**manifest, "files": {OBSERVATIONS: observed}}, data)


def typed(frame: "pd.DataFrame", schema: pa.Schema) -> pa.Table:
    """The columns of `schema`. NaN stays NaN: a number that was not measured is not a missing cell.

    Raises:
        ValueError: if a cell has no value.
    """
    arrays = [_array(frame[field.name], field.type) for field in schema]
    empty = [field.name for field, array in zip(schema, arrays, strict=True) if array.null_count]
    if empty:
        raise ValueError(f"columns {empty} have cells without a value")
    return pa.table(arrays, schema=schema)


def _array(column: "pd.Series[Any]", kind: pa.DataType) -> Any:
    """A column for Arrow; what is Arrow's own, and numbers, without an object of Python for each value."""
    if hasattr(column.array, "__arrow_array__"):
        return pa.array(column, type=kind, from_pandas=False)
    values: Any = column.to_numpy() if column.dtype.kind in "iufb" else column.tolist()
    return pa.array(values, type=kind, from_pandas=False)


def _write_all(folder: Path, manifest: Mapping[str, Any], data: Mapping[str, bytes]) -> dict[str, Any]:
    hashes = {
        **manifest.get("files", {}),
        **{name: sha256(content) for name, content in data.items()},
    }
    whole = {name: value for name, value in manifest.items() if name != "hash"} | {"schema": SCHEMA, "files": hashes}
    whole["hash"] = own_hash(whole)
    for name, content in data.items():
        write_file(folder / name, content)
    text = json.dumps(whole, indent=1, sort_keys=True, allow_nan=False)
    write_file(folder / MANIFEST, text.encode() + b"\n")
    stored: dict[str, Any] = json.loads(text)  # in the order in which it will be read, so that pages come out the same
    return stored


def _judgement(verdicts: "pd.DataFrame", summary: Mapping[str, Any]) -> dict[str, bytes]:
    return {
        VERDICTS: _parquet(VERDICTS, verdicts, schemas.VERDICT),
        SUMMARY: json.dumps(summary, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n",
    }


def _parquet(name: str, frame: "pd.DataFrame", schema: pa.Schema) -> bytes:
    """The frame as a file."""
    if list(frame.columns) != schema.names:
        differ = sorted(set(frame.columns) ^ set(schema.names)) or "in another order"
        raise StoreError(f"{name} would have other columns than it must: {differ}")
    try:
        table = typed(frame, schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise StoreError(f"{name} would have values of another type than it must: {error}") from error
    table = table.replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **_packing(schema))
    return sink.getvalue().to_pybytes()


def _packing(schema: pa.Schema) -> dict[str, Any]:
    """How a table is written. Texts repeat, so they are numbered; numbers hardly do, and a dictionary only costs time.

    Lists of them, most of a run, are split by byte: all the first bytes, then all the second. Those of counts and of
    neighbours are alike, so that a run takes four fifths of the space and three fifths of the time.
    """
    texts, lists = [], []
    for field in schema:
        several = pa.types.is_list(field.type)
        name = f"{field.name}.list.element" if several else field.name
        if pa.types.is_string(field.type.value_type if several else field.type):
            texts.append(name)
        elif several:
            lists.append(name)
    return {
        "compression": "zstd",
        "write_page_checksum": True,
        "use_dictionary": texts,
        "column_encoding": dict.fromkeys(lists, "BYTE_STREAM_SPLIT"),
    }


def _same(one: "pd.Series[Any]", other: "pd.Series[Any]", field: "pa.Field[Any]") -> bool:
    """Whether two columns hold the same, NaN being equal to NaN: by their bytes, where Arrow has NaN differ."""
    schema = pa.schema([field])
    return _bytes(typed(one.to_frame(), schema)) == _bytes(typed(other.to_frame(), schema))


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()
