"""Workers of an accelerator: what poisons it, keeps it busy or ends it costs its task and no other."""

import itertools
import re
import selectors
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults.plans import TESTS, comparable, plan, reasons, run
from faults.workloads import BOX
from hypothesis import given
from hypothesis import strategies as st

from accuracy import confirmation, contents
from accuracy.attempt import Calls, Failure, Terms
from accuracy.case import Status
from accuracy.devices import parse
from accuracy.journal import Journal
from accuracy.lane import Lane
from accuracy.schedule import settle
from accuracy.waiting import Waiting


def test_a_poisoned_device_costs_the_task_that_poisoned_it() -> None:
    """After it every answer would be wrong: the worker is replaced, and the answers are those of a sound device."""
    options: dict[str, Any] = {
        "measure": "faults.workloads:on_device",
        "check": "faults.workloads:check_context",
    }
    execution = run(plan(40, {13: "poison"}), ["xpu"], **options)

    assert reasons(execution) == {
        13: "crash crash: device error: RuntimeError: xpu error: device-side assert triggered"
    }
    assert all(row["abs_max"] >= 0 for row in execution.rows if row["quantity"] != "completes")


def test_the_first_of_several_devices_goes_by_one_name() -> None:
    """Whoever asks for it by its number, or twice, has its answers, once, under the name that rows have."""
    options: dict[str, Any] = {"measure": "faults.workloads:on_device", "check": "faults.workloads:check_context"}
    once, numbered, twice = (run(plan(4), names, **options).rows for names in (["xpu"], ["xpu:0"], ["xpu:0", "xpu"]))

    assert {(row["device"], row["status"]) for row in once} == {("xpu", "ok")}
    assert comparable(numbered) == comparable(once)
    assert comparable(twice) == comparable(once)


def test_what_poisons_a_device_is_tried_again_in_a_fresh_process() -> None:
    """One that only a used process fell for is no crash; many, the last of the plan among them, are confirmed each."""
    options: dict[str, Any] = {
        "measure": "faults.workloads:on_device",
        "check": "faults.workloads:check_context",
        "accelerator_jobs": 1,
        "timeout_s": 30.0,  # a worker that is replaced for another reason would be a fresh one
    }
    faults = dict.fromkeys((5, 6, 17, 18, 19), "poison") | {11: "poison_used"}
    execution = run(plan(20, faults), ["xpu"], **options)

    error = "device error: RuntimeError: xpu error: device-side assert triggered"
    assert reasons(execution) == dict.fromkeys((5, 6, 17, 18, 19), f"crash crash: {error}") | {
        11: f"crash crash_once: {error} (not again in a fresh process)"
    }
    assert len({row["id"] for row in execution.rows}) == 20


