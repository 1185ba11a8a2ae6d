"""The process that measures: takes one task at a time and answers with rows.

It is a copy that the fork server (`accuracy.zygote`) makes of itself. It says `hello` with what it
runs on, then `started` and `done` for each task. It may die at any moment; its parent expects that.
"""

import ctypes
import faulthandler
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from accuracy.packing import pack
from accuracy.rows import Measured
from accuracy.wire import Wire, decode, encode

PR_SET_PDEATHSIG: Final = 1

Measure = Callable[[dict[str, Any], str], Measured]
"""(task, name of the device) -> its rows. A task holds `id, case, config, text, seed, origin, device, torch_device,
arithmetic, bounds`, where `text` is the canonical JSON of `config`, and all that is sent of it; the name, `device` too,
is the one that rows carry, `cpu:avx2` where torch says `cpu`."""

Check = Callable[[str], None]
"""Raises if the device, by torch's name, no longer computes."""


def resolve(reference: str) -> Any:
    """The object that `module:name` names.

    Raises:
        ImportError, AttributeError: if there is none.
    """
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def die_with(parent: int) -> None:
    """Asks the kernel to kill this process when its parent ends, and ends it if that has happened."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def one_line(error: BaseException) -> str:
    """The type and first line of an exception, as one line."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or on the device."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in text
        or "out of memory" in text
        or "std::bad_alloc" in text
    )


def cap_memory(limit: int) -> None:
    """Lets the process map at most `limit` bytes more than it has, so that an allocation fails, not the machine."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + limit
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def live(wire: Wire, log: int, setup: Mapping[str, Any]) -> NoReturn:
    """Is the worker until its wire closes. `setup` is the server's: device, references, limits, what tasks are told."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115  as long as the process
    sys.stderr = open(2, "w", closefd=False, encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115  as long as the process
    faulthandler.enable(sys.stderr, all_threads=False)
    try:
        measure, check, facts = _prepare(setup)
    except BaseException as error:  # noqa: BLE001  whatever an import does is the answer
        wire.send({"unusable": one_line(error)})
        os._exit(0)
    wire.send({"hello": facts, "pid": os.getpid()})
    _serve(wire, setup, measure, check)
    os._exit(0)


def _prepare(setup: Mapping[str, Any]) -> tuple[Measure, Check | None, dict[str, Any]]:
    """Imports what is not there yet, caps memory, and tries the device once."""
    device = setup["device"]
    for module in setup["modules"]:
        importlib.import_module(module)
    measure: Measure = resolve(setup["measure"])
    check: Check | None = resolve(setup["check"]) if setup["check"] else None
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if check is not None:
        check(device)
    facts = resolve("accuracy.environment:facts")(device)
    if setup.get("memory"):
        cap_memory(setup["memory"])
    return measure, check, facts


def _serve(wire: Wire, setup: Mapping[str, Any], measure: Measure, check: Check | None) -> None:
    """Answers tasks until the wire closes.

    An answer and the word that the next task has started are one message: there is less to read, and to wake up for.
    """
    device, told = setup["device"], setup["told"]
    tasks: deque[dict[str, Any]] = deque()
    answer: dict[str, Any] = {}
    packed = b""
    while wire.open:
        tasks += [decode(line)[0] for line in wire.receive(wait=not (tasks or answer))]
        if not tasks:
            if answer:
                wire.write(encode(answer, packed))
            answer, packed = {}, b""
            continue
        task = tasks.popleft()
        key = task["id"]
        wire.write(encode(answer | {"started": key, "log": os.fstat(2).st_size}, packed))
        began = time.perf_counter()
        message, packed = _attempt(measure, {**task, **told, "config": json.loads(task["text"])}, told["device"])
        lost = _lost(check, device)
        if lost:
            # The device may have gone wrong at any point of this task: its rows are worth nothing.
            wire.send({"done": key, "poisoned": message.get("error", lost)})
            return
        answer = {"done": key, **message, "seconds": time.perf_counter() - began}
        if message.get("oom"):
            gc.collect()


def _attempt(measure: Measure, task: dict[str, Any], device: str) -> tuple[dict[str, Any], bytes]:
    """The rows of one task, packed, or what it raised."""
    try:
        return {}, pack(measure(task, device))
    except BaseException as error:  # noqa: BLE001  a task that raises, even SystemExit, has an answer
        return {"error": one_line(error), "oom": is_out_of_memory(error)}, b""


def _lost(check: Check | None, device: str) -> str:
    """Why the device is no longer to be trusted, or nothing."""
    if check is None:
        return ""
    try:
        check(device)
    except Exception as error:  # noqa: BLE001  torch raises several types for a broken device
        return one_line(error)
    return ""


if __name__ == "__main__":
    from accuracy.zygote import main

    main()
