"""Exploration in a real run: marked, stored, replayed, resumed, and bounded, on real workers."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.strategies import SearchStrategy
from observed import ROW
from test_nightly import HERE, requested, small

from accuracy import exploration, limits, nightly, plan, remeasure, store, storing, unfinished
from accuracy.case import EXPLORED, Case, Task, canonical_json
from accuracy.cases import CASES
from accuracy.conclusion import Result
from accuracy.exploration import Budget, Search
from accuracy.files import JOURNAL, StoreError
from accuracy.hunt import FOUND
from accuracy.journal import Journal
from accuracy.packing import pack, unpack
from accuracy.prepared import Prepared, prepare
from accuracy.record import Progress
from accuracy.rows import apart

NAME = "embedding8bit"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No memory of earlier nights, and none left behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def prepared(budget: Budget | None, **options: Any) -> Prepared:
    case = replace(small(NAME), strata=CASES[NAME].strata[:8])
    return prepare(replace(requested([case], **options), explore=budget), HERE)


def run(
    budget: Budget | None,
    journal: Journal | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    **options: Any,
) -> Result:
    return nightly.run(prepared(budget, **options), journal, on_progress)


def comparable(rows: pd.DataFrame) -> list[str]:
    """Rows as text, times apart."""
    records = rows.drop(columns="seconds").to_dict("records")
    return [str({name: str(value) for name, value in row.items()}) for row in records]


def explored(result: Result) -> list[str]:
    return [str(each) for each in result.plan.loc[result.plan["origin"] == EXPLORED, "id"]]


def test_what_is_explored_is_marked_and_changes_nothing_else(tmp_path: Path) -> None:
    """Its rows come after those of the plan, which are as without it, and so is the plan's hash."""
    without, result = run(None), run(Budget(examples=10))
    planned = result.observations["origin"] != EXPLORED

    assert comparable(result.observations[planned]) == comparable(without.observations)
    assert planned.is_monotonic_decreasing
    assert len(explored(result)) == 10
    assert set(result.observations.loc[~planned, "id"]) == set(explored(result))
    assert result.manifest["plan_hash"] == without.manifest["plan_hash"]
    assert (without.manifest["exploration"], result.manifest["exploration"]) == (
        None,
        {
            "budget": {"seconds": None, "examples": 10},
            "cases": {NAME: {"examples": 10, "replayed": 0, "found": 0}},
        },
    )
    assert result.summary["verdict"] == "release"

    storing.prepare(tmp_path / "run")
    storing.write(tmp_path / "run", result.manifest, result.plan, result.observations, result.verdicts, result.summary)
    stored = store.read(tmp_path / "run")
    again = remeasure.measure(stored, [explored(result)[0]], limits.load())
    first = stored.observations[stored.observations["id"] == explored(result)[0]]
    assert comparable(again[list(first.columns)]) == comparable(first)


def test_a_budget_of_examples_gives_the_same_rows_again() -> None:
    """One worker or two, and whatever else runs, as long as nothing is kept from earlier nights."""
    one, two = run(Budget(examples=30)), run(Budget(examples=30), jobs=2)
    assert comparable(one.observations) == comparable(two.observations)


def test_a_budget_of_time_ends() -> None:
    """It makes a beginning of what a budget of examples would explore."""
    result = run(Budget(seconds=4.0))

    assert explored(result)
    assert result.complete
    assert result.manifest["exploration"]["budget"] == {"seconds": 4.0, "examples": None}


def test_the_time_budget_of_the_run_ends_it_too() -> None:
    """An hour of exploration in a run of few seconds."""
    result = run(Budget(seconds=3600.0), deadline=time.monotonic() + 8)

    assert result.manifest["duration_s"] < 600
    assert "not_run" not in set(result.observations.loc[result.observations["origin"] == EXPLORED, "status"])


def test_a_run_without_a_device_explores_nothing() -> None:
    result = run(Budget(seconds=3600.0), devices=("xpu",))
    assert (explored(result), result.summary["verdict"]) == ([], "incomplete")


def test_what_an_earlier_night_found_is_replayed_first() -> None:
    """As it was kept, and counted as replayed."""
    config = CASES[NAME].published[0]
    task = Task(case=NAME, config=config, seed=99, origin=EXPLORED)
    database = DirectoryBasedExampleDatabase(exploration.folder(["cpu"]) / NAME)
    database.save(FOUND, canonical_json(plan.rows([task])[0]).encode())

    result = run(Budget(examples=1))

    assert explored(result) == [task.id]
    assert result.manifest["exploration"]["cases"][NAME]["replayed"] == 1


def test_a_cache_that_cannot_be_written_costs_nothing_but_the_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert len(explored(run(Budget(examples=3)))) == 3


def stop_after(number: int) -> Callable[[Progress], None]:
    def stop(progress: Progress) -> None:
        if progress.explored == number:
            raise KeyboardInterrupt

    return stop


def test_a_run_cut_off_while_it_explored_goes_on_and_is_told(tmp_path: Path) -> None:
    """What the journal has is reported as it is, resumed without being measured again, and ends like any other run."""
    budget = Budget(examples=12)
    whole = run(budget)
    made = prepared(budget)
    with Journal(tmp_path, made.key, about=unfinished.about(made)) as journal:
        cut = nightly.run(made, journal, stop_after(5))
    told = unfinished.result(tmp_path, limits.load())
    seen: list[Progress] = []
    with Journal(tmp_path, made.key, resume=True) as journal:
        resumed = nightly.run(made, journal, seen.append)

    assert (cut.interrupted, cut.complete, len(explored(cut))) == (True, False, 5)
    assert (tmp_path / JOURNAL).exists()
    assert explored(told) == explored(cut)
    assert told.manifest["exploration"]["cases"][NAME]["examples"] == 5
    assert told.manifest["plan_hash"] == whole.manifest["plan_hash"]
    assert seen[0].explored == 5
    assert comparable(resumed.observations) == comparable(whole.observations)
    assert resumed.plan.equals(whole.plan)
    assert resumed.complete


def test_another_budget_is_another_run(tmp_path: Path) -> None:
    """Resuming with one says which option to repeat."""
    made = prepared(Budget(examples=12))
    with Journal(tmp_path, made.key):
        pass
    with pytest.raises(StoreError, match=r"explore was .*12.* repeat its options"):
        Journal(tmp_path, prepared(None).key, resume=True)


def broken(**fixed: SearchStrategy[Any]) -> SearchStrategy[Any]:
    raise ZeroDivisionError(f"planted in a strategy of {sorted(fixed)}")


def test_a_fault_of_our_own_is_not_lost_in_its_thread() -> None:
    """It ends the exploration and is raised where the run is."""
    case: Case = replace(small(NAME), draw=broken)
    row = ROW | {"case": NAME, "origin": "sample", "stage": "contract", "quantity": "completes", "ratio": 0.0}
    search = Search(cases=[case], tasks=[], budget=Budget(examples=3), seed=1, limits=limits.load(), devices=["cpu"])
    with pytest.raises(ZeroDivisionError, match="planted in a strategy"), search:  # noqa: PT012 - its end raises
        search.begin({NAME: [unpack(pack(apart([row])), task_id=row["id"], device=row["device"])]})
        until = time.monotonic() + 60
        while search.mailbox.open and time.monotonic() < until:
            time.sleep(0.01)
        assert not search.mailbox.open
