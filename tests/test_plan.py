"""The plan: the same for the same seed, drawn without regard to what else is planned, and touching every stratum."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from hypothesis.strategies import just

from accuracy import inputs, plan
from accuracy.case import Stratum, Task
from accuracy.cases import CASES
from accuracy.plan import PROFILES, PlanError
from accuracy.strategies import DTYPES

SMOKE, NIGHTLY = PROFILES["smoke"], PROFILES["nightly"]
ONE = CASES["embedding8bit"]
SOME = [ONE, CASES["linear8bitlt-train"]]


@pytest.fixture(scope="module")
def smoke() -> list[Task]:
    return plan.make(list(CASES.values()), SMOKE, 20261122)


@pytest.fixture(scope="module")
def nightly() -> list[Task]:
    """A night of the two cases whose configs vary most."""
    return plan.make([CASES["linear4bit-nf4-train"], CASES["linear8bitlt-eval"]], NIGHTLY, 20261122)


def ids(tasks: list[Task], case: str = "", origin: str = "") -> list[str]:
    return [task.id for task in tasks if case in {"", task.case} and task.origin.startswith(origin)]


def test_the_same_seed_gives_the_same_plan() -> None:
    one, other = plan.make(SOME, SMOKE, 20261122), plan.make(SOME, SMOKE, 20261122)

    assert one == other
    assert plan.plan_hash(one) == plan.plan_hash(other)


def test_another_seed_draws_others_and_keeps_the_published_points() -> None:
    """What upstream tests assert is in every plan, with the same tensors."""
    one, other = plan.make(SOME, SMOKE, 20261122), plan.make(SOME, SMOKE, 20261123)

    assert ids(other, origin="published") == ids(one, origin="published")
    assert not set(ids(other, origin="s")) & set(ids(one, origin="s"))
    assert plan.plan_hash(other) != plan.plan_hash(one)


def test_what_upstream_publishes_is_the_same_every_night() -> None:
    """All twelve rows: the same configs, seeds and tensors, whatever the night's seed; all that is drawn changes."""
    cases = [case for case in CASES.values() if case.row is not None]
    nights = [plan.make(cases, SMOKE, seed) for seed in (20261122, 20261123, 0)]
    published = [[task for task in night if task.origin == "published"] for night in nights]

    assert published[0] == published[1] == published[2]
    assert {CASES[task.case].row for task in published[0]} == set(range(1, 13))
    for first in published[0][::7]:
        again = next(task for task in published[1] if task.id == first.id)
        tensors = [vars(inputs.drawn(task.config, task.seed)) for task in (first, again)]
        assert all(torch.equal(value, tensors[1][name]) for name, value in tensors[0].items() if value is not None)
    assert len({identity for night in nights for identity in ids(night, origin="s")}) == sum(
        len(ids(night, origin="s")) for night in nights
    )


def test_no_task_is_planned_twice(smoke: list[Task]) -> None:
    assert len(set(ids(smoke))) == len(smoke)


def test_every_published_point_is_planned(smoke: list[Task]) -> None:
    for case in CASES.values():
        planned = [task.config for task in smoke if (task.case, task.origin) == (case.name, "published")]
        assert planned == list(case.published)


def test_a_plan_drawn_bit_by_bit_is_the_plan() -> None:
    """However short the bits, and though it is interrupted in the middle of a draw, which ends a generator."""
    calls = 0

    def interrupts(config: object) -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return config is not None

    odd = Stratum(name="odd", holds=interrupts, fixed={})
    cases = [CASES["embedding4bit-nf4"], replace(ONE, strata=(*ONE.strata, odd))]
    drawing = plan.Drawing(cases, SMOKE, 20261122)
    first = drawing.draw(0.001)
    with pytest.raises(KeyboardInterrupt):
        drawing.draw()
    states = [drawing.open]
    rest = drawing.draw()
    states.append(drawing.open)

    assert states == [True, False]
    assert list(drawing) == plan.make(cases, SMOKE, 20261122)
    assert len(drawing) == len(set(ids(list(drawing))))
    assert drawing[: len(first)] == first
    assert drawing[-len(rest) :] == rest


def test_other_cases_move_no_task(smoke: list[Task]) -> None:
    """The plan of one case alone is its part of the whole plan."""
    assert ids(plan.make([ONE], SMOKE, 20261122)) == ids(smoke, "embedding8bit")


def test_one_stratum_more_moves_no_other_task() -> None:
    """Draws are named by case, origin and number, so a new origin adds tasks and changes none."""
    added = Stratum(name="a new one", holds=lambda c: c.dim == 17, fixed={"dim": just(17)})
    before = plan.make([ONE], SMOKE, 5)
    after = plan.make([replace(ONE, strata=(added, *ONE.strata))], SMOKE, 5)

    assert [task for task in after if task.origin != "stratum:a new one"] == before
    assert len(after) == len(before) + len(DTYPES) * SMOKE.per_stratum


def test_a_longer_profile_begins_with_the_shorter_one(nightly: list[Task], smoke: list[Task]) -> None:
    """For each case, origin and dtype of a stratum, smoke's draws come first among nightly's; one where it is alone."""
    for case in ("linear4bit-nf4-train", "linear8bitlt-eval"):
        alone = {f"stratum:{stratum.name}" for stratum in CASES[case].strata if stratum.alone}
        for origin in ("sample", *(f"stratum:{stratum.name}" for stratum in CASES[case].strata)):
            for dtype in DTYPES if origin != "sample" else (None,):
                shorter, longer = (
                    [
                        task.id
                        for task in tasks
                        if (task.case, task.origin) == (case, origin) and dtype in {None, task.config.dtype}
                    ]
                    for tasks in (smoke, nightly)
                )
                assert shorter
                assert longer[: len(shorter)] == shorter
                assert len(longer) == (1 if origin in alone else NIGHTLY.per_stratum if dtype else NIGHTLY.samples)


