"""Corners: where two boundaries meet is known, looked for in turn, and each config that is drawn lies there."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accuracy import corners, plan
from accuracy.case import Case, Linear8bitConfig, Stratum
from accuracy.cases import CASES
from accuracy.strategies import DTYPES

CASE = CASES["linear8bitlt-eval"]
CONFIG: Any = CASE.published[0]
SMALL = replace(
    CASE, strata=tuple(each for each in CASE.strata if each.name in {"one row", "odd in_features", "rank 3"})
)


MET = {
    corner
    for task in plan.make([CASE], plan.PROFILES["smoke"], 20261122)
    for corner in corners.corners_met(CASE, task.config)
}
"""The corners that a smoke plan is in."""


def swept(
    case: Case, strata: Sequence[Stratum], met: set[corners.Corner], most: int | None = None
) -> list[tuple[Any, int]]:
    """What a sweep draws, looking at so many corners at most."""
    return [drawn for drawn in itertools.islice(corners.sweep(case, strata, met, "1"), most) if drawn is not None]


def test_the_corners_of_a_config_by_hand() -> None:
    """One row of 33 features: three strata hold, which meet in three corners."""
    config = replace(CONFIG, batch=(1,), in_features=33, threshold=1.0, dtype="bfloat16")

    assert corners.corners_met(CASE, config) == {
        ("in_features off the multiple of 4", "odd in_features", "bfloat16"),
        ("in_features off the multiple of 4", "one row", "bfloat16"),
        ("odd in_features", "one row", "bfloat16"),
    }


def test_a_sweep_goes_where_the_plan_was_not() -> None:
    """Each config is in a corner that none before it was in; a second sweep of what is met has nothing to draw."""
    met = set(MET)
    for config, _ in swept(CASE, CASE.strata, set(met), most=60):
        assert corners.corners_met(CASE, config) - met
        met |= corners.corners_met(CASE, config)


def test_a_sweep_ends_when_every_possible_corner_is_met() -> None:
    """Of three strata "one row" and "rank 3" exclude each other, which leaves two pairs in three dtypes."""
    met: set[corners.Corner] = set()
    drawn = swept(SMALL, SMALL.strata, met)

    assert met == {("odd in_features", other, dtype) for other in ("one row", "rank 3") for dtype in DTYPES}
    assert len(drawn) == 6
    assert len({seed for _, seed in drawn}) == 6


def test_what_others_met_in_the_meantime_is_left_out() -> None:
    """A climb that comes by a corner spares the sweep the way."""
    met: set[corners.Corner] = set()
    sweep = corners.sweep(SMALL, SMALL.strata, met, "1")
    next(sweep)
    met |= {("odd in_features", "one row", dtype) for dtype in DTYPES}

    after = [corner for drawn in sweep if drawn for corner in corners.corners_met(SMALL, drawn[0])]
    assert {(one, other) for one, other, _ in after} == {("odd in_features", "rank 3")}


def test_the_same_label_gives_the_same_sweep() -> None:
    one, again, other = (
        list(itertools.islice(corners.sweep(CASE, CASE.strata, set(MET), label), 15)) for label in ("1", "1", "2")
    )

    assert one == again
    assert one != other


def test_two_boundaries_that_fix_the_same_fields_are_tried_in_every_mixture() -> None:
    """A packed row of 4096 in a wide storage: each stratum alone fixes both fields so that the other is lost."""
    case = CASES["linear4bit-nf4-train"]
    pair = tuple(each for each in case.strata if each.name in {"packed shape, blocksize 4096", "wide storage"})

    drawn = swept(case, pair, set())

    assert len(drawn) == len(DTYPES)
    assert {(config.blocksize, config.in_features % 4096) for config, _ in drawn} == {(4096, 0)}
    assert "uint8" not in {config.quant_storage for config, _ in drawn}


@pytest.mark.parametrize("name", ["linear4bit-fp4-eval", "embedding4bit-nf4", "linear8bitlt-train-relations"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_conjunction_is_a_config_of_its_case(name: str, data: st.DataObject) -> None:
    config, seed = data.draw(corners.conjunctions(CASES[name], CASES[name].strata))

    assert type(config) is CASES[name].config
    assert 0 <= seed < 2**64


def test_conjunctions_need_no_strata() -> None:
    """A case none of whose boundaries can be combined is drawn at large."""

    @settings(max_examples=5, database=None)
    @given(drawn=corners.conjunctions(CASE, ()))
    def drawn_at_large(drawn: tuple[Linear8bitConfig, int]) -> None:
        assert drawn[0].mode == "eval"

    drawn_at_large()


def test_general_corners_come_first() -> None:
    """Of pairs with two fields between them and pairs with twelve, the first 50 hold few of the latter."""
    few = [stratum(f"few {number}", 1) for number in range(12)]
    many = [stratum(f"many {number}", 6) for number in range(12)]
    order = corners._in_turn([*few, *many], Random("1"))  # noqa: S311 - an order, no secret

    first = order[:50]
    assert sum(one.name.startswith("many") and other.name.startswith("many") for one, other, _ in first) <= 5
    assert len(order) == 3 * 24 * 23 // 2


def stratum(name: str, fields: int) -> Stratum:
    return Stratum(name=name, holds=lambda _: True, fixed={f"{name} {place}": st.none() for place in range(fields)})


def test_known_configs_spare_draws_and_lose_no_corner() -> None:
    """Crossing the configs of the plan tells which strata exclude each other as well as drawing does."""
    case = CASES["embedding4bit-nf4"]
    known = [task.config for task in plan.make([case], plan.PROFILES["smoke"], 20261122)]
    drawn: set[corners.Corner] = set()
    crossed: set[corners.Corner] = set()
    list(corners.sweep(case, case.strata, drawn, "1"))
    list(corners.sweep(case, case.strata, crossed, "1", known))

    assert crossed == drawn
    assert len(crossed) > 100


@given(st.data())
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize(
    "case", [case for name, case in CASES.items() if name.startswith("linear") and "relations" in name]
)
def test_no_conjunction_asks_for_a_relation_that_does_not_hold(case: Case, data: st.DataObject) -> None:
    """Zeros move scales of double quantization and of blocks over two rows, rows share outlier columns: no fault."""
    config, _ = data.draw(corners.conjunctions(case, case.strata))

    blocksize = getattr(config, "blocksize", 1)
    nested = getattr(config, "nested", False)
    assert config.relation != "zero_columns" or not (nested or config.in_features % blocksize)
    assert getattr(config, "compute_dtype", None) is None or config.relation not in {"autocast", "autocast_gradient"}
    assert not getattr(config, "threshold", 0.0) or config.relation in {
        "repeat", "input_kept", "more_rows", "with_gradients", "autocast", "after_autocast", "kept_output",
        "save_and_load", "deep_copy", "copy_after_forward", "mode_round_trip", "moved_after_forward",
        "gradient_in_eval",
    }  # fmt: skip
