"""The process that reads a stranger's tables first, with caps on memory and time. It hands nothing back."""

import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

MEMORY: Final = 8 << 30
"""Bytes that reading may take."""

SECONDS: Final = 120
"""Seconds of processor time."""


def main(memory: int, sizes: Sequence[int]) -> None:
    """Reads tables of these sizes from standard input. What Arrow finds wrong with them is its caller's to say."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pa.set_cpu_count(1)
    for size in sizes:
        data = sys.stdin.buffer.read(size)
        try:
            pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
            continue


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(size) for size in sys.argv[2:]])
    os._exit(0)  # without Arrow's own end, in which a thread that still runs terminates the process now and then
