"""Starts fork servers and workers from the parent's side, and watches what each one uses."""

import fcntl
import itertools
import json
import os
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from accuracy.attempt import Failure
from accuracy.devices import environment
from accuracy.rows import last_words
from accuracy.wire import Wire

LONGEST_LOG: Final = 1 << 20
"""Bytes of a process's output after which it is cut back to nothing."""

TAIL: Final = 1 << 16
"""Bytes at the end of the output in which last words are looked for."""


_NUMBERS: Final = itertools.count(1)


def _log() -> IO[bytes]:
    """A file without a name, so that nothing is left behind whatever happens; written at its end."""
    log = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the process writes to it
    fcntl.fcntl(log.fileno(), fcntl.F_SETFL, os.O_APPEND)
    return log


def tail(log: IO[bytes], start: int = 0) -> bytes:
    """What was written since `start`, the last `TAIL` bytes at most."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), TAIL, max(min(start, size), size - TAIL))


def cut(log: IO[bytes]) -> None:
    """Empties a log that has grown too long."""
    if os.fstat(log.fileno()).st_size > LONGEST_LOG:
        os.ftruncate(log.fileno(), 0)


@dataclass(eq=False, kw_only=True)
class Worker:
    """The parent's end of one worker.

    `assigned` holds the tasks it was given, the first of them `under_way` once it says so. `first` is the
    earlier failure of a task that runs again `alone`, `fate` what the parent killed the worker for. Times
    are moments of `time.monotonic`, 0 for never.
    """

    number: int
    wire: Wire
    log: IO[bytes]
    born: float
    alone: bool
    pid: int = 0
    ready: bool = False
    retiring: bool = False
    answered: int = 0
    assigned: deque[int] = field(default_factory=deque)
    under_way: bool = False
    since: float = 0.0
    waited_before: float | None = None
    held_at_first: int = 0
    log_start: int = 0
    killed_at: float = 0.0
    silent_since: float = 0.0
    first: Failure | None = None
    fate: Failure | None = None

    @property
    def usable(self) -> bool:
        """Whether it can be given tasks."""
        return self.ready and not (self.retiring or self.killed_at or self.silent_since)

    def begin(self) -> None:
        """Starts the clock of the first assigned task."""
        self.since = time.monotonic()
        self.waited_before = None

    def worked(self) -> float:
        """Seconds since the clock started, without those it was ready to run but had no processor.

        A task that is slow because the machine is busy is then not taken for one that hangs, while one that
        sleeps or is stopped is. At most nine tenths are forgiven, so that every hang ends.
        """
        wall = time.monotonic() - self.since
        waited = queued(self.pid)
        if self.waited_before is None:
            self.waited_before = waited
        return max(wall - (waited - self.waited_before), wall / 10)

    def words(self) -> str:
        """What it said last, on standard error or output, since the clock started."""
        return last_words(tail(self.log, self.log_start))

    def close(self) -> None:
        """Lets go of the socket and the log."""
        self.wire.close()
        self.log.close()


@dataclass(eq=False, kw_only=True)
class Server:
    """The parent's end of one fork server. `command` is what it was started with, but for its socket."""

    command: tuple[object, ...]
    process: subprocess.Popen[bytes]
    wire: Wire
    log: IO[bytes]
    born: float
    ready: bool = False
    serves: bool = False

    def kill(self, pid: int) -> None:
        """Asks the server to end a worker; its exit is reported as any other."""
        with suppress(OSError):
            self.wire.send({"kill": pid})

    def close(self, patience: float = 5.0) -> None:
        """Ends the server, which ends its workers, and waits until it is gone."""
        self.wire.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def start_server(device: str, *, interpreter: str, overlay: Sequence[Path], setup: Mapping[str, Any]) -> Server:
    """Starts a fork server for `device`; it reports on its wire when it has imported.

    Raises:
        OSError: if the interpreter cannot be started.
    """
    ours, theirs = socket.socketpair()
    log = _log()
    arguments = ["--control", str(theirs.fileno()), "--parent", str(os.getpid()), "--setup", json.dumps(setup)]
    try:
        with theirs:
            process = subprocess.Popen(
                [interpreter, "-P", "-m", "accuracy.worker", *arguments],
                env=environment(device, overlay),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except OSError:
        ours.close()
        log.close()
        raise
    ours.setblocking(False)
    command = command_of(device, interpreter=interpreter, overlay=overlay, setup=setup)
    return Server(command=command, process=process, wire=Wire(ours), log=log, born=time.monotonic())


def command_of(
    device: str, *, interpreter: str, overlay: Sequence[Path], setup: Mapping[str, Any]
) -> tuple[object, ...]:
    """What tells one fork server from another: of equal commands one server does for the other."""
    return device, interpreter, tuple(overlay), json.dumps(setup)


def start_worker(server: Server, *, alone: bool, memory: int) -> Worker:
    """Asks `server` for a worker that may take so many bytes, 0 for any number.

    Raises:
        OSError: if the server is gone.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    log = _log()
    number = next(_NUMBERS)
    worker = Worker(number=number, wire=Wire(ours), log=log, born=time.monotonic(), alone=alone)
    try:
        with theirs:
            server.wire.send({"fork": number, "memory": memory}, (theirs.fileno(), log.fileno()))
    except OSError:
        worker.close()
        raise
    return worker


def queued(pid: int) -> float:
    """Seconds that a process was ready to run but waited for a processor; 0 where the system does not say."""
    return _second(f"/proc/{pid}/schedstat") / 1e9


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 where the system does not say."""
    return _second(f"/proc/{pid}/statm") * os.sysconf("SC_PAGE_SIZE")


def _second(path: str) -> int:
    """The second number in a file of the system; 0 where there is none. Looked at often, so without layers of text."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  as said
            return int(file.read(256).split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def available() -> int:
    """Bytes of memory that new work can take: the least of what the machine and its control group leave."""
    limits = [_machine(), left_by_group()]
    return min(filter(None, limits), default=0)


def _machine() -> int:
    listing = Path("/proc/meminfo")
    lines = listing.read_text(encoding="ascii").splitlines() if listing.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)


def left_by_group(folder: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that the control group leaves, 0 if it sets no limit.

    Pages of files that nobody used of late count among what it holds, and are given up for anything else, as
    `MemAvailable` of the machine takes it.
    """
    try:
        limit, used = (int((folder / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        held = {name: int(number) for name, number in map(str.split, lines)}
    except (OSError, ValueError):
        return 0
    return max(1, limit - used + held.get("inactive_file", 0))
