"""Every task has exactly one outcome, in the order of the plan, whatever its worker does."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.plans import TESTS, comparable, plan, reasons, run, task
from faults.workloads import BOX
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accuracy.record import Progress
from bench.processes import left_behind, mark

DEADLY = {
    "segfault": "crash crash: SIGSEGV; at __init__.py, line",
    "abort": "crash crash: SIGABRT; at workloads.py, line",
    "bus": "crash crash: SIGBUS; at workloads.py, line",
    "illegal": "crash crash: SIGILL; at workloads.py, line",
    "killed": "crash crash: SIGKILL",
    "stack": "crash crash: SIGSEGV; at ",
    "exit_0": "crash crash: exit code 0 without an answer",
    "exit_7": "crash crash: exit code 7 without an answer",
    "close": "crash crash: exit code 70 without an answer; ",
    "close_and_go_on": "crash crash: closed its socket and went on",
    "not_json": "crash crash: an answer that is not JSON: b'\\xff\\xfe{'",
    "not_an_object": "crash crash: an answer that is not a JSON object: b'[1]'",
    "deep_json": "crash crash: an answer that is not JSON: b'[[[",
    "answer_for_another": "crash crash: an answer that nobody waits for",
    "grandchildren": "crash crash: SIGABRT; at workloads.py, line",
    "no_rows": "crash crash: an answer that is no rows: Expected `array` of length >= 1 - at rows",
    "rows_of_another": "crash crash: a row of another task: 0000000000000000 on cpu",
    "text_for_numbers": "crash crash: an answer that is no rows: Expected `float | null`, got `str` - at abs_max",
    "unknown_field": "crash crash: an answer that is no rows: Expected `array` of length",
    "unknown_status": "crash crash: an answer that is no rows: Invalid enum value 'fine' - at status",
    "missing_field": "crash crash: an answer that is no rows: Expected `str`, got `None` - at stage",
}
RAISING = {
    "sys_exit": "crash exception: SystemExit",
    "system_exit": "crash exception: SystemExit: 0",
    "interrupt": "crash exception: KeyboardInterrupt",
    "raise": "crash exception: ArithmeticError: planted",
}
HANGING = dict.fromkeys(("hang_in_c", "hang_in_python", "hang_deaf", "stop"), "timeout timeout: no answer within 1 s")
HUNGRY = {"balloon": "crash oom: out of memory: MemoryError", "huge": "crash oom: out of memory: MemoryError"}
HARMLESS = ("flood", "answer_twice")


def test_each_fault_costs_its_task_and_no_other() -> None:
    """Every way to fail, planted among 200 good tasks: each is named, and the others are as without it."""
    expected = {**DEADLY, **RAISING, **HANGING, **HUNGRY}
    faults = {7 * number + 3: name for number, name in enumerate([*expected, *HARMLESS])}
    token = mark()

    execution = run(plan(230, faults), memory=256 << 20)
    unbroken = run(plan(230))

    seen = reasons(execution)
    assert seen.keys() == {number for number, name in faults.items() if name in expected}
    for number, reason in seen.items():
        assert reason.startswith(expected[faults[number]]), faults[number]
    good = [row for row in comparable(execution.rows) if int(row["seed"].strip("'")) not in faults]
    assert good == [row for row in comparable(unbroken.rows) if int(row["seed"].strip("'")) not in faults]
    assert len(good) == 2 * (230 - len(faults))
    assert execution.complete
    assert left_behind(token) == []


def test_a_deadlock_of_threads_that_a_fork_has_lost_ends() -> None:
    """OpenMP in a child of a process that has computed with two threads: both are ended, and named."""
    token = mark()
    execution = run(plan(8, {3: "hang_in_openmp"}), modules=["torch"], timeout_s=3.0)

    assert reasons(execution) == {3: "timeout timeout: no answer within 3 s of starting"}
    assert left_behind(token) == []


def test_rows_do_not_depend_on_workers_or_their_order() -> None:
    """One, two and four workers, recycled often, and a shuffled plan: the same rows, in the order of the plan."""
    tasks = plan(60, {9: "segfault", 30: "raise"})
    one = comparable(run(tasks, jobs=1).rows)

    assert comparable(run(tasks, jobs=2, recycle_after=7).rows) == one
    assert comparable(run(tasks, jobs=4).rows) == one
    shuffled = tasks[1::2] + tasks[::2]
    by_id = sorted(comparable(run(shuffled).rows), key=lambda row: (int(row["seed"].strip("'")), row["quantity"]))
    assert by_id == sorted(one, key=lambda row: (int(row["seed"].strip("'")), row["quantity"]))


def test_rows_follow_the_plan_and_then_the_devices() -> None:
    """A variant of the CPU is a device of its own, whose workers get the switch that limits it."""
    execution = run(plan(3), ["cpu", "cpu:avx2"], measure="faults.workloads:environment_row")

    order = [(int(row["seed"]), row["device"]) for row in execution.rows]
    assert order == sorted(order)
    capabilities = {row["device"]: row["observed"] for row in execution.rows if row["quantity"] == "capability"}
    assert capabilities == {"cpu": "", "cpu:avx2": "avx2"}


def test_a_run_that_waits_says_for_what() -> None:
    """While a case hangs: which device, how many work, and for how long of what is allowed; then no more of it."""
    told: list[Progress] = []
    run(plan(4, {2: "hang_in_python"}), timeout_s=1.5, on_progress=told.append)

    waits = [(now.silent, now.waits) for now in told if now.waits]
    assert all(silent >= 1.5 / 6 for silent, _ in waits)
    # Beside other work, another worker may take as long to start, and be waited for, too.
    assert any(re.fullmatch(r"cpu: 1 working, the longest on one case for [012] of 1.5 s", words) for _, words in waits)
    assert all(re.match(r"cpu: ([12] working|[12] starting|importing)", words) for _, words in waits)
    assert (told[-1].done, told[-1].silent, told[-1].waits) == (4, 0.0, "")


def test_a_device_that_does_not_start_is_what_a_run_waits_for() -> None:
    told: list[Progress] = []
    run(plan(1), modules=["faults.broken_hangs"], start_timeout_s=1.0, timeout_s=1.5, on_progress=told.append)

    assert "cpu: importing" in {now.waits for now in told}


def test_what_a_device_refuses_is_never_asked_of_a_worker() -> None:
    """One row, NOT SUPPORTED, with the reason; the same task on a device that takes it is measured."""
    tasks = plan(6, {1: "segfault", 4: "hang_in_c"})
    execution = run(
        tasks,
        ["cpu", "cpu:avx2"],
        refuse=lambda task, device: "no (manual)" if device.variant is None or task.config.weight else "",
    )
    seen = {(int(row["seed"]), row["device"]): f"{row['status']} {row['reason']}" for row in execution.rows}

    assert seen == {
        (number, device): "not_supported no (manual)" if device == "cpu" or number in {1, 4} else "ok "
        for number in range(6)
        for device in ("cpu", "cpu:avx2")
    }
    assert len(execution.rows) == 6 + 2 + 4 * 2
    assert list(execution.environment) == ["cpu:avx2"]
    assert execution.complete


def test_a_device_that_refuses_everything_starts_no_worker() -> None:
    """An interpreter that does not exist is then no matter."""
    execution = run(plan(3), refuse=lambda *_: "nothing is supported (manual)", interpreter="/nowhere/python")

    assert {(row["status"], row["quantity"], row["reason"]) for row in execution.rows} == {
        ("not_supported", "completes", "nothing is supported (manual)")
    }
    assert execution.unusable == {}


@settings(max_examples=6, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    faults=st.dictionaries(
        st.integers(0, 29), st.sampled_from([*DEADLY, *RAISING]).filter(lambda name: name != "close_and_go_on")
    ),
    jobs=st.integers(1, 3),
    recycle_after=st.integers(1, 40),
)
def test_the_classes_add_up_to_the_plan(faults: dict[int, str], jobs: int, recycle_after: int) -> None:
    """Whatever fails, each of 30 tasks has either its two rows or the one that says what happened."""
    execution = run(plan(30, faults), jobs=jobs, recycle_after=recycle_after)

    counts = dict.fromkeys(range(30), 0)
    for row in execution.rows:
        counts[int(row["seed"])] += 1
    assert counts == {number: 1 if number in faults else 2 for number in range(30)}
    assert reasons(execution).keys() == faults.keys()


def test_a_failure_that_does_not_repeat_alone_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash that happens once is reported as such; a hang that happens once is an incident, and its rows count."""
    monkeypatch.setenv(BOX, str(tmp_path))
    # The dump of a segfault takes its time on a busy machine: a limit of a second would call it a hang.
    execution = run(plan(20, {4: "segfault_once", 11: "hang_once"}), timeout_s=6.0)

    seen = reasons(execution)
    assert list(seen) == [4]
    assert seen[4].startswith("crash crash_once: SIGSEGV")
    assert seen[4].endswith("(not again when run alone)")
    assert [incident for incident in execution.incidents if "timeout" in incident] == [
        f"{task(11, 'hang_once').id} on cpu: timeout: no answer within 6 s of starting; not again when run alone"
    ]


