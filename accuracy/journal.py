"""The record of a run while it is under way: what is in it survives the death of everything else.

One line an outcome, appended, never changed: a checksum, a tab, then device, task id and the packed
rows. Checksums start from that of the first line, which names the run, so a line of another run does
not pass. A line that fails its checksum counts as not written and its task runs again; a half line
at the end, as a kill or a full disk leaves it, is cut off before anything is added.
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

from accuracy.files import JOURNAL, StoreError
from accuracy.rows import Row, RowError, pack, unpack

FORMAT: Final = 2
SYNC_SECONDS: Final = 0.5
SYNC_LINES: Final = 64
"""The disk is waited for this often: a loss of power costs at most so much, the death of a process nothing."""

LARGEST: Final = 4 << 30


class Journal:
    """The journal of the run in `folder`, locked to this process as long as it is open.

    `key` says what the run is: plan, seed, devices, limits, versions. Values are plain JSON.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], *, resume: bool = False) -> None:
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
            self._begin(key, resume=resume)
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

    def _begin(self, key: Mapping[str, Any], *, resume: bool) -> None:
        self._start = 0
        self._outcomes: dict[tuple[str, str], dict[str, Any]] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self.damaged = 0
        self._unsynced = 0
        self._synced = time.monotonic()
        header = {"journal": FORMAT, "key": dict(key)}
        if resume and self._load(header):
            return
        self._append(json.dumps(header, sort_keys=True).encode())
        self._start = self._checksum(json.dumps(header, sort_keys=True).encode())
        self.sync()

    def _load(self, header: Mapping[str, Any]) -> bool:
        """Takes in what is there; false if not even the first line is."""
        size = os.fstat(self._file).st_size
        if size > LARGEST:
            raise StoreError(f"{self.path} has {size} bytes, and at most {LARGEST} are read; begin in another folder")
        data = self._read(size)
        whole = data.rfind(b"\n") + 1
        if whole < size:
            os.ftruncate(self._file, whole)
        first, *lines = data[:whole].split(b"\n")[:-1] or [b""]
        body = self._body(first)
        if not whole or (body is None and not lines):
            os.ftruncate(self._file, 0)
            return False
        if body is None:
            raise StoreError(f"{self.path}: its first line is damaged, so whose it is cannot be told; use a new folder")
        self._same_run(json.loads(body), header)
        self._start = self._checksum(body)
        for line in lines:
            self._take(self._body(line))
        return True

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (chunk := os.pread(self._file, size - len(data), len(data))):
            data += chunk
        return bytes(data)

    def _same_run(self, seen: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        if seen.get("journal") != FORMAT:
            raise StoreError(f"{self.path} has format {seen.get('journal')!r}, {FORMAT} is wanted: use a new folder")
        one, other = seen.get("key", {}), json.loads(json.dumps(wanted["key"]))
        differ = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
        if differ:
            texts = [f"{name} was {one.get(name)!r}, now is {other.get(name)!r}" for name in differ]
            raise StoreError(
                f"{self.path} is of another run: {'; '.join(texts)[:400]}; repeat its options or use a new folder"
            )

    def _take(self, body: bytes | None) -> None:
        """One line after the first: facts of a device or an outcome. The first one of a pair counts."""
        kind, _, rest = (body or b"").partition(b"\t")
        if kind == b"facts":
            device, _, text = rest.partition(b"\t")
            self._facts.setdefault(device.decode(), json.loads(text))
        elif kind == b"rows":
            device, task_id, text = rest.split(b"\t", 2)
            self._outcomes.setdefault((task_id.decode(), device.decode()), json.loads(text)["rows"])
        else:
            self.damaged += 1

    def _checksum(self, body: bytes) -> int:
        return zlib.crc32(body, self._start)

    def _body(self, line: bytes) -> bytes | None:
        """What a line says, or nothing if it is damaged."""
        checksum, _, body = line.partition(b"\t")
        return body if checksum == b"%08x" % self._checksum(body) else None

    def outcomes(self) -> dict[tuple[str, str], list[Row]]:
        """Rows by (task id, device), as an earlier part of this run settled them."""
        rows: dict[tuple[str, str], list[Row]] = {}
        for (task_id, device), packed in self._outcomes.items():
            try:
                rows[task_id, device] = unpack(packed, task_id=task_id, device=device)
            except RowError:
                self.damaged += 1
        self._outcomes.clear()
        return rows

    def settle(self, task_id: str, device: str, rows: Sequence[Row], raw: bytes = b"") -> None:
        """Keeps the outcome of one pair; `raw` is the worker's own JSON text of it, if it came from one.

        Raises:
            StoreError: if it cannot be written; what was written before is whole.
        """
        text = raw or json.dumps({"rows": pack(rows)}, separators=(",", ":")).encode()
        self._append(b"\t".join((b"rows", device.encode(), task_id.encode(), text)))

    def hello(self, device: str, facts: Mapping[str, Any]) -> None:
        """Keeps what a device's workers run on.

        Raises:
            StoreError: if an earlier part of this run had other facts, or it cannot be written.
        """
        seen = self._facts.get(device)
        now = json.loads(json.dumps(facts))
        if seen is None:
            self._facts[device] = now
            self._append(b"\t".join((b"facts", device.encode(), json.dumps(now).encode())))
        elif seen != now:
            differ = [name for name in sorted({*seen, *now}) if seen.get(name) != now.get(name)]
            texts = [f"{name} was {seen.get(name)!r}, now is {now.get(name)!r}" for name in differ]
            raise StoreError(f"{self.path}: {device} is not what it was: {'; '.join(texts)[:400]}; use a new folder")

    def _append(self, body: bytes) -> None:
        line = b"%08x\t%b\n" % (self._checksum(body), body)
        end = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise self._cannot(error) from error
        if written < len(line):  # the disk is full, though no error says so
            os.ftruncate(self._file, end)
            raise self._cannot(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
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
