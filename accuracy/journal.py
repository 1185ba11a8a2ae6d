"""The record of a run while it is under way: what is in it survives the death of everything else.

The first line says what the run is, then come its plan and one line an outcome, appended, never
changed: a checksum, a tab, then device, task id and the packed rows. Checksums start from that of the
first line, so a line of another run does not pass. A line that fails its checksum counts as not
written and its task runs again; a half line at the end, as a kill or a full disk leaves it, is cut off
before anything is added.
"""

import errno
import fcntl
import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from accuracy.files import JOURNAL, StoreError, read_file
from accuracy.packing import Answer, unpack
from accuracy.rows import RowError
from accuracy.shards import Whole

FORMAT: Final = 5
SYNC_SECONDS: Final = 0.5
SYNC_LINES: Final = 64
"""The disk is waited for this often: a loss of power costs at most so much, the death of a process nothing."""

LARGEST: Final = 4 << 30

PLANNED: Final = {"id", "case", "origin", "config", "seed"}
"""Fields of a planned task, all of them text."""

PLAN_LINE: Final = 500
"""Most tasks in a line of the plan."""

WHOLE: Final = {"plan_hash": str, "plan_size": int}
"""Fields of the last line of a plan, which names the plan of which its tasks are: all of it, or a shard."""


@dataclass(kw_only=True)
class Contents:
    """What a journal says.

    `header` is its first line, `plan` the planned tasks as `accuracy.plan.rows` gives them, `whole` names the plan
    that they are of once they are all, `facts` what each device's workers run on, `texts` the outcomes by
    (task id, device) as they were written, `damaged` the number of lines that say nothing. `start` is the checksum
    of the first line.
    """

    header: dict[str, Any]
    plan: list[dict[str, str]]
    facts: dict[str, dict[str, Any]]
    texts: dict[tuple[str, str], bytes]
    damaged: int
    start: int
    whole: Whole | None = None

    def outcomes(self) -> dict[tuple[str, str], Answer]:
        """Answers by (task id, device); what is none of the pair is left out, so that it runs again."""
        answers: dict[tuple[str, str], Answer] = {}
        for (task_id, device), text in self.texts.items():
            try:
                answers[task_id, device] = unpack(text, task_id=task_id, device=device)
            except RowError:
                continue
        return answers


def read(folder: Path) -> Contents:
    """What the journal in `folder` says now. Changes nothing and needs no lock: the run may be under way.

    Raises:
        StoreError: if there is no journal, or its first line is damaged or not yet there.
    """
    path = folder / JOURNAL
    contents = parse(path, read_file(path, LARGEST))
    if contents is None:
        raise StoreError(f"{path} is empty: the run has only begun; wait, or go on with it by --resume")
    return contents


def parse(path: Path, data: bytes) -> Contents | None:
    """What the lines in `data` say, up to the last whole one; nothing if the first was never finished.

    Raises:
        StoreError: if the first line is damaged though others follow it, or of another format.
    """
    first, *lines = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1] or [b""]
    body = _body(first, 0)
    if body is None and not lines:
        return None
    if body is None:
        raise StoreError(f"{path}: its first line is damaged, so whose it is cannot be told; use a new folder")
    header = _json(body)
    if not isinstance(header, dict) or header.get("journal") != FORMAT:
        seen = header.get("journal") if isinstance(header, dict) else header
        raise StoreError(f"{path} has format {seen!r}, {FORMAT} is wanted: use a new folder")
    contents = Contents(header=header, plan=[], facts={}, texts={}, damaged=0, start=zlib.crc32(body))
    damaged = sum(not _take(contents, _body(line, contents.start)) for line in lines)
    return replace(contents, damaged=damaged)


def _take(contents: Contents, body: bytes | None) -> bool:
    """Adds what one line after the first says; false if it says nothing. The first outcome of a pair counts."""
    match (body or b"").split(b"\t", 3):
        case [b"plan", text] if _is_plan(rows := _json(text)):
            contents.plan.extend(rows)
        case [b"plan", text] if _is_whole(end := _json(text)):
            contents.whole = Whole(**end)
        case [b"facts", device, text] if isinstance(facts := _json(text), dict):
            contents.facts.setdefault(device.decode(errors="replace"), facts)
        case [b"rows", device, task_id, text]:
            pair = task_id.decode(errors="replace"), device.decode(errors="replace")
            contents.texts.setdefault(pair, text)
        case _:
            return False
    return True


def _is_plan(rows: Any) -> bool:
    return isinstance(rows, list) and all(
        isinstance(row, dict) and row.keys() == PLANNED and {str}.issuperset(map(type, row.values())) for row in rows
    )


def _is_whole(end: Any) -> bool:
    fields = {name: type(value) for name, value in end.items()} if isinstance(end, dict) else None
    return fields == WHOLE and end["plan_size"] >= 0


def _json(text: bytes) -> Any:
    """What a text says, None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _body(line: bytes, start: int) -> bytes | None:
    """What a line says, or nothing if it is damaged."""
    checksum, _, body = line.partition(b"\t")
    return body if checksum == b"%08x" % zlib.crc32(body, start) else None


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
            self._append(b"plan\t" + json.dumps(new[first : first + PLAN_LINE], separators=(",", ":")).encode())

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
