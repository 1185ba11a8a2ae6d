"""The sentence that the page finds is right: ten faults that bite under a known condition, through the real pipeline.

The faults are planted in the library (`tests/conditions`), a plan of each layer is measured under each of them by
real workers and judged as a night is, defects that the library has anyway included, and the page says what triggers
the failures.
"""

import datetime
import math
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conditional import FAULTS

from accuracy import executor, judgement, limits, nightly, plan, tables
from accuracy.case import Task
from accuracy.cases import CASES
from accuracy.selftest import plant
from accuracy.selftest.fault import Fault
from accuracy.selftest.tasks import planted, unplanted
from reports import causes, frames, telling
from reports.causes import Cause
from reports.condition import Condition

HERE = Path(__file__).parent / "conditions"
LARGEST = 2**18
"""Elements of the largest weight: larger ones take seconds."""

FEW, MANY = 120, 300
"""Draws of a case, 300 being those of a nightly plan: rare conditions need them."""

Planted = Mapping[str, Callable[[Any], bool]]
CONDITIONS: Mapping[str, Planted] = {
    "many-rows": {"rows": lambda value: value > 64},
    "wide-fp16": {"in_features": lambda value: value >= 1024, "dtype": lambda value: value == "float16"},
    "one-row-no-bias": {"rows": lambda value: value == 1, "bias": lambda value: not value},
    "long-blocks": {"blocksize": lambda value: value >= 1024},
    "odd-tiles": {"whole_tiles": lambda value: not value},
    "many-outputs": {"out_features": lambda value: value > 256},
    "rank-three": {"rank": lambda value: value >= 3},
    "threshold": {"threshold": lambda value: value >= 3},
    "many-lookups": {"lookups": lambda value: value > 16},
    "long-bf16-rows": {"embedding_dim": lambda value: value > 64, "dtype": lambda value: value == "bfloat16"},
}
RARE = {"many-rows", "wide-fp16"}
WITHOUT = {"every-third-call", "by-content"}
RELATIONS = {"=": operator.eq, "≠": operator.ne, ">": operator.gt, "≥": operator.ge, "<": operator.lt, "≤": operator.le}


def tasks_of(fault: Fault) -> list[Task]:
    profile = plan.Profile(samples=MANY if fault.name in RARE else FEW, per_stratum=0)
    return [task for task in plan.make([CASES[fault.cases]], profile, 1) if elements(task.config) <= LARGEST]


def elements(config: Any) -> int:
    return math.prod([config.rows, config.dim] if hasattr(config, "dim") else [config.in_features, config.out_features])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The rows of every fault's plan, with the fault's name beside them."""
    folder = tmp_path_factory.mktemp("overlay")
    plant.write_overlay(folder, faults="conditional:FAULTS")
    tasks = [planted(task, fault.name, 0.0) for fault in FAULTS for task in tasks_of(fault)]
    execution = executor.execute(
        tasks,
        ["cpu"],
        timeout_s=nightly.TIMEOUT_S,
        bounds=limits.load().measuring,
        measure="accuracy.selftest.published:measure",
        overlay=[folder, HERE],
    )
    by_id = {task.id: task for task in tasks}
    rows = tables.observations(execution.columns())
    task = [by_id[identity] for identity in rows["id"]]
    assert {path.name for path in folder.glob("acted-*")} == {f"acted-{fault.name}-0.0" for fault in FAULTS}
    return rows.assign(fault=[each.fault for each in task], id=[unplanted(each).id for each in task])


def found(measured: pd.DataFrame, name: str) -> tuple[frames.Frames, list[Cause]]:
    """What the page says of one fault's rows."""
    fault = next(fault for fault in FAULTS if fault.name == name)
    rows = measured[measured["fault"] == name].drop(columns="fault").reset_index(drop=True)
    judged = judgement.judged_run(rows, {fault.cases: {"strata": ()}}, limits.load(), (), datetime.date(2026, 11, 22))
    manifest = {"cases": {fault.cases: {"layer": CASES[fault.cases].layer}}}
    prepared = frames.prepare(manifest, judged.observations, judged.verdicts)
    return prepared, [cause for cause in causes.find(prepared) if is_of(name, cause)]


def is_of(name: str, cause: Cause) -> bool:
    """Whether a cause is where the fault is: the exception it raises, or the product it changes."""
    if name == "odd-tiles":
        return "no kernel for this shape" in cause.manner
    quantity = "grad_input" if name == "many-outputs" else "output"
    return (cause.stage, quantity) in {("compute", each) for each in cause.quantities}


def holds(condition: Condition, inputs: pd.DataFrame) -> "pd.Series[bool]":
    compare: Any = RELATIONS[condition.relation]
    return inputs[condition.feature].map(lambda value: bool(compare(value, condition.value)))


def is_right(planted_condition: Planted, prepared: frames.Frames, cause: Cause) -> bool:
    """The sentence speaks of the same inputs, and is true of the same cases of the whole plan."""
    if cause.trigger is None or {each.feature for each in cause.trigger.conditions} != set(planted_condition):
        return False
    once = prepared.rows(np.arange(len(prepared.columns["id"]))).drop_duplicates(
        "id"
    )  # in the order of the rows of `inputs`
    inputs = pd.DataFrame({name: column.values() for name, column in prepared.inputs.items()}).fillna(math.nan)
    inputs = inputs.assign(dtype=once["dtype"].to_numpy())
    said = pd.concat([holds(condition, inputs) for condition in cause.trigger.conditions], axis=1).all(axis=1)
    true = pd.concat([inputs[name].map(test) for name, test in planted_condition.items()], axis=1).all(axis=1)
    return bool((said == true.astype(bool)).all())


def test_the_trigger_is_right_for_at_least_eight_of_ten(measured: pd.DataFrame) -> None:
    """One cause where the fault is, and its condition is the planted one, on every case of the plan."""
    said = {}
    for name, planted_condition in CONDITIONS.items():
        prepared, here = found(measured, name)
        right = len(here) == 1 and is_right(planted_condition, prepared, here[0])
        said[name] = "right" if right else [telling.sentence(cause) for cause in here]
    wrong = {name: sentences for name, sentences in said.items() if sentences != "right"}

    assert len(said) == 10
    assert len(wrong) <= 2, wrong


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_where_there_is_no_condition_none_is_named(measured: pd.DataFrame, name: str) -> None:
    """Every third call, or what a tensor happens to hold: no input of the plan tells, and the page says so."""
    _, here = found(measured, name)

    assert here
    assert [cause.trigger for cause in here] == [None] * len(here)
    assert {telling.evidence(cause) for cause in here} == {
        "No single condition, and no two together, separates the failing cases from the passing ones."
    }
