"""The exploration of one case: bounded, repeatable, not held up by what fails, and with a memory."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis.database import ExampleDatabase, InMemoryExampleDatabase
from observed import ROW

from accuracy import limits, plan
from accuracy.case import EXPLORED, Case, Task
from accuracy.cases import CASES
from accuracy.hunt import FOUND, MOST_HANGS, MOST_KEPT, Hunt
from accuracy.mailbox import Mailbox
from accuracy.score import Standing, scorer

CASE = CASES["linear8bitlt-eval"]
SCORE = scorer(limits.load())
EVERYTHING = frozenset({"sample", *(f"stratum:{stratum.name}" for stratum in CASE.strata)})
CELL = {dtype: ("cpu", dtype, "compute", "output") for dtype in ("float32", "float16", "bfloat16")}
GOOD = Standing(worst=dict.fromkeys(CELL.values(), -10.0), failing=frozenset(), completed=EVERYTHING)

Layer = Callable[[Any], dict[str, Any]]
"""What the one row of an example says, by its config."""


@contextmanager
def answered(layer: Layer) -> Iterator[tuple[Mailbox, list[Task]]]:
    """A mailbox in which every question is answered by this layer, and the questions."""
    mailbox, asked = Mailbox(), []

    def answer() -> None:
        while mailbox.open:
            for question in mailbox.take():
                task = question.task
                asked.append(task)
                mailbox.answer(question, [ROW | {"id": task.id, "dtype": task.config.dtype} | layer(task.config)])
            time.sleep(1e-4)

    thread = threading.Thread(target=answer)
    thread.start()
    yield mailbox, asked
    mailbox.close()
    thread.join()
    mailbox.dispose()


def hunt(
    layer: Layer,
    *,
    seed: int = 1,
    most: int | None = 60,
    database: ExampleDatabase | None = None,
    standing: Standing = GOOD,
    until: float = math.inf,
    case: Case = CASE,
) -> tuple[Hunt, list[Task]]:
    """A hunt to its end, and what it asked for, in order."""
    with answered(layer) as (mailbox, asked):
        hunt = made(mailbox, seed=seed, most=most, database=database, standing=standing, until=until, case=case)
        hunt.run()
    return hunt, asked


def made(
    mailbox: Mailbox,
    *,
    seed: int = 1,
    most: int | None = None,
    database: ExampleDatabase | None = None,
    standing: Standing = GOOD,
    until: float = math.inf,
    case: Case = CASE,
) -> Hunt:
    """A hunt before it begins."""
    return Hunt(
        case=case,
        seed=seed,
        mailbox=mailbox,
        score=SCORE,
        standing=standing,
        planned=(),
        database=InMemoryExampleDatabase() if database is None else database,
        most=most,
        until=until,
    )


def good(_: Any) -> dict[str, Any]:
    return {"ratio": 2.0**-12}


def broken_in_a_corner(config: Any) -> dict[str, Any]:
    """One row of more than 1040 features is too much for it."""
    return {"ratio": 4.0 if config.batch == (1,) and config.in_features > 1040 else 2.0**-12}


@pytest.mark.parametrize("most", [1, 7, 40, 41, 100])
def test_so_many_examples_are_measured_and_no_more(most: int) -> None:
    """Each of them once, marked, and in one family."""
    done, asked = hunt(good, most=most)

    assert done.examples == len(asked) == len({task.id for task in asked}) == most
    assert {(task.case, task.origin) for task in asked} == {(CASE.name, EXPLORED)}


def test_the_same_seed_and_an_empty_database_give_the_same_examples() -> None:
    """In the same order, with the same data seeds, sweeps and climbs alike."""

    def rising(config: Any) -> dict[str, Any]:
        return {"ratio": config.in_features / 8192}

    one, again, other = (hunt(rising, seed=seed, most=90)[1] for seed in (1, 1, 2))

    assert one == again
    assert len({task.id for task in one} & {task.id for task in other}) < 10  # the simplest that there are


def test_when_time_is_up_nothing_is_asked() -> None:
    done, asked = hunt(good, most=None, until=time.monotonic())
    assert (done.examples, asked) == (0, [])


def test_two_boundaries_meet_soon() -> None:
    """A fault in a corner that the plan was not in is found, and its cell is news once."""
    done, asked = hunt(broken_in_a_corner, most=200)

    hits = [task for task in asked if broken_in_a_corner(task.config)["ratio"] > 1]
    assert hits
    assert done.found == {CELL[task.config.dtype] for task in hits}


def size(config: Any) -> int:
    """Multiplications of a layer whose sides both are at most 300, which is where sizes are drawn evenly."""
    sides = config.in_features, config.out_features
    return math.prod((*sides, *config.batch)) if max(sides) <= 300 else 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hypothesis_climbs_from_what_went_beyond_the_plan(seed: int) -> None:
    """The error grows with three sizes at once: of the best of a dtype one thing is changed, and that is better."""

    def rising(config: Any) -> dict[str, Any]:
        return {"ratio": size(config) / 2**24}

    with answered(rising) as (mailbox, asked):
        made(mailbox, seed=seed, standing=replace(GOOD, completed=frozenset({"sample"})))._climb(120)

    steps = 0
    best: dict[str, Task] = {}
    for task in asked:
        before = best.setdefault(task.config.dtype, task)
        if size(task.config) > size(before.config):
            changed = {name for name, value in vars(task.config).items() if value != getattr(before.config, name)}
            steps += task.seed == before.seed and len(changed) == 1
            best[task.config.dtype] = task
    assert steps > 0


def test_a_stratum_that_stands_alone_is_not_combined_with_others() -> None:
    """Layers of 65,600 rows are met by the plan; a corner of them would be as large."""
    (alone,) = [stratum for stratum in CASE.strata if stratum.name == "65,600 rows"]
    planned = plan.make([CASE], plan.PROFILES["smoke"], 1)
    _, asked = hunt(good, most=200)

    assert sum(alone.holds(task.config) for task in planned) == 3
    assert len(asked) == 200
    assert not any(alone.holds(task.config) for task in asked)


def test_a_finding_is_replayed_first_the_next_night() -> None:
    """Before anything else, whatever the seed, as long as it is there to be replayed."""
    database = InMemoryExampleDatabase()
    _, first = hunt(broken_in_a_corner, most=200, database=database)
    kept = {json.loads(value)["id"] for value in database.fetch(FOUND)}
    done, asked = hunt(broken_in_a_corner, seed=2, most=len(kept), database=database)

    assert kept
    assert kept <= {task.id for task in first}
    assert {task.id for task in asked} == kept
    assert done.replayed == len(kept)
    assert done.found == {CELL[task.config.dtype] for task in asked}


def finding(number: int) -> bytes:
    """A finding as an earlier night kept it."""
    task = Task(case=CASE.name, config=CASE.published[0], seed=number, origin=EXPLORED)
    return json.dumps(plan.rows([task])[0]).encode()


def test_what_no_longer_fails_is_kept_until_its_place_is_needed() -> None:
    """A defect that is mended may come back; a new one takes the place of a mended one, never of one that fails."""
    database = InMemoryExampleDatabase()
    for number in range(MOST_KEPT):
        database.save(FOUND, finding(number))
    hunt(good, database=database)
    assert set(database.fetch(FOUND)) == {finding(number) for number in range(MOST_KEPT)}

    done, _ = hunt(broken_in_a_corner, most=200, database=database)
    left = set(database.fetch(FOUND))
    assert len(left) == MOST_KEPT
    assert len(left - {finding(number) for number in range(MOST_KEPT)}) == len(done.found) > 0


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"[]", b"{}", b'{"case":"gone"}', finding(1).replace(b"in_features", b"k"), b"[" * 9999]
)
def test_what_cannot_be_read_is_forgotten(value: bytes) -> None:
    """Another version had other cases, or the disk other ideas: the night goes on."""
    database = InMemoryExampleDatabase()
    database.save(FOUND, value)
    done, _ = hunt(good, most=5, database=database)

    assert (done.examples, done.replayed) == (5, 0)
    assert set(database.fetch(FOUND)) == set()


def test_what_is_claimed_no_more_is_forgotten() -> None:
    """A claim that went too far was found by a night, and would be a false alarm of each one after it."""
    case = replace(CASE, claimed_of=lambda config: config.bias)
    database = InMemoryExampleDatabase()
    config: Any = CASE.published[0]
    kept, gone = (
        Task(case=CASE.name, config=replace(config, bias=bias), seed=1, origin=EXPLORED) for bias in (True, False)
    )
    for task in (kept, gone):
        database.save(FOUND, json.dumps(plan.rows([task])[0]).encode())
    done, asked = hunt(good, case=case, most=1, database=database)

    assert done.replayed == 1
    assert asked[0].id == kept.id
    assert [json.loads(value)["id"] for value in database.fetch(FOUND)] == [kept.id]


def test_a_layer_that_hangs_again_and_again_is_left_alone() -> None:
    """Every hang costs a timeout, twice."""
    done, asked = hunt(lambda _: {"status": "timeout", "ratio": math.nan}, most=None)

    assert done.examples == len(asked) == MOST_HANGS


def test_crashes_do_not_end_the_search() -> None:
    """Each is a finding like any other, and there is more to find."""
    done, _ = hunt(lambda _: {"status": "crash", "ratio": math.nan, "stage": "contract", "quantity": "completes"})
    assert done.examples == 60


def test_a_case_that_ran_nowhere_is_not_explored() -> None:
    """A layer that raises or is refused in every task of the plan would do so in every example."""
    nothing = Standing(worst={}, failing=frozenset(), completed=frozenset())
    assert hunt(good, standing=nothing)[0].examples == 0


def test_a_boundary_at_which_nothing_runs_is_not_combined() -> None:
    """Where the layer raises anyway, a second boundary shows nothing."""
    without = Standing(worst={}, failing=frozenset(), completed=EVERYTHING - {"stratum:rank 4, one row"})

    def asked(standing: Standing) -> int:
        configs: list[Any] = [task.config for task in hunt(good, standing=standing)[1]]
        return sum(config.batch == (1, 1, 1) for config in configs)

    assert asked(without) < asked(GOOD)


def test_other_threads_are_not_held_up(recwarn: Any) -> None:
    """Three hunts at once, each in a thread of its own, ask for what each asks for alone."""
    alone = [hunt(broken_in_a_corner, seed=seed, most=80)[1] for seed in range(3)]
    found: dict[int, Sequence[Task]] = {}

    def one(seed: int) -> None:
        found[seed] = hunt(broken_in_a_corner, seed=seed, most=80)[1]

    threads = [threading.Thread(target=one, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [found[seed] for seed in range(3)] == alone
    assert not recwarn.list