@pytest.mark.parametrize("case", CASES)
def test_every_stratum_is_drawn_in_every_dtype_and_holds(case: str, smoke: list[Task]) -> None:
    """A stratum whose draws do not lie in it would be a boundary that nobody tested."""
    for stratum in CASES[case].strata:
        drawn = [task.config for task in smoke if (task.case, task.origin) == (case, f"stratum:{stratum.name}")]
        assert [config.dtype for config in drawn] == list(DTYPES), stratum.name
        assert all(stratum.holds(config) for config in drawn), stratum.name


@pytest.mark.parametrize("case", CASES)
def test_no_stratum_holds_for_everything(case: str, smoke: list[Task]) -> None:
    """One that always holds is no boundary."""
    configs = [task.config for task in smoke if task.case == case]
    idle = [stratum.name for stratum in CASES[case].strata if all(stratum.holds(config) for config in configs)]
    assert idle == []


@pytest.mark.parametrize(
    "interesting",
    [
        lambda c: c.batch == (),
        lambda c: len(c.batch) == 3,
        lambda c: c.in_features == 1 or c.out_features == 1,
        lambda c: c.in_features % c.blocksize == 1,
        lambda c: c.in_features > 32 * c.out_features,
        lambda c: c.out_features > 32 * c.in_features,
        lambda c: c.nested and c.in_features * c.out_features > 256 * c.blocksize,
        lambda c: c.compute_dtype not in {None, c.dtype},
        lambda c: c.quant_storage == "float32",
        lambda c: c.in_features % 64 in {1, 63},
        lambda c: c.weight == "huge_scale" and c.weight_dtype == "float16",
    ],
)
def test_a_sample_at_large_has_what_kernels_care_about(interesting: Callable[[Any], bool], nightly: list[Task]) -> None:
    """Rank 1 and 4, one column, one beside a block or tile, tall, wide, scales of two levels, dtypes that differ."""
    configs = [task.config for task in nightly if task.origin == "sample" and task.case.startswith("linear4bit")]
    assert any(interesting(config) for config in configs)


@pytest.mark.parametrize("kind", [lambda t: t == 0, lambda t: 0 < t < 1, lambda t: t == 6, lambda t: t > 7])
def test_thresholds_are_off_low_usual_and_high(kind: Callable[[float], bool], nightly: list[Task]) -> None:
    configs: list[Any] = [task.config for task in nightly if task.case.startswith("linear8bitlt")]
    assert any(kind(config.threshold) for config in configs)


def test_data_seeds_do_not_repeat(nightly: list[Task]) -> None:
    """Draws that shared a seed would not be independent."""
    seeds = [task.seed for task in nightly if task.origin == "sample"]

    assert len(set(seeds)) == len(seeds)
    assert max(seeds) > 2**62


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(PlanError, match=rf"seed {seed} is out of range; give one from 0 to 9223372036854775807"):
        plan.make([ONE], SMOKE, seed)


def test_seeds_at_the_ends_of_the_range_are_taken() -> None:
    assert plan.checked_seed(0) == 0
    assert plan.checked_seed(2**63 - 1) == 2**63 - 1


def test_globs_select_cases_in_their_own_order() -> None:
    """Whatever the order of the globs, and without repeating a case that two of them match."""
    names = [case.name for case in plan.select(CASES, ["linear8bitlt-train", "*-train", "embedding8bit"])]

    assert names == [name for name in CASES if name.endswith("-train") or name == "embedding8bit"]
    assert plan.select(CASES, []) == list(CASES.values())


def test_a_glob_that_matches_nothing_is_refused() -> None:
    """Even beside one that matches: half of what was asked for is not what was asked for."""
    with pytest.raises(PlanError, match=r"no case matches 'linear5bit\*'.*embedding8bit"):
        plan.select(CASES, ["embedding8bit", "linear5bit*"])


def test_a_stratum_that_cannot_be_drawn_is_refused() -> None:
    """Its condition excludes what it fixes: the plan says so and does not leave it out."""
    never = Stratum(name="never", holds=lambda c: c.dim == 18, fixed={"dim": just(17)})
    with pytest.raises(PlanError, match=r"stratum:never/float32: only 0 of 1 configs could be drawn"):
        plan.make([replace(ONE, strata=(never,))], SMOKE, 1)


def test_an_id_names_case_config_and_seed_but_not_the_origin() -> None:
    """The same measurement has one name, however it came into the plan."""
    task = Task(case="embedding8bit", config=ONE.published[0], seed=3, origin="sample")

    assert replace(task, origin="published").id == task.id
    assert len({task.id, replace(task, seed=4).id, replace(task, config=ONE.published[1]).id}) == 3


def test_rows_of_the_plan_can_be_read_back(smoke: list[Task]) -> None:
    """Config as JSON text and seed as decimal text: 64 bits do not fit a float64."""
    rows = plan.rows(smoke)

    assert [row["id"] for row in rows] == ids(smoke)
    assert [int(row["seed"]) for row in rows] == [task.seed for task in smoke]
    assert all(set(row) == {"id", "case", "origin", "config", "seed"} for row in rows)
    assert len({row["config"] for row in rows}) == len({str(asdict(task.config)) for task in smoke})