def test_a_leak_is_stopped_by_replacing_the_worker() -> None:
    """A mebibyte kept a task, under a cap of 48: workers are replaced at half of it, and no task fails."""
    execution = run(plan(120), jobs=1, memory=48 << 20, measure="faults.workloads:leaky")

    assert {row["status"] for row in execution.rows} == {"ok"}
    assert max(row["count"] for row in execution.rows) < 48


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        ("faults.broken_raises", "faults.broken_raises cannot be imported: OSError: libplanted.so: cannot open shared"),
        ("faults.broken_dies", "SIGSEGV while importing faults.broken_dies, faults.workloads; at __init__.py, line"),
        ("faults.broken_hangs", "no answer within 1 s of starting"),
    ],
)
def test_a_library_that_cannot_be_imported_ends_the_run_early(library: str, reason: str) -> None:
    """Nothing was run, and every row says why."""
    execution = run(plan(50), modules=[library], start_timeout_s=1.0 if "hangs" in library else 60.0)

    assert {row["status"] for row in execution.rows} == {"not_run"}
    assert {row["reason"] for row in execution.rows} == {execution.unusable["cpu"]}
    assert execution.unusable["cpu"].startswith(f"device unusable: {reason}")
    assert len(execution.rows) == 50
    assert not execution.complete


