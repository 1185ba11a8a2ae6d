"""Opens a stranger's tables first in a process that may die of it.

Arrow says of itself that invalid data may crash the process that reads it. So what comes from outside is
read once in a process with caps on memory and time (`accuracy.taster`), which hands nothing back; only tables
that it survives are read by the command itself.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from accuracy.files import StoreError
from accuracy.rows import exit_reason, plain
from accuracy.taster import MEMORY, SECONDS


def survive(folder: Path, tables: Sequence[bytes], *, memory: int = MEMORY) -> None:
    """Reads Parquet tables in a process of its own, which may take so many bytes of memory.

    Raises:
        StoreError: if that process dies of them or takes more than it may.
    """
    own = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), own)))
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "accuracy.taster", str(memory), *(str(len(table)) for table in tables)],
            env={**os.environ, "PYTHONPATH": path},
            input=b"".join(tables),
            capture_output=True,
            check=False,
            timeout=2 * SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise StoreError(f"{folder} has tables that cannot be read in {SECONDS} s; ask for another copy") from None
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().splitlines() or [exit_reason(ended.returncode)]
        raise StoreError(f"{folder} has a table that kills its reader ({plain(said[-1])}); ask for another copy")
