"""Tasks that are thought of while a run goes on, from other threads, and the rows on their way back."""

import socket
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from accuracy.case import Task
from accuracy.rows import Row


class Stopped(KeyboardInterrupt):
    """Nothing more is measured.

    A KeyboardInterrupt, since that is what Hypothesis lets through instead of taking it for a failing example.
    """


@dataclass(eq=False, kw_only=True)
class Question:
    """A task, and the place for its rows on every device that measures it; none if no device does."""

    task: Task
    answer: "Future[Sequence[Row]]" = field(default_factory=Future)


class Mailbox:
    """Between the threads that ask and the one that runs workers, which watches it in its selector."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._waiting: deque[Question] = deque()
        self._unanswered: set[Question] = set()
        self._closed = False

    # What threads that ask call

    def measure(self, task: Task) -> Sequence[Row]:
        """The rows of `task`, as soon as there are any to be had.

        A first crash or hang is answered at once, though it is confirmed only when all else is done.

        Raises:
            Stopped: if nothing more is measured, or no device can.
        """
        question = Question(task=task)
        with self._lock:
            if self._closed:
                raise Stopped
            self._waiting.append(question)
            self._unanswered.add(question)
            self._rope.send(b"!")
        rows = question.answer.result()
        if not rows:
            raise Stopped
        return rows

    def close(self) -> None:
        """Ends it for everyone. Closing twice does nothing."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            for question in self._unanswered:
                question.answer.set_exception(Stopped())
            self._unanswered.clear()
            with suppress(OSError):
                self._rope.send(b"!")

    def dispose(self) -> None:
        """Lets go of its sockets once it is closed and nobody asks any more."""
        self._bell.close()
        self._rope.close()

    # What the thread that runs workers calls

    @property
    def open(self) -> bool:
        """Whether more may come."""
        return not self._closed

    def fileno(self) -> int:
        """The descriptor that can be read when something has come."""
        return self._bell.fileno()

    def take(self) -> list[Question]:
        """The questions that have come."""
        with suppress(BlockingIOError):
            self._bell.recv(4096)
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken

    def answer(self, question: Question, rows: Sequence[Row]) -> None:
        """Sends rows back; to nobody, if it was closed in the meantime."""
        with self._lock:
            if question in self._unanswered:
                self._unanswered.remove(question)
                question.answer.set_result(rows)
