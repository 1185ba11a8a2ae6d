"""The processes of one device: a fork server, the workers it made, and how each of them ends."""

import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from accuracy.attempt import Terms
from accuracy.devices import Device
from accuracy.launch import Server, Worker, command_of, cut, resident, start_server, start_worker, tail
from accuracy.rows import exit_reason, last_words
from accuracy.wire import decode

AHEAD: Final = "accuracy.ahead"
"""What the fork server of an accelerator imports in place of the library, which it must not."""

DEARER: Final = 10
"""Times as many tasks that a worker of an accelerator does before it is replaced: a new one takes some 40 ms on the
CPU, a hundredth of what it then works. On one H200 it takes a second or more, and a task some 20 ms, so that with as
many tasks it would be a tenth; and while it starts the driver lets nobody else have memory."""

GRACE: Final = 2.0
"""Seconds between a worker's last word, or its killing, and the report that it is gone."""


UNWATCHED: Final = 0.05
"""The share of its limit for which a task is not looked at, as most take less. No wait is forgiven that ends before."""


def overrun(worker: Worker, terms: Terms) -> tuple[str, str] | None:
    """Why a worker must be ended, as kind and text, or nothing. One that has grown is marked to be replaced."""
    now = time.monotonic()
    held = resident(worker.pid) - worker.held_at_first
    if worker.silent_since:
        return ("crash", "closed its socket and went on") if now - worker.silent_since > GRACE else None
    if not worker.ready:
        late = now - worker.born > terms.start_timeout_s
        return ("timeout", f"no answer within {terms.start_timeout_s:g} s of starting") if late else None
    watched = now - worker.since > UNWATCHED * terms.timeout_s
    if worker.assigned and watched and worker.worked() > terms.timeout_s:
        return "timeout", f"no answer within {terms.timeout_s:g} s of starting"
    if terms.memory and held > terms.memory:
        return "oom", f"out of memory: more than {terms.memory >> 20} MiB"
    # What it keeps from task to task must not add up.
    worker.retiring |= bool(terms.memory) and held > terms.memory // 2
    return None


def setup_of(
    device: Device,
    *,
    preload: Sequence[str],
    modules: Sequence[str],
    measure: str,
    check: str,
    bounds: Mapping[str, float],
) -> dict[str, Any]:
    """What a fork server is told: what to import for its workers, and what those do."""
    return {
        "device": device.torch_name,
        "preload": list(preload),
        "modules": list(modules),
        "measure": measure,
        "check": check,
        "told": {
            "device": device.name,
            "torch_device": device.torch_name,
            "arithmetic": asdict(device.adapter.arithmetic),
            "bounds": dict(bounds),
        },
    }


