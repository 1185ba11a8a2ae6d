"""Functions that a worker calls in place of the measurement; the config's `weight` names the fault to commit.

They run in real worker processes. `BOX` is a folder in which a workload can leave a mark for its next run.
"""

import ctypes
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accuracy.rows import Measured, apart

Row = dict[str, Any]
Task = dict[str, Any]

BOX = "ACCURACY_TEST_BOX"


def row(task: Task, **values: object) -> Row:
    """A good row of `task`, whose numbers depend on its seed and on nothing else."""
    return {
        "id": task["id"],
        "case": task["case"],
        "config": json.dumps(task["config"], sort_keys=True, separators=(",", ":")),
        "seed": str(task["seed"]),
        "origin": task["origin"],
        "device": task["device"],
        "device_name": "planted",
        "dtype": task["config"]["dtype"],
        "mode": task["config"]["mode"],
        "stage": "compute",
        "quantity": "output",
        "count": 1,
        "abs_max": (task["seed"] * 2654435761 % 2**32) / 2**32,
        "status": "ok",
        **values,
    }


def healthy(task: Task, _device: str) -> Measured:
    """Two rows of every task."""
    rows = [
        row(
            task,
            abs_bins=[task["seed"], 2**40],
            abs_counts=(3, 4),
            sample_values=[0.1, float("-inf")],
            strata=["odd", "wide"],
        ),
        row(
            task,
            quantity="grad_input",
            sample_bounds=(float("nan"), task["seed"] / 3),
            ratio=float("nan"),
            rel_max=float("inf"),
            strata=["odd", "wide"],
        ),
    ]
    return apart(rows)


def slow(task: Task, device: str) -> Measured:
    """Takes a few milliseconds, so that a run can be killed in its middle."""
    time.sleep(0.004)
    return faulty(task, device)


def _wire() -> int:
    """The descriptor of the worker's own socket, which a stray write could hit."""
    return next(number for number in range(3, 64) if _is_socket(number))


def _is_socket(number: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False


def _kill(number: signal.Signals) -> Callable[[Task], None]:
    return lambda _task: os.kill(os.getpid(), number)


def _raise(error: BaseException) -> Callable[[Task], None]:
    def fault(_task: Task) -> None:
        raise error

    return fault


def _say(data: bytes) -> Callable[[Task], int]:
    return lambda _task: os.write(_wire(), data)


def segfault(_task: Task) -> None:
    ctypes.string_at(0)


def overflow(_task: Task) -> None:
    """Recursion through C with Python's own limit out of the way."""
    sys.setrecursionlimit(10**9)

    def again() -> None:
        ctypes.PYFUNCTYPE(None)(again)()

    again()


def escape(_task: Task) -> None:
    sys.stderr.write("said before: \x1b]0;title\x07\n")
    os._exit(7)


def close_everything(_task: Task) -> None:
    os.closerange(3, 64)


def close_and_go_on(_task: Task) -> None:
    os.closerange(3, 64)
    time.sleep(60)


def flood(_task: Task) -> None:
    """A gigabyte on standard error, no part of it text."""
    for _ in range(1024):
        os.write(2, b"\xff" * (1 << 20))


def answer_twice(task: Task) -> None:
    _answer(task)


def answer_for_another(task: Task) -> None:
    _answer(task, done="0" * 16)


def _answer(task: Task, done: str = "", first: Row | None = None, **changes: Any) -> None:
    """Answers as a sound worker would, with these changes of what rows share and of the first row."""
    from accuracy.packing import pack
    from accuracy.wire import encode
    from faults.answers import taken_apart, together

    parts = taken_apart(pack(healthy(task, ""))) | changes
    if parts["rows"]:
        parts["rows"][0] |= first or {}
    os.write(_wire(), encode({"done": done or task["id"]}, together(parts)))


def hang_in_c(_task: Task) -> None:
    """A C loop that holds the interpreter's lock: a regular expression of exponential cost."""
    re.match(r"(a+)+$", "a" * 64 + "b")


def hang_in_python(_task: Task) -> None:
    while True:
        pass


def hang_in_openmp(_task: Task) -> None:
    """A process that has computed with two threads, forked: the child waits for threads that it has not."""
    import torch

    torch.set_num_threads(2)
    values = torch.ones(1 << 20)
    values.sum()
    child = os.fork()
    if child == 0:
        values.sum()
        os._exit(0)
    os.waitpid(child, 0)


def hang_deaf(_task: Task) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(60)


def leave_grandchildren(_task: Task) -> None:
    """Two processes that hold the socket open, one of them in a session of its own; then a crash."""
    for own_session in (False, True):
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False, start_new_session=own_session
        )
    os.abort()


def balloon(_task: Task) -> None:
    held = []
    while True:
        held.append(bytearray(b"x" * (16 << 20)))


def huge(_task: Task) -> None:
    bytearray(1 << 46)


