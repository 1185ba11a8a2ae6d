"""Tasks that are thought of on the way: each has one record whatever happens to it, and whoever asked goes on."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from faults.plans import comparable, plan, run, task

from accuracy.case import EXPLORED, Task
from accuracy.journal import Journal
from accuracy.mailbox import Mailbox, Stopped
from accuracy.packing import Answer, rows_of
from accuracy.record import Execution, Progress
from accuracy.rows import Row
from bench.processes import left_behind, mark


class Asking:
    """A search with one thread for each list of tasks, which asks for them one after the other."""

    def __init__(self, *lists: Sequence[Task], timeout_s: float = 1.0) -> None:
        self.mailbox, self.timeout_s = Mailbox(), timeout_s
        self.planned: Sequence[Row] = ()
        self.answers: dict[int, list[str]] = {}
        self.stopped = 0
        self._lists, self._left = lists, len(lists)
        self._threads = [threading.Thread(target=self._ask, args=(mine,)) for mine in lists]

    def begin(self, answers: Mapping[str, Sequence[Answer]]) -> None:
        self.planned = [row for each in answers.values() for row in rows_of(each)]
        for thread in self._threads:
            thread.start()

    def _ask(self, mine: Sequence[Task]) -> None:
        try:
            for wanted in mine:
                self.answers[wanted.seed] = [row["status"] for row in self.mailbox.measure(wanted)]
        except Stopped:
            self.stopped += 1
        self._left -= 1
        if not self._left:
            self.mailbox.close()

    def end(self) -> None:
        """Waits for the threads, which must have ended by themselves."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=5)
                assert not thread.is_alive()
        self.mailbox.dispose()


def explored(number: int, fault: str = "") -> Task:
    planned = task(number, fault)
    return Task(case=planned.case, config=planned.config, seed=number, origin=EXPLORED)


def search(*lists: Sequence[Task], timeout_s: float = 1.0, count: int = 6, **options: Any) -> tuple[Execution, Asking]:
    """A plan of `count` good tasks, and then these."""
    asking = Asking(*lists, timeout_s=timeout_s)
    execution = run(plan(count), search=asking, **options)
    asking.end()
    return execution, asking


def statuses(execution: Execution) -> dict[int, list[str]]:
    """Statuses of the rows of each explored task, by number."""
    found: dict[int, list[str]] = {}
    for row in execution.rows:
        if row["origin"] == EXPLORED:
            found.setdefault(int(row["seed"]), []).append(row["status"])
    return found


def test_what_is_asked_for_is_measured_after_the_plan() -> None:
    """Each asker gets the rows of its task; the record has them once, after those of the plan, marked."""
    execution, asking = search([explored(number) for number in range(100, 108)], [explored(200), explored(201)])

    assert {int(row["seed"]) for row in asking.planned} == set(range(6))
    assert asking.answers == {number: ["ok", "ok"] for number in (*range(100, 108), 200, 201)}
    assert statuses(execution) == asking.answers
    assert comparable(execution.rows[:12]) == comparable(run(plan(6)).rows)
    assert sorted(each.seed for each in execution.explored) == sorted(asking.answers)
    assert execution.complete


def test_the_record_does_not_depend_on_who_asked_first() -> None:
    """One asker or three, one worker or two: the same rows in the same order."""
    tasks = [explored(number, "segfault" if number == 104 else "") for number in range(100, 112)]
    one, _ = search(tasks, jobs=1)
    three, _ = search(tasks[::3], tasks[1::3], tasks[2::3])

    assert comparable(three.rows) == comparable(one.rows)
    assert len(statuses(one)) == 12


@pytest.mark.parametrize(
    ("fault", "status"),
    [("segfault", "crash"), ("exit_7", "crash"), ("raise", "crash"), ("hang_in_c", "timeout"), ("not_json", "crash")],
)
def test_an_example_that_fails_is_answered_and_the_search_goes_on(fault: str, status: str) -> None:
    """The asker learns at once, and asks on; the task is confirmed alone when all else is done, and has one record."""
    wanted = [explored(100), explored(101, fault), *(explored(number) for number in range(102, 110))]
    execution, asking = search(wanted, jobs=1)

    assert asking.answers[101] == [status]
    assert [asking.answers[number] for number in range(102, 110)] == [["ok", "ok"]] * 8
    assert statuses(execution)[101] == [status]
    (row,) = (row for row in execution.rows if row["seed"] == "101")
    assert "not confirmed" not in row["reason"]


