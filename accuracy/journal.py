"""The record of a run while it is under way: what is in it survives the death of everything else.

Lines are appended and never changed; `accuracy.contents` says what is in them.
"""

import errno
import fcntl
import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from accuracy.contents import FORMAT, LARGEST, Contents, parse
from accuracy.files import JOURNAL, StoreError
from accuracy.packing import Answer
from accuracy.shards import Whole
from accuracy.wire import compact_json

SYNC_SECONDS: Final = 0.5
SYNC_LINES: Final = 64
"""The disk is waited for this often: a loss of power costs at most so much, the death of a process nothing."""

PLAN_LINE: Final = 500
"""Most tasks in a line of the plan."""


class Journal:
    """The journal of the run in `folder`, locked to this process as long as it is open.

    `key` says what the run is: what its plan is drawn from, devices, limits, versions; a run with another key is
    another run. `about` is what else is needed to report on it when it is cut off. Values are plain JSON.
    """

    def __init__(
        self, folder: Path, key: Mapping[str, Any], *, about: Mapping[str, Any] | None = None, resume: bool = False
    ) -> None:
        """Opens or begins the journal.

        Raises:
            StoreError: if it cannot be written, another process has it, there is none to resume or one that
                is not to be resumed, or it belongs to a run with another key.
        """
        self.path = folder / JOURNAL
        flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if resume else os.O_CREAT | os.O_EXCL)
        try:
            self._file = os.open(self.path, flags, 0o600)
        except FileExistsError as error:
            raise StoreError(f"{self.path} exists: another run is there; name another folder or --resume") from error
        except FileNotFoundError as error:
            raise StoreError(f"{self.path} is missing: there is nothing to resume; leave --resume out") from error
        except OSError as error:
            raise StoreError(f"{self.path} cannot be opened: {error.strerror}; name another folder") from error
        try:
            self._lock()
            self._begin({"journal": FORMAT, "key": dict(key), "about": dict(about or {})}, resume=resume)
        except BaseException:
            os.close(self._file)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{self.path} is in use by a run under way; wait for it or name another folder") from error
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be locked ({error.strerror}), so two runs could mix; name a folder on a local disk"
            ) from error

    def _begin(self, header: dict[str, Any], *, resume: bool) -> None:
        self._size, self._unsynced, self._synced = 0, 0, time.monotonic()
        contents = self._load(header) if resume else None
        if contents is None:
            body = json.dumps(header, sort_keys=True).encode()
            self._start = 0
            self._append(body)
            contents = Contents(header=header, plan=[], facts={}, texts={}, damaged=0, start=zlib.crc32(body))
            self.sync()
        self._contents, self._start = contents, contents.start
        self._planned = {row["id"] for row in contents.plan}

    def _load(self, header: Mapping[str, Any]) -> Contents | None:
        """What is there, without a half line at its end; nothing if not even the first line is whole."""
        size = os.fstat(self._file).st_size
        if size > LARGEST:
            raise StoreError(f"{self.path} has {size} bytes, and at most {LARGEST} are read; begin in another folder")
        data = self._read(size)
        contents = parse(self.path, data)
        self._size = 0 if contents is None else data.rfind(b"\n") + 1
        os.ftruncate(self._file, self._size)
        if contents is not None:
            self._same_run(contents.header.get("key", {}), header["key"])
        return contents

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (chunk := os.pread(self._file, size - len(data), len(data))):
            data += chunk
        return bytes(data)

    def _same_run(self, seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        now = json.loads(json.dumps(wanted))
        differ = [name for name in sorted({*seen, *now}) if seen.get(name) != now.get(name)]
        if differ:
            texts = [f"{name} was {seen.get(name)!r}, now is {now.get(name)!r}" for name in differ]
            raise StoreError(
                f"{self.path} is of another run: {'; '.join(texts)[:400]}; repeat its options or use a new folder"
            )

    @property
    def damaged(self) -> int:
        """Lines that failed their checksum when the journal was opened."""
        return self._contents.damaged

    def outcomes(self) -> dict[tuple[str, str], Answer]:
        """Answers by (task id, device), as an earlier part of this run settled them. They are given once."""
        outcomes = self._contents.outcomes()
        self._contents.texts.clear()
        return outcomes

    @property
    def planned(self) -> Sequence[Mapping[str, str]]:
        """The tasks that an earlier part of this run planned or explored, as `accuracy.plan.rows` gives them."""
        return self._contents.plan

    def plan(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Keeps planned tasks, as `accuracy.plan.rows` gives them; those it has already are left out.

        Raises:
            StoreError: if it cannot be written.
        """
        new = [dict(row) for row in rows if row["id"] not in self._planned]
        self._planned.update(row["id"] for row in new)
        for first in range(0, len(new), PLAN_LINE):
            self._append(b"plan\t" + compact_json(new[first : first + PLAN_LINE]).encode())

    def end_plan(self, whole: Whole) -> None:
        """Says that all tasks that were to be planned have been kept, and of which plan they are.

        Raises:
            StoreError: if it cannot be written.
        """
        if self._contents.whole is None:
            self._contents.whole = whole
            self._append(b"plan\t" + json.dumps(whole._asdict()).encode())

    def settle(self, task_id: str, device: str, text: bytes) -> None:
        """Keeps the outcome of one pair, packed.

        Raises:
            StoreError: if it cannot be written; what was written before is whole.
        """
        self._append(b"\t".join((b"rows", device.encode(), task_id.encode(), text)))

    def hello(self, device: str, facts: Mapping[str, Any]) -> None:
        """Keeps what a device's workers run on.

        Raises:
            StoreError: if an earlier part of this run had other facts, or it cannot be written.
        """
        seen = self._contents.facts.get(device)
        now = json.loads(json.dumps(facts))
        if seen is None:
            self._contents.facts[device] = now
            self._append(b"\t".join((b"facts", device.encode(), json.dumps(now).encode())))
        elif seen != now:
            differ = [name for name in sorted({*seen, *now}) if seen.get(name) != now.get(name)]
            texts = [f"{name} was {seen.get(name)!r}, now is {now.get(name)!r}" for name in differ]
            raise StoreError(f"{self.path}: {device} is not what it was: {'; '.join(texts)[:400]}; use a new folder")

    def _append(self, body: bytes) -> None:
        line = b"%08x\t%b\n" % (zlib.crc32(body, self._start), body)
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise self._cannot(error) from error
        if written < len(line):  # the disk is full, though no error says so
            os.ftruncate(self._file, self._size)
            raise self._cannot(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        self._size += written
        self._unsynced += 1
        if self._unsynced >= SYNC_LINES or time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Waits until the disk has all that was written.

        Raises:
            StoreError: if it refuses.
        """
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise self._cannot(error) from error
        self._unsynced, self._synced = 0, time.monotonic()

    def _cannot(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self.path} cannot be written: {error.strerror}; all before is kept: make room, then go on with --resume"
        )

    def discard(self) -> None:
        """Removes the journal once the run is stored."""
        self.path.unlink()

    def close(self) -> None:
        """Lets go of the lock. Closing twice is an error."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.sync()
        finally:
            self.close()
