"""Tables from outside are read first by a process that may die of them."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_store import FILES, VERDICTS, same, write

from accuracy import quarantine, store
from accuracy.files import StoreError

LIMIT = 256 << 20


def bomb(path: Path) -> None:
    """A table of a few kilobytes whose thousand cells unpack to a gibibyte: one text of a mebibyte, again and again."""
    cell = pa.array(["x" * (1 << 20)])
    table = pa.Table.from_arrays([pa.chunked_array([cell] * 1000)], names=["text"])
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=4 << 20, row_group_size=1000)


@pytest.mark.parametrize("columns", [None, ("text",)])
def test_a_table_that_unpacks_without_end_is_refused_and_this_process_lives(
    tmp_path: Path, columns: tuple[str, ...] | None
) -> None:
    """Its size on disk and in its own metadata is small; reading it takes more than the cap."""
    bomb(tmp_path / "bomb.parquet")
    data = (tmp_path / "bomb.parquet").read_bytes()

    assert len(data) < 1 << 20
    with pytest.raises(StoreError, match="has a table that kills its reader") as error:
        quarantine.survive(tmp_path, [(data, columns)], memory=LIMIT)
    assert "\n" not in str(error.value)


def test_sound_tables_survive_under_the_same_cap(tmp_path: Path) -> None:
    """So the cap is not what refuses them; and a run is then read as it was stored."""
    write(tmp_path / "run")
    tables = [((tmp_path / "run" / name).read_bytes(), None) for name in FILES if name.endswith(".parquet")]

    quarantine.survive(tmp_path, tables, memory=LIMIT)
    run = store.read(tmp_path / "run", first=quarantine.survive)
    assert same(run.verdicts, VERDICTS)
    assert len(run.observations) == 6


def test_a_damaged_table_is_left_to_the_message_that_says_what_is_wrong(tmp_path: Path) -> None:
    """The quarantine says only what kills a reader."""
    quarantine.survive(tmp_path, [(data, None) for data in (b"", b"PAR1", b"no table at all")])


def test_columns_that_will_not_be_read_need_not_be_survived(tmp_path: Path) -> None:
    """And one that an older version had not is nobody's death."""
    bomb(tmp_path / "bomb.parquet")
    quarantine.survive(tmp_path, [((tmp_path / "bomb.parquet").read_bytes(), ("digest",))], memory=LIMIT)


def test_behind_a_damaged_column_the_others_are_tried_too(tmp_path: Path) -> None:
    """Else a page that Arrow refuses would hide another that kills the reader of some columns."""
    cell = pa.array(["x" * (1 << 20)])
    columns: list[Any] = [pa.array(range(1000)), pa.chunked_array([cell] * 1000)]
    table = pa.Table.from_arrays(columns, names=["count", "text"])
    path = tmp_path / "bomb.parquet"
    pq.write_table(table, path, dictionary_pagesize_limit=4 << 20, row_group_size=1000, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[100] ^= 1

    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(pa.BufferReader(bytes(data)), page_checksum_verification=True).read(["count"])
    with pytest.raises(StoreError, match="has a table that kills its reader"):
        quarantine.survive(tmp_path, [(bytes(data), None)], memory=LIMIT)


def test_tables_of_a_damaged_run_are_not_opened_at_all(tmp_path: Path) -> None:
    """Hashes are compared first: bytes that the manifest does not name never reach a parser."""
    write(tmp_path / "run")
    folder = Path(shutil.copytree(tmp_path / "run", tmp_path / "copy"))
    bomb(folder / store.OBSERVATIONS)
    opened: list[Path] = []

    with pytest.raises(StoreError, match="is damaged or was being rewritten"):
        store.read(folder, first=lambda seen, _: opened.append(seen))
    assert opened == []
