"""Opens strangers' tables first in a process that may die of them.

Arrow says of itself that invalid data may crash the process that reads it. So what comes from outside is
read once in a process with caps on memory and time (`accuracy.taster`), which hands nothing back; only tables
that it survives are read by the command itself.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from accuracy.files import StoreError

MEMORY: Final = 8 << 30
"""Bytes that reading may take."""

SECONDS: Final = 120
"""Seconds of processor time for the tables of one folder."""

THREADS: Final = "OPENBLAS_NUM_THREADS"
"""What OpenBLAS, which comes with numpy, reads when it is loaded: its threads wait for work at full speed."""

Table = tuple[bytes, Sequence[str] | None]
"""A Parquet table, and those of its columns that will be read; None for all."""

Taste = Callable[[Path, Sequence[Table]], None]
"""Reads the tables of a folder elsewhere. Raises StoreError if that process dies of them."""


def survive(folder: Path, tables: Sequence[Table], *, memory: int = MEMORY) -> None:
    """Reads Parquet tables in a process of its own, which may take so many bytes of memory.

    Raises:
        StoreError: if that process dies of them or takes more than it may.
    """
    with tasting(memory=memory) as taste:
        taste(folder, tables)


@contextmanager
def tasting(*, memory: int = MEMORY) -> Iterator[Taste]:
    """One process for the tables of many folders: starting it takes longer than most tables. A new one if it dies.

    It starts at once, beside what its caller has to do before there are tables.
    """
    one_at_a_time = threading.Lock()
    with tempfile.TemporaryFile() as said:
        running = [_started(memory, said)]

        def taste(folder: Path, tables: Sequence[Table]) -> None:
            with one_at_a_time:
                if not running:
                    running.append(_started(memory, said))
                if not _survives(running[0], tables):
                    code = _ended(running.pop())
                    raise StoreError(f"{folder} has {_end(code, said)}; ask for another copy")

        try:
            yield taste
        finally:
            for process in running:
                _ended(process)


def _started(memory: int, said: IO[bytes]) -> "subprocess.Popen[bytes]":
    own = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), own)))
    said.truncate(0)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "accuracy.taster", str(memory), str(SECONDS)],
        env={**os.environ, "PYTHONPATH": path, THREADS: "1"},  # Arrow imports numpy
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
    )


def _survives(process: "subprocess.Popen[bytes]", tables: Sequence[Table]) -> bool:
    """Whether the process reads these tables and lives. It is killed when that takes far too long."""
    asking, answer = _pipes(process)
    watch = threading.Timer(2 * SECONDS, process.kill)
    watch.start()
    try:
        said = (f"{len(data)}:{','.join(columns or ())}" for data, columns in tables)
        asking.write(f"{' '.join(said)}\n".encode("ascii"))
        for data, _ in tables:
            asking.write(data)
        asking.flush()
        return answer.readline() == b"\n"
    except BrokenPipeError:
        return False
    finally:
        watch.cancel()


def _ended(process: "subprocess.Popen[bytes]") -> int:
    """Its exit code, once nothing more is asked of it."""
    for pipe in _pipes(process):
        with suppress(BrokenPipeError):
            pipe.close()
    return process.wait()


def _pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("started with pipes")
    return process.stdin, process.stdout


def _end(code: int, said: IO[bytes]) -> str:
    """What a folder has that ended its reader so."""
    if code in {-signal.SIGKILL, -signal.SIGXCPU}:
        return f"tables that cannot be read in {SECONDS} s"
    from accuracy.rows import exit_reason, plain  # numpy comes with it: a process is started before that is there

    said.seek(0)
    words = said.read().decode(errors="replace").strip().splitlines() or [exit_reason(code)]
    return f"a table that kills its reader ({plain(words[-1])})"