@dataclass(eq=False, kw_only=True)
class Crew:
    """A device's fork server and its workers.

    `on_worker` is called when a worker has sent something or hung up, `on_exit` when it has ended, with its exit code,
    `on_dismissal` before it is ended with the server, and `on_failed_start` when a server cannot serve, with the
    reason. `early` is a server that was started before, and serves if it is one that would be started now.
    """

    device: Device
    terms: Terms
    selector: selectors.BaseSelector
    on_worker: Callable[[Worker], None]
    on_exit: Callable[[Worker, int], None]
    on_dismissal: Callable[[Worker], None]
    on_failed_start: Callable[[str], None]
    early: Server | None = None
    server: Server | None = None
    workers: list[Worker] = field(default_factory=list)
    imports_in_worker: int = 0

    @property
    def recycle_after(self) -> int:
        """Tasks after which a worker is replaced."""
        return self.terms.recycle_after * (1 if self.shared else DEARER)

    @property
    def shared(self) -> bool:
        """Whether its workers take processors from other crews; an accelerator has workers of its own."""
        return self.device.adapter.on_host

    def hire(self, *, alone: bool) -> None:
        """Starts one more worker, or the server that will make it. Waits for neither.

        Raises:
            OSError: if the interpreter cannot be started.
        """
        if self.server is None:
            self.server = self._start_server()
        elif self.server.ready:
            try:
                worker = start_worker(self.server, alone=alone, memory=self.terms.memory if self.shared else 0)
            except OSError:
                return  # the server is dying, and its socket will say so
            self.workers.append(worker)
            self.selector.register(worker.wire, selectors.EVENT_READ, lambda: self.on_worker(worker))

    def _start_server(self) -> Server:
        terms, adapter = self.terms, self.device.adapter
        setup = setup_of(
            self.device,
            preload=self.preload(),
            modules=terms.modules,
            measure=terms.measure,
            check="" if self.shared else terms.check or adapter.check,
            bounds=terms.bounds,
        )
        server, self.early = self.early, None
        if server is None or server.command != command_of(
            self.device.name, interpreter=terms.interpreter, overlay=terms.overlay, setup=setup
        ):
            server = start_server(self.device.name, interpreter=terms.interpreter, overlay=terms.overlay, setup=setup)
        server.serves = True
        self.selector.register(server.wire, selectors.EVENT_READ, lambda: self._hear(server))
        return server

    def preload(self) -> list[str]:
        """What the server imports for its workers: the more, the faster they start.

        Importing the library may initialise an accelerator or start threads, and a process that has done so
        cannot be forked: then its workers import it themselves.
        """
        everything = [*self.terms.modules, self.terms.measure.partition(":")[0]]
        torch_only = [name for name in self.terms.modules if name == "torch"]
        ahead = [AHEAD] if "bitsandbytes" in self.terms.modules else []
        choices: tuple[list[str], ...]
        choices = (everything, torch_only, []) if self.shared else (torch_only + ahead, torch_only, [])
        return choices[min(self.imports_in_worker, len(choices) - 1)]

    def kill(self, worker: Worker) -> None:
        """Ends a worker and all that it started; its exit is reported like any other."""
        worker.killed_at = time.monotonic()
        if self.server is not None:
            self.server.kill(worker.pid)

    def silence(self, worker: Worker) -> None:
        """Stops listening to a worker that has hung up."""
        worker.silent_since = time.monotonic()
        self.selector.unregister(worker.wire)

    def forget(self, worker: Worker) -> None:
        """Lets go of a worker that is gone, or soon will be."""
        if not worker.silent_since:
            self.selector.unregister(worker.wire)
        worker.close()
        self.workers.remove(worker)

    def dismiss(self) -> int:
        """Ends the server and with it every worker; returns the server's exit code."""
        for worker in list(self.workers):
            self.on_dismissal(worker)
            self.forget(worker)
        server, self.server = self.server, None
        if server is None:
            return 0
        self.selector.unregister(server.wire)
        server.close()
        return server.process.returncode

    def watch(self) -> None:
        """Ends a server that takes too long to import."""
        if self.server is not None:
            cut(self.server.log)
            if not self.server.ready and self._late(self.server):
                self.server.process.kill()

    def _late(self, server: Server) -> bool:
        return time.monotonic() - server.born > self.terms.start_timeout_s

    # What the server says

    def _hear(self, server: Server) -> None:
        """Takes in what the server has sent; nothing more once it is replaced."""
        if self.server is not server:
            return
        for line in server.wire.receive():
            self._take(server, decode(line)[0])
            if self.server is not server:
                return
        if not server.wire.open:
            self._lost(server)

    def _take(self, server: Server, message: dict[str, Any]) -> None:
        match message:
            case {"ready": dict(state)}:
                server.ready = True
                if (state["threads"] != 1 or state["initialised"]) and self.preload():
                    self.imports_in_worker += 1
                    self.dismiss()
            case {"unusable": str(reason)}:
                self.dismiss()
                self.on_failed_start(reason)
            case {"forked": int(number), "pid": int(pid)}:
                for worker in self.workers:
                    worker.pid = pid if worker.number == number else worker.pid
            case {"exited": int(pid), "code": int(code)}:
                for worker in [worker for worker in self.workers if worker.pid == pid]:
                    self.on_exit(worker, code)

    def _lost(self, server: Server) -> None:
        """A server that ends takes its workers with it; their tasks are not to blame."""
        late = self._late(server)
        words = last_words(tail(server.log))
        code = self.dismiss()
        if server.ready:
            reason = f"the fork server ended with {exit_reason(code)}"
        elif late:
            reason = f"no answer within {self.terms.start_timeout_s:g} s of starting"
        else:
            reason = f"{exit_reason(code)} while importing {', '.join(self.preload())}"
        self.on_failed_start(f"{reason}; {words}" if words else reason)
