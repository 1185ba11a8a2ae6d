"""Which processes a run has left behind: they all carry a token that was put into the environment before it."""

import os
import time
import uuid
from pathlib import Path
from typing import Final

VARIABLE: Final = "ACCURACY_TEST_RUN"


def mark() -> str:
    """Puts a token into the environment that every process started from now on inherits; returns it."""
    os.environ[VARIABLE] = uuid.uuid4().hex
    return os.environ[VARIABLE]


def left_behind(token: str) -> list[str]:
    """Commands of living processes, other than this one, that carry the token."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if token.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text(errors="replace").replace("\0", " "))
            except OSError:
                continue  # it has ended, or is not ours
    return found


def gone(token: str, patience: float = 5.0) -> bool:
    """Whether every process of the run ends within `patience` seconds."""
    until = time.monotonic() + patience
    while left_behind(token) and time.monotonic() < until:
        time.sleep(0.02)
    return not left_behind(token)
