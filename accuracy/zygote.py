"""The fork server: imports the library once, then makes a fresh worker in milliseconds.

Importing torch and bitsandbytes takes seconds, a fork of a process that has imported them takes
milliseconds. A fork is safe as long as the process has one thread and has initialised no
accelerator; the server computes nothing, so that this holds, and it counts its threads to be sure.
The first line it sends says so: a parent that reads otherwise starts it again with fewer imports.

It ends its workers: only the process that reaps a child knows that a process number still means
that child. Whatever else a worker started dies with it.
"""

import argparse
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from accuracy.environment import read_ahead
from accuracy.wire import Wire, decode
from accuracy.worker import die_with, live, one_line

PR_SET_CHILD_SUBREAPER: Final = 36


def main() -> NoReturn:
    """Runs the fork server on the control socket that the command line names."""
    parser = argparse.ArgumentParser(prog="accuracy.worker", description=main.__doc__)
    parser.add_argument("--control", type=int, required=True, help="descriptor of the control socket")
    parser.add_argument("--parent", type=int, required=True, help="process to die with")
    parser.add_argument("--setup", type=json.loads, required=True, help="device, modules, references, limits")
    options = parser.parse_args()
    die_with(options.parent)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # What a worker starts and leaves behind becomes a child of this process, which can then end it.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wire = Wire(socket.socket(fileno=options.control), shares=True)
    gc.disable()
    try:
        for module in options.setup["preload"]:
            importlib.import_module(module)
    except BaseException as error:  # noqa: BLE001  whatever an import does is the answer
        wire.send({"unusable": f"{module} cannot be imported: {one_line(error)}"})
        os._exit(0)
    read_ahead(options.setup["device"])
    # What is loaded now is shared with every child: the collector must not write to its pages.
    gc.freeze()
    gc.enable()
    wire.send({"ready": {"threads": _threads(), "initialised": _initialised()}})
    _serve(wire, options.setup)
    os._exit(0)


def _threads() -> int:
    """Threads of this process; 1 where the system does not say."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 1


def _initialised() -> list[str]:
    """The accelerators that an import has initialised, which a forked child could not use."""
    torch = sys.modules.get("torch")
    kinds = ("cuda", "xpu") if torch is not None else ()
    return [kind for kind in kinds if getattr(torch, kind).is_initialized()]


def _serve(wire: Wire, setup: Mapping[str, Any]) -> None:
    """Makes and ends workers as the parent asks, until it hangs up."""
    children: set[int] = set()
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wire.socket.setblocking(False)
    while wire.open:
        select.select([wire.fileno(), wake], [], [])
        with suppress(BlockingIOError):
            os.read(wake, 4096)
        for line in wire.receive():
            request, _ = decode(line)
            if "fork" in request:
                pid = _fork(wire, {**setup, "memory": request["memory"]}, (wake, waker))
                children.add(pid)
                wire.send({"forked": request["fork"], "pid": pid})
            elif request["kill"] in children:
                _end(request["kill"])
        _reap(wire, children)
    for pid in children:
        _end(pid)
    with suppress(ChildProcessError):
        while True:
            _end_strays(set())
            os.waitpid(-1, 0)


def _fork(wire: Wire, setup: Mapping[str, Any], own: tuple[int, int]) -> int:
    """Makes one worker out of this process; returns its process number here, never there."""
    channel, log = wire.take_descriptors(2)
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            die_with(server)
            wire.close()
            for descriptor in own:
                os.close(descriptor)
            live(Wire(socket.socket(fileno=channel)), log, setup)
        except BaseException:  # noqa: BLE001  a copy must not go on as a second server
            traceback.print_exc()
        finally:
            os._exit(70)
    with suppress(OSError):
        os.setpgid(pid, pid)
    os.close(channel)
    os.close(log)
    return pid


def _end(pid: int) -> None:
    """Kills a worker and its process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _reap(wire: Wire, children: set[int]) -> None:
    """Reports every child that has ended, after killing what it left behind."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        _end(ended.si_pid)  # its number is taken until it is waited for, so this is its group
        _, status = os.waitpid(ended.si_pid, 0)
        if ended.si_pid in children:
            children.discard(ended.si_pid)
            _end_strays(children)
            wire.send({"exited": ended.si_pid, "code": os.waitstatus_to_exitcode(status)})


def _end_strays(children: set[int]) -> None:
    """Kills processes that a dead worker started in a group of their own and that are now ours."""
    for listing in Path("/proc/self/task").glob("*/children"):
        for pid in map(int, listing.read_text(encoding="ascii").split()):
            if pid not in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