def test_an_error_that_came_again_often_enough_is_not_tried_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of twelve that poison the device, each is recorded as one of those that were tried twice, which are four."""
    monkeypatch.setenv(BOX, str(tmp_path))
    options: dict[str, Any] = {
        "measure": "faults.workloads:on_device",
        "check": "faults.workloads:check_context",
        "accelerator_jobs": 1,
        "timeout_s": 30.0,
    }
    execution = run(plan(20, dict.fromkeys(range(4, 16), "poison")), ["xpu"], **options)

    error = "device error: RuntimeError: xpu error: device-side assert triggered"
    assert reasons(execution) == dict.fromkeys(range(4, 16), f"crash crash: {error}")
    tries = Counter(mark.stem for mark in tmp_path.iterdir())
    assert sorted(tries.values()) == [1] * 8 + [2] * confirmation.ENOUGH
    assert [text for text in execution.incidents if "again each time" in text] == [
        f"xpu: planted: {error}: again each time, so no more of them are tried twice"
    ]


def test_a_case_that_poisons_its_device_goes_last(tmp_path: Path) -> None:
    """What waits of it is begun once all others have been; rows keep the order of the plan."""
    options: dict[str, Any] = {
        "measure": "faults.workloads:on_device",
        "check": "faults.workloads:check_context",
        "accelerator_jobs": 1,
        "timeout_s": 30.0,
    }
    tasks = [replace(each, case=("odd", "even")[each.seed % 2 == 0]) for each in plan(40, {5: "poison"})]
    with Journal(tmp_path, {}) as journal:
        execution = run(tasks, ["xpu"], journal=journal, **options)

    number_of = {each.id: each.seed for each in tasks}
    settled = [number_of[task_id] for task_id, _ in contents.read(tmp_path).texts]
    assert settled == [*range(6), *range(6, 40, 2), *range(7, 40, 2)]
    assert [*dict.fromkeys(int(row["seed"]) for row in execution.rows)] == [*range(40)]


numbers = st.lists(st.integers(0, 99), unique=True)


@given(numbers, st.data())
def test_a_queue_with_cases_put_last_loses_nothing(tasks: list[int], data: st.DataObject) -> None:
    """Whatever is put last, taken and put back meanwhile; each half keeps its order, and what is asked for is first."""
    queue = Waiting(tasks, case_of=lambda task: f"ends in {task % 10}")
    last = [*data.draw(st.lists(st.sampled_from((0, 1, *range(3, 10))), unique=True)), 2]
    for digit in last[:-1]:
        queue.put_last(f"ends in {digit}")
    for task in (100, 101):
        queue.append(task)
    queue.append(102, asked=True)
    taken = [queue.popleft() for _ in range(data.draw(st.integers(0, len(queue))))]
    queue.put_back(taken)
    queue.put_last("ends in 2")  # of which the one that was asked for is
    assert len(queue) == len(tasks) + 3

    drained = [queue.popleft() for _ in range(len(queue))]
    *moved, twos = ([task for task in tasks if task % 10 == digit] for digit in last)
    stayed, added = ([task for task in each if task % 10 not in last] for each in (tasks, (100, 101)))
    later = [task for task in (100, 101) if task not in added]
    assert drained == [*stayed, *added, 102, *itertools.chain(*moved), *later, *twos]


def test_an_error_that_once_did_not_come_again_is_always_tried_twice() -> None:
    """Of one case in the same words, which says nothing of another case, of other words or of what no device said."""
    doubts = confirmation.Confirmation(case_of=("nf4", "fp4").__getitem__)
    fault = partial(Failure, status=Status.CRASH, kind="crash", seconds=0.0)
    error, other = fault(text="assert", poisoned=True), fault(text="misaligned address", poisoned=True)
    said = [doubts.looked(0, error, again=again) for again in [True] * 3 + [False] + [True] * 9]

    assert not any(said)
    assert not doubts.certain(0, error)
    assert [doubts.looked(1, error, again=True) for _ in range(6)] == [False] * 3 + [True] + [False] * 2
    assert [doubts.certain(1, each) for each in (error, other, fault(text="assert"))] == [True, False, False]

    doubts.poisoned.extend([(0, error), (1, error), (1, other)])
    assert doubts.released() == [(1, error)]
    assert list(doubts.poisoned) == [(0, error), (1, other)]


def test_the_last_words_of_a_worker_count_though_it_can_be_told_no_more() -> None:
    """It poisons its device and ends before the task that follows is sent: its task is blamed, and not begun anew."""
    tasks = plan(8, {0: "poison"})
    suspects: list[int] = []
    settled: dict[int, str] = {}
    incidents: list[str] = []

    def message(index: int) -> dict[str, Any]:
        if index == 1 and not suspects:
            time.sleep(0.5)
        return {
            "id": tasks[index].id,
            "case": "planted",
            "text": tasks[index].text,
            "seed": index,
            "origin": "",
        }

    calls = Calls(
        task_id=lambda index: tasks[index].id,
        message=message,
        settle=lambda index, _, outcome: settled.update({index: outcome.reason}),
        suspect=lambda index, *_: suspects.append(index),
        hello=lambda *_: None,
        incident=incidents.append,
    )
    terms = Terms(
        jobs=1, accelerator_jobs=1, timeout_s=30.0, start_timeout_s=30.0, memory=0, recycle_after=500, deadline=None,
        interpreter=sys.executable, overlay=(TESTS,), modules=(), measure="faults.workloads:on_device",
        check="faults.workloads:check_context", bounds={},
    )  # fmt: skip
    with selectors.DefaultSelector() as selector:
        lane = Lane(device=parse("xpu"), tasks=range(8), terms=terms, calls=calls, selector=selector)
        settle([lane], selector)
        lane.dismiss()

    assert (suspects, incidents) == ([0], [])
    error = "crash: device error: RuntimeError: xpu error: device-side assert triggered"
    assert settled == {0: error} | dict.fromkeys(range(1, 8), "")


def test_a_worker_of_an_accelerator_serves_longer() -> None:
    """By hand: replaced after two tasks on the CPU, it does twenty there: 41 tasks take 21 processes and three."""
    options: dict[str, Any] = {"measure": "faults.workloads:environment_row", "recycle_after": 2, "jobs": 1}
    options |= {"check": "faults.workloads:check_context", "accelerator_jobs": 1}
    rows = run(plan(41), ["cpu", "xpu"], **options).rows

    pids = {device: {row["count"] for row in rows if row["quantity"] == "pid" and row["device"] == device}
            for device in ("cpu", "xpu")}  # fmt: skip
    assert {device: len(seen) for device, seen in pids.items()} == {"cpu": 21, "xpu": 3}


def test_a_busy_device_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives three workers no context, more than a device that is not there is asked; nothing is lost."""
    monkeypatch.setenv(BOX, str(tmp_path))
    options: dict[str, Any] = {"measure": "faults.workloads:on_device", "accelerator_jobs": 1}
    execution = run(plan(8), ["xpu"], check="faults.workloads:check_busy", **options)

    assert execution.complete
    assert {row["status"] for row in execution.rows} == {"ok"}
    first, last = execution.incidents
    assert first == "xpu: a start failed: RuntimeError: xpu error: device(s) is/are busy or unavailable"
    assert re.fullmatch(r"xpu: 3 starts failed in \d s", last)


def test_a_device_that_never_answers_is_given_up() -> None:
    """Its canary fails from the start; the CPU beside it finishes."""
    execution = run(plan(8), ["cpu", "xpu"], check="faults.workloads:check_dead")

    assert execution.unusable == {"xpu": "device unusable: RuntimeError: xpu is not there"}
    assert {(row["device"], row["status"]) for row in execution.rows} == {("cpu", "ok"), ("xpu", "not_run")}
