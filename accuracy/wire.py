"""Lines over a private socket, the only words that pass between the supervisor and its processes.

A line is a JSON object, and after a tab what it brings with it: an answer, packed (`accuracy.packing`).

JSON, MessagePack within it, and not pickle: a process whose memory a kernel has overwritten can then say
something wrong, but cannot make its parent run code. A socket of its own and not stdin or stdout: what C code prints
cannot be taken for an answer.
"""

import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

LONGEST_LINE: Final = 64 * 1024 * 1024
"""Bytes after which a line without an end is refused, so that a runaway writer cannot fill the parent."""

CHUNK: Final = 1 << 16


class WireError(Exception):
    """What came is not what was agreed. The text says what was seen, in one line."""


class Wire:
    """One end of a socket pair that carries JSON objects, one a line, and what they bring with them.

    Numbers may be NaN or infinite: they are written as Python's JSON does, for Python to read.
    """

    def __init__(self, end: socket.socket, *, shares: bool = False) -> None:
        """An end of the pair. Only one that `shares` takes the open files that come; elsewhere they are dropped."""
        self.socket = end
        self._shares = shares
        self.open = True
        self._left = b""
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """The descriptor, so that a selector takes the wire itself."""
        return self.socket.fileno()

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Sends one message, and with it open files to share.

        Raises:
            OSError: if the other end is gone or, on a non-blocking socket, reads too slowly.
        """
        data = encode(message)
        if descriptors:
            sent = socket.send_fds(self.socket, [data], list(descriptors))
            data = data[sent:]
        self.write(data)

    def write(self, lines: bytes) -> None:
        """Sends lines as `encode` gives them.

        Raises:
            OSError: as `send`.
        """
        if lines:
            self.socket.sendall(lines)

    def receive(self, *, wait: bool = True) -> list[bytes]:
        """The whole lines that have come, none if the socket has nothing now. Sets `open` at the end.

        A blocking socket waits for a line, unless `wait` is false.

        Raises:
            WireError: if a line is longer than `LONGEST_LINE`.
        """
        lines: list[bytes] = []
        wait = wait and self.socket.getblocking()
        while self.open:
            try:
                data = self._read(0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self.open = bool(data)
            head, *rest = (self._left + data).split(b"\n") if b"\n" in data else (self._left + data,)
            self._left = rest[-1] if rest else head
            lines += [head, *rest[:-1]] if rest else []
            if len(self._left) > LONGEST_LINE:
                raise WireError(f"an answer longer than {LONGEST_LINE >> 20} MiB")
            if len(data) < CHUNK and (lines or not wait):
                break  # that was all there is for now
        return lines

    def _read(self, flags: int) -> bytes:
        if not self._shares:
            return self.socket.recv(CHUNK, flags)
        data, descriptors, _, _ = socket.recv_fds(self.socket, CHUNK, 4, flags)
        self._descriptors += descriptors
        return data

    def take_descriptors(self, count: int) -> list[int]:
        """The first `count` open files that came and were not taken yet."""
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return taken

    def close(self) -> None:
        """Closes the socket. Closing twice does nothing."""
        self.open = False
        self.socket.close()


compact_json: Final = json.JSONEncoder(separators=(",", ":")).encode
"""JSON without spaces. `json.dumps` would make an encoder for each text, which takes as long as a short one."""


def encode(message: Mapping[str, Any], brought: bytes = b"") -> bytes:
    """A message as a line, with what it brings, which has no line break.

    One that brings something, an answer, has finite numbers alone: a worker writes one a case, and between cases
    Python's own JSON takes 20 µs, to write and, in the parent, to read.
    """
    if brought:
        return b"%b\t%b\n" % (msgspec.json.encode(message), brought)
    return compact_json(message).encode() + b"\n"


def decode(line: bytes) -> tuple[dict[str, Any], bytes]:
    """The message in `line`, and what it brings.

    Raises:
        WireError: if it is not one JSON object.
    """
    head, _, brought = line.partition(b"\t")
    try:
        value = msgspec.json.decode(head) if brought else json.loads(head.decode())
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise WireError(f"an answer that is not JSON: {head[:40]!r}") from error
    if not isinstance(value, dict):
        raise WireError(f"an answer that is not a JSON object: {head[:40]!r}")
    return value, brought