def once(fault: Callable[[Task], None]) -> Callable[[Task], None]:
    """`fault` the first time only."""

    def maybe(task: Task) -> None:
        mark = Path(os.environ[BOX]) / task["id"]
        if not mark.exists():
            mark.touch()
            fault(task)

    return maybe


FAULTS: dict[str, Callable[[Task], Any]] = {
    "segfault": segfault,
    "abort": lambda _task: os.abort(),
    "bus": _kill(signal.SIGBUS),
    "illegal": _kill(signal.SIGILL),
    "killed": _kill(signal.SIGKILL),
    "stack": overflow,
    "exit_0": lambda _task: os._exit(0),
    "exit_7": lambda _task: os._exit(7),
    "sys_exit": lambda _task: sys.exit(),
    "system_exit": _raise(SystemExit(0)),
    "interrupt": _raise(KeyboardInterrupt()),
    "raise": _raise(ArithmeticError("planted\nsecond line")),
    "escape": escape,
    "close": close_everything,
    "close_and_go_on": close_and_go_on,
    "flood": flood,
    "answer_twice": answer_twice,
    "answer_for_another": answer_for_another,
    "not_json": _say(b"\xff\xfe{\n"),
    "not_an_object": _say(b"[1]\n"),
    "deep_json": _say(b"[" * 100_000 + b"\n"),
    "no_rows": lambda task: _answer(task, rows=[]),
    "rows_of_another": lambda task: _answer(task, id="0" * 16),
    "text_for_numbers": lambda task: _answer(task, first={"abs_max": "0.5"}),
    "unknown_field": lambda task: _answer(task, first={"verdict": "pass"}),
    "unknown_status": lambda task: _answer(task, first={"status": "fine"}),
    "missing_field": lambda task: _answer(task, first={"stage": None}),
    "hang_in_c": hang_in_c,
    "hang_in_python": hang_in_python,
    "hang_in_openmp": hang_in_openmp,
    "hang_deaf": hang_deaf,
    "stop": _kill(signal.SIGSTOP),
    "grandchildren": leave_grandchildren,
    "balloon": balloon,
    "huge": huge,
    "segfault_once": once(segfault),
    "hang_once": once(hang_in_python),
}


def faulty(task: Task, device: str) -> Measured:
    """Commits the fault that the config's weight names; a healthy answer otherwise."""
    fault = task["config"]["weight"]
    if fault in FAULTS:
        FAULTS[fault](task)
    return healthy(task, device)


_LEAKED: list[bytearray] = []


def leaky(task: Task, device: str) -> Measured:
    """Keeps a mebibyte of each task; its row counts what the process has kept."""
    _LEAKED.append(bytearray(b"x" * (1 << 20)))
    shared, rows = healthy(task, device)
    return Measured(shared, [{**rows[0], "count": len(_LEAKED)}])


_CONTEXT = {"broken": False, "used": False}


def on_device(task: Task, device: str) -> Measured:
    """A device whose context breaks at a task named `poison`, after which every answer is wrong.

    One named `poison_used` breaks it only where a task came before it. With a `BOX` there is a mark of each try.
    """
    fault = task["config"]["weight"]
    if fault and BOX in os.environ:
        (Path(os.environ[BOX]) / f"{task['id']}.{os.getpid()}").touch()
    _CONTEXT["broken"] |= fault == "poison" or (fault == "poison_used" and _CONTEXT["used"])
    _CONTEXT["used"] = True
    wrong = {"abs_max": -1.0} if _CONTEXT["broken"] else {}
    shared, rows = healthy(task, device)
    return Measured(shared, [{**each, **wrong} for each in rows])


def check_context(device: str) -> None:
    """The canary of that device."""
    if _CONTEXT["broken"]:
        raise RuntimeError(f"{device} error: device-side assert triggered\nCompile with -g")


def check_dead(device: str) -> None:
    """The canary of a device that never answers well."""
    raise RuntimeError(f"{device} is not there")


def check_busy(device: str) -> None:
    """The canary of a device that gives its first three workers no context, as one does whose driver is behind."""
    turned_away = Path(os.environ[BOX]) / "turned-away"
    if len(list(turned_away.parent.glob("turned-away*"))) < 3:
        turned_away.with_suffix(f".{os.getpid()}").touch()
        raise RuntimeError(f"{device} error: device(s) is/are busy or unavailable")


def environment_row(task: Task, _device: str) -> Measured:
    """What the worker and the process that forked it look like."""
    server = Path(f"/proc/{os.getppid()}/task")
    rows = [
        row(task, count=len(list(server.iterdir())), quantity="server_threads"),
        row(task, count=os.getpid(), quantity="pid"),
        row(task, count=sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 0, quantity="threads"),
        row(task, observed=os.environ.get("ATEN_CPU_CAPABILITY", ""), quantity="capability"),
    ]
    return apart(rows)
