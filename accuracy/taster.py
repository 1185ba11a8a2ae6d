"""The process that reads strangers' tables first, with caps on memory and time. It says that it lives, and no more.

It is asked on standard input, folder by folder: a line with the size of each table and, after a colon, the columns
that will be read where these are not all, as `71 5308677:id,ratio`; then the tables. To each folder that it survives
it answers with a line on standard output.
"""

import os
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

WRONG: Final = (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError)
"""What Arrow raises of a table that is damaged."""


def main(memory: int, seconds: int) -> None:
    """Reads until nobody asks any more: in so many bytes, and so many seconds of processor time for a folder."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pa.set_cpu_count(1)
    for line in iter(sys.stdin.buffer.readline, b""):
        _taste([table.partition(":") for table in line.decode("ascii").split()], seconds)
        sys.stdout.write("\n")
        sys.stdout.flush()


def _taste(tables: Sequence[tuple[str, str, str]], seconds: int) -> None:
    """Reads tables, each given as size, colon and columns. What Arrow finds wrong with them is its caller's to say."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds, hard))
    for size, _, columns in tables:
        data = sys.stdin.buffer.read(int(size))
        with suppress(*WRONG):
            _read(pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True), columns.split(","))


def _read(file: pq.ParquetFile, columns: Sequence[str]) -> None:
    """Reads columns, or all where none is named; if one is wrong each by itself, since its caller may want another."""
    there = [name for name in file.schema_arrow.names if name in columns or not any(columns)]
    try:
        file.read(there, use_threads=False)
    except WRONG:
        for name in there:
            with suppress(*WRONG):
                file.read([name], use_threads=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)  # without Arrow's own end, in which a thread that still runs terminates the process now and then
