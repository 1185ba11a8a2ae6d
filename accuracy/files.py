"""Files of a run folder, written whole or not at all and read without trust.

A name in the folder may be a link that somebody planted, a device, or far too large: nothing is
followed, nothing is overwritten in place, nothing is read beyond its cap.
"""

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

JOURNAL: Final = "journal.jsonl"
"""The file that an unfinished run has and a finished one has not."""

SHRUNK: Final = "shrunk.json"
"""The file of a run that holds what was shrunk of it."""

_TEMPORARY: Final = re.compile(r"\..+\.[0-9a-f]{16}")


class StoreError(Exception):
    """A run folder cannot be read or written. The text says what was seen, what was wanted and what to do."""


def write_file(path: Path, data: bytes) -> None:
    """Puts `data` under `path` whole or not at all, readable by the owner only, following no link.

    Raises:
        StoreError: if it cannot be written; what was there before is then still there.
    """
    with appearing(path) as file:
        left = memoryview(data)
        while left:
            left = left[os.write(file.fileno(), left) :]


@contextmanager
def appearing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write piece by piece that is under `path` once the block ends, and nowhere if it ends with an error.

    Raises:
        StoreError: if it cannot be written; what was there before is then still there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        if path.is_symlink():
            raise StoreError(f"{path} is a link; a file of the run is wanted there: remove it or name another folder")
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)  # noqa: PTH105  the call a fault test makes fail
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}; free space or name another folder"
        ) from error


def sweep(folder: Path) -> None:
    """Removes the unfinished files that a killed `write_file` has left in `folder`.

    Raises:
        OSError: if one cannot be removed.
    """
    for entry in folder.iterdir():
        if _TEMPORARY.fullmatch(entry.name):
            entry.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path, largest: int) -> bytes:
    """The whole of a regular file, no link, of at most `largest` bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            seen = os.fstat(descriptor)
            if not stat.S_ISREG(seen.st_mode):
                raise StoreError(f"{path} is not a regular file; the folder of a run is wanted")
            if seen.st_size > largest:
                raise StoreError(f"{path} has {seen.st_size} bytes, and at most {largest} are read")
            return file.read(largest)
    except FileNotFoundError as error:
        unfinished = (path.parent / JOURNAL).exists()
        what = (
            "the run is not finished: go on with --resume" if unfinished else "the folder of a finished run is wanted"
        )
        raise StoreError(f"{path} is missing; {what}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}; a regular file of a run is wanted") from error
