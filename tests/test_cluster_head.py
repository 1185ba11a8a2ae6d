"""The head of a run with agents that are real and live in this process: equal to one machine, whatever they do."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults.plans import comparable, plan, reasons, run
from faults.teams import Answer, Threads

from accuracy.case import Task
from accuracy.cluster.head import Lost, Seat, execute
from accuracy.journal import Journal
from accuracy.record import Execution, Progress
from bench.processes import left_behind, mark

FAULTS = {3: "segfault", 17: "raise", 44: "exit_7"}
BOTH = ("cpu", "cpu:avx2")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is unpacked into the cache of who runs the tests, and no process is left."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    token = mark()
    yield
    assert left_behind(token) == []


def seats(*devices: Sequence[str]) -> list[Seat]:
    return [Seat(name=name, devices=tuple(own), workers=1) for name, own in zip("abc", devices, strict=False)]


def cluster(team: Threads, tasks: Sequence[Task], devices: Sequence[str] = ("cpu",), **options: Any) -> Execution:
    """As `faults.plans.run` does it on one machine."""
    planted: dict[str, Any] = {"timeout_s": 1.0, "bounds": {}, "measure": "faults.workloads:faulty", "modules": ()}
    return execute(team, tasks, devices, **{**planted, **options})


def loses(name: str, *, after: int) -> Callable[[str, int, Mapping[str, Any]], Answer]:
    """An agent that is gone once it has told so much."""
    told = 0

    def spoil(who: str, _: int, answer: Mapping[str, Any]) -> Answer:
        nonlocal told
        gone = who == name and told >= after
        told += len(answer["reports"]) if who == name else 0
        return Lost(reason="the power went") if gone else answer

    return spoil


def test_rows_are_those_of_one_machine() -> None:
    """Three agents and two devices, a crash, an exception, a hang and an exit: the same rows in the same order."""
    tasks = plan(30, {**FAULTS, 11: "hang_deaf"})
    spread = cluster(Threads(seats(BOTH, BOTH, ["cpu"])), tasks, BOTH)
    alone = run(tasks, BOTH)

    assert comparable(spread.rows) == comparable(alone.rows)
    assert reasons(spread).keys() == {3, 11, 17}
    assert spread.environment == alone.environment
    assert spread.complete
    assert (spread.unusable, spread.interrupted) == ({}, False)


@pytest.mark.parametrize(("after", "nonsense"), [(3, False), (0, True)])
def test_what_lost_agents_had_is_measured_by_the_one_that_is_left(after: int, *, nonsense: bool) -> None:
    """One dies in the middle, or one dies and one talks nonsense: they are named, and no row is missing or other.

    Where both are lost, both are so at their first answer, when they have nothing but what was theirs first: a case
    that two lost agents had, one after the other, is given to no third.
    """
    dies = loses("a", after=after)

    def spoil(name: str, turns: int, answer: Mapping[str, Any]) -> Answer:
        return {**answer, "reports": [7]} if nonsense and name == "b" else dies(name, turns, answer)

    tasks = plan(60, FAULTS)
    spread = cluster(Threads(seats(["cpu"], ["cpu"], ["cpu"]), spoil=spoil), tasks)

    assert comparable(spread.rows) == comparable(run(tasks).rows)
    assert spread.complete
    text = " | ".join(spread.incidents)
    assert "a was lost after" in text
    assert "the power went" in text
    assert ("b was lost after" in text) == nonsense


@pytest.mark.parametrize(
    "report",
    [
        {"id": "f" * 16, "device": "cpu", "status": "fine"},
        {"id": plan(8)[0].id, "device": "cpu", "line": b"{}"},
        {"id": 1},
        7,
        {"hello": 1},
    ],
)
def test_an_agent_that_says_what_it_should_not_is_given_up(report: Any) -> None:
    """Its cases are measured by another."""

    def spoil(name: str, _: int, answer: Mapping[str, Any]) -> Answer:
        return {**answer, "reports": [report]} if name == "a" else answer

    tasks = plan(8)
    spread = cluster(Threads(seats(["cpu"], ["cpu"]), spoil=spoil), tasks)

    assert comparable(spread.rows) == comparable(run(tasks).rows)
    assert any("a was lost" in text and "cannot be read" in text for text in spread.incidents)


def test_without_another_of_its_kind_the_rest_is_not_run() -> None:
    """With the reason; what was measured before stays, and the other device is not touched."""
    tasks = plan(40)
    spread = cluster(Threads(seats(["cpu"], ["cpu:avx2"]), spoil=loses("b", after=3)), tasks, BOTH)

    gone = [row for row in spread.rows if row["status"] == "not_run"]
    assert {(row["device"], row["reason"]) for row in gone} == {("cpu:avx2", "device lost: b: the power went")}
    assert 0 < len(gone) < len(tasks)
    assert comparable(row for row in spread.rows if row["device"] == "cpu") == comparable(run(tasks).rows)
    assert spread.unusable == {"cpu:avx2": "device lost: b: the power went"}
    assert not spread.complete


def test_an_agent_whose_device_is_unusable_costs_that_device() -> None:
    """The reason is the one that a run on one machine gives."""
    tasks = plan(6)
    options = {"modules": ("faults.broken_on_avx2",), "timeout_s": 5.0}
    spread, alone = cluster(Threads(seats(BOTH)), tasks, BOTH, **options), run(tasks, BOTH, **options)

    assert comparable(spread.rows) == comparable(alone.rows)
    assert spread.unusable == alone.unusable
    assert list(spread.unusable) == ["cpu:avx2"]


def says(name: str, _: int, answer: Mapping[str, Any], *, fact: Mapping[str, str]) -> Answer:
    """The answer of an agent, of which one says so of what its workers run on."""
    reports = [
        {**each, "hello": {**each["hello"], **fact}} if "hello" in each and name == "b" else each
        for each in answer["reports"]
    ]
    return {**answer, "reports": reports}


def test_agents_on_other_hardware_than_the_first_measure_nothing() -> None:
    """Rows under the name of one device are rows of one device."""
    tasks = plan(30)
    team = Threads(seats(["cpu"], ["cpu"]), spoil=partial(says, fact={"device_name": "another"}))
    spread = cluster(team, tasks, measure="faults.workloads:slow")

    assert spread.complete
    assert len({row["id"] for row in spread.rows if row["status"] == "ok"}) == len(tasks)
    assert any("its device_name is" in text for text in spread.incidents)


def test_agents_that_lack_the_compiled_tally_measure_too() -> None:
    """It gives the same rows at another price."""
    team = Threads(seats(["cpu"], ["cpu"]), spoil=partial(says, fact={"tally": "numpy"}))
    spread = cluster(team, plan(30), measure="faults.workloads:slow")

    assert spread.complete
    assert spread.incidents == []


def test_a_time_budget_ends_a_run_as_on_one_machine() -> None:
    """What was not begun is not run, for that reason."""
    tasks = plan(3000)
    spread = cluster(Threads(seats(["cpu"])), tasks, measure="faults.workloads:slow", deadline=time.monotonic() + 2.5)

    said = {row["reason"] for row in spread.rows if row["status"] == "not_run"}
    assert said == {"the time budget was used up"}
    assert len({row["id"] for row in spread.rows}) == len(tasks)
    assert not spread.complete


def test_an_interrupted_run_can_be_resumed_and_measures_nothing_twice(tmp_path: Path) -> None:
    """Ctrl-C in the middle: the journal has what was done, the rest runs the next time, and the rows are the same."""

    def stop(now: Progress) -> None:
        if now.done == 20:
            raise KeyboardInterrupt

    tasks = plan(60, FAULTS)
    (tmp_path / "run").mkdir()
    with Journal(tmp_path / "run", {"plan": 60}) as journal:
        cut = cluster(Threads(seats(["cpu"], ["cpu"])), tasks, journal=journal, on_progress=stop)
    resumed: list[int] = []
    with Journal(tmp_path / "run", {"plan": 60}, resume=True) as journal:
        whole = cluster(
            Threads(seats(["cpu"], ["cpu"])),
            tasks,
            journal=journal,
            on_progress=lambda now: resumed.append(now.resumed),
        )

    assert cut.interrupted
    assert {row["reason"] for row in cut.rows if row["status"] == "not_run"} == {"interrupted"}
    assert len({row["id"] for row in cut.rows}) == len(tasks)
    assert set(resumed) == {20}
    assert comparable(whole.rows) == comparable(run(tasks).rows)