def test_an_example_may_take_less_than_a_planned_task() -> None:
    """The plan has a minute, the search a second: a hang in it costs no more."""
    execution, _ = search([explored(100, "hang_in_python")], timeout_s=0.5, count=2)

    (row,) = (row for row in execution.rows if row["origin"] == EXPLORED)
    assert row["reason"] == "timeout: no answer within 0.5 s of starting"


def test_variants_of_a_processor_take_turns() -> None:
    """Three devices share one worker: nobody waits for ever, and each example is measured on all three."""
    devices = ["cpu", "cpu:avx2", "cpu:default"]
    execution, asking = search([explored(100), explored(101)], [explored(200)], devices=devices, jobs=1, count=2)

    assert asking.answers == {number: ["ok"] * 6 for number in (100, 101, 200)}
    assert {(row["seed"], row["device"]) for row in execution.rows if row["origin"] == EXPLORED} == {
        (str(seed), device) for seed in (100, 101, 200) for device in devices
    }


def test_a_device_that_is_lost_ends_its_part() -> None:
    """After 64 deaths in a row nobody is asked any more; what was not measured is no row, and no gap in the plan."""
    wanted = [[explored(1000 * asker + number, "exit_7") for number in range(80)] for asker in range(1, 3)]
    execution, asking = search(*wanted, jobs=2)

    assert "64 workers in a row" in execution.unusable["cpu"]
    assert asking.stopped == 2
    assert {status for row in statuses(execution).values() for status in row} == {"crash"}
    assert len(statuses(execution)) < 160


def test_what_the_plan_has_already_is_not_measured_again() -> None:
    """The same case, config and seed is the same measurement, whoever thought of it."""
    execution, asking = search([explored(3), explored(100), explored(100)])

    assert asking.answers == {3: ["ok", "ok"], 100: ["ok", "ok"]}
    assert list(statuses(execution)) == [100]


def test_a_search_is_not_begun_after_the_deadline() -> None:
    """No time left: the plan says so, and nobody asks."""
    execution, asking = search([explored(100)], deadline=0.0)

    assert (asking.answers, asking.stopped) == ({}, 0)
    assert {row["status"] for row in execution.rows} == {"not_run"}


def interrupted_after(explored_so_far: int) -> Callable[[Progress], None]:
    def interrupt(progress: Progress) -> None:
        if progress.explored == explored_so_far:
            raise KeyboardInterrupt

    return interrupt


def test_an_interrupted_search_keeps_what_it_has() -> None:
    """Control-C in its middle: askers are told, no process is left, and what was not measured is not on record."""
    token = mark()
    execution, asking = search(
        [explored(number) for number in range(100, 200)],
        [explored(number) for number in range(200, 300)],
        on_progress=interrupted_after(10),
    )

    assert (execution.interrupted, execution.complete) == (True, False)
    assert asking.stopped == 2
    assert len(statuses(execution)) == 10
    assert "not_run" not in {row["status"] for row in execution.rows}
    assert left_behind(token) == []


def test_a_resumed_search_measures_nothing_twice(tmp_path: Path) -> None:
    """Cut off in its middle and begun again: the rows are those of a search that nobody disturbed."""
    wanted = [explored(number, "segfault" if number == 103 else "") for number in range(100, 120)]
    with Journal(tmp_path, {"plan": 6}) as journal:
        search(wanted, journal=journal, jobs=1, on_progress=interrupted_after(9))
    with Journal(tmp_path, {"plan": 6}, resume=True) as journal:
        earlier = [explored(int(row["seed"]), "segfault" if row["seed"] == "103" else "")
                   for row in journal.planned if row["origin"] == EXPLORED]  # fmt: skip
        seen: list[Progress] = []
        asking = Asking(wanted)
        execution = run([*plan(6), *earlier], search=asking, journal=journal, jobs=1, on_progress=seen.append)
        asking.end()
    whole, _ = search(wanted, jobs=1)

    assert comparable(execution.rows) == comparable(whole.rows)
    assert seen[0].explored == 9
    assert seen[-1].explored == 20
    assert execution.complete


def test_progress_tells_the_plan_from_what_is_explored() -> None:
    seen: list[Progress] = []
    search([explored(100), explored(101)], on_progress=seen.append)

    assert [(progress.done, progress.total, progress.explored) for progress in seen[-3:]] == [
        (6, 6, 0),
        (6, 6, 1),
        (6, 6, 2),
    ]