def test_an_interpreter_that_is_not_there_is_a_reason_and_no_crash() -> None:
    """As any other device that cannot be used."""
    execution = run(plan(4), interpreter="/nowhere/python")

    assert execution.unusable["cpu"].startswith("device unusable: /nowhere/python cannot be started: No such file")
    assert {row["status"] for row in execution.rows} == {"not_run"}


def test_one_broken_device_does_not_stop_another() -> None:
    """The library cannot be imported on one variant: its tasks are not run, those of the CPU are."""
    execution = run(plan(10), ["cpu", "cpu:avx2"], modules=["faults.broken_on_avx2"])

    assert {(row["device"], row["status"]) for row in execution.rows} == {("cpu", "ok"), ("cpu:avx2", "not_run")}
    assert list(execution.unusable) == ["cpu:avx2"]


def test_a_crash_loop_is_broken() -> None:
    """A library that kills every worker is given up after 64 deaths in a row, and the rest says so."""
    execution = run(plan(200, dict.fromkeys(range(200), "exit_7")))

    not_run = [row for row in execution.rows if row["status"] == "not_run"]
    assert len(not_run) > 120
    assert not_run[0]["reason"].startswith("device unusable: 64 workers in a row ended without an answer")
    confirmed = [row["reason"] for row in execution.rows if row["status"] == "crash"]
    assert confirmed
    assert all(reason.endswith("(not confirmed)") for reason in confirmed)
    assert len(execution.rows) == 200


def test_a_library_that_starts_threads_is_imported_after_the_fork() -> None:
    """A process with two threads must not be forked: the server then has one, and the workers import."""
    options = {"modules": ["faults.starts_thread"], "measure": "faults.workloads:environment_row"}
    execution = run(plan(2), **options)

    threads = {row["count"] for row in execution.rows if row["quantity"] == "server_threads"}
    assert threads == {1}


def test_the_fork_server_imports_the_real_library_and_computes_nothing() -> None:
    """The library is loaded in the server, which still has one thread; workers use one."""
    options = {"modules": ["torch", "bitsandbytes"], "measure": "faults.workloads:environment_row"}
    execution = run(plan(4), recycle_after=1, jobs=1, **options)

    seen = {
        (row["quantity"], row["count"]) for row in execution.rows if row["quantity"] in ("server_threads", "threads")
    }
    assert seen == {("server_threads", 1), ("threads", 1)}
    assert len({row["count"] for row in execution.rows if row["quantity"] == "pid"}) == 4
    assert execution.environment["cpu"]["bitsandbytes"]


def test_the_parent_imports_no_torch() -> None:
    """Neither the executor nor the store needs it."""
    code = "import sys, accuracy.executor, accuracy.store; sys.exit(bool({'torch', 'bitsandbytes'} & {*sys.modules}))"

    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=TESTS.parent).returncode == 0


def test_after_the_deadline_no_task_is_begun() -> None:
    """What was not run is not counted as run."""
    execution = run(plan(30), deadline=time.monotonic())

    assert {(row["status"], row["reason"]) for row in execution.rows} == {("not_run", "the time budget was used up")}
    assert not execution.complete


def test_an_interrupted_run_keeps_what_is_finished() -> None:
    """Control-C in the middle: finished tasks have their rows, the others say that they were interrupted."""
    token = mark()

    def interrupt(progress: Progress) -> None:
        if progress.done == 10:
            raise KeyboardInterrupt

    execution = run(plan(40), on_progress=interrupt)

    assert execution.interrupted
    assert not execution.complete
    assert len(reasons(execution)) == 30
    assert set(reasons(execution).values()) == {"not_run interrupted"}
    assert left_behind(token) == []


def test_progress_counts_every_outcome() -> None:
    """From none of the plan to all of it, one by one; what is said of a wait on a busy machine is no outcome."""
    seen: list[Progress] = []
    run(plan(12, {3: "segfault"}), on_progress=seen.append)

    assert [progress.done for progress in seen if not progress.waits] == list(range(13))
    assert {progress.total for progress in seen} == {12}


def test_two_tasks_with_one_id_are_refused() -> None:
    """Their outcomes could not be told apart."""
    with pytest.raises(ValueError, match="the plan holds a task twice"):
        run([task(1), task(1)])


def test_words_of_a_dead_worker_cannot_steer_a_terminal() -> None:
    """What it printed last holds escape codes; the row does not."""
    execution = run(plan(1, {0: "escape"}))

    assert execution.rows[0]["reason"] == "crash: exit code 7 without an answer; said before: ]0;title"
