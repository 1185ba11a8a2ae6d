"""The section of the exploration: what was explored, how it is counted, and where its worst leads."""

import json
from typing import Any

import data
import pytest
from data import Fault

from accuracy.case import short_hash
from reports import explored, frames
from reports.render import render

CASES = {"linear4bit-nf4-train": "Linear4bit", "embedding8bit": "Embedding8bit"}


def run(**options: Any) -> data.Run:
    """A run of two cases with ten planned and ten explored configs each, on two devices."""
    made = data.make(cases=CASES, per_case=20, **options)
    ids = sorted(made.observations["id"].unique())
    rows = made.observations.assign(
        origin=["explored" if ids.index(each) % 2 else "sample" for each in made.observations["id"]]
    )
    return data.assemble(rows, cases=CASES, devices=("cpu", "cpu:avx2"), missing={})


def section(made: data.Run, exploration: object) -> explored.Exploration | None:
    manifest = {**made.manifest, "exploration": exploration}
    return explored.build(manifest, frames.prepare(manifest, made.observations, made.verdicts))


def described(**budget: Any) -> dict[str, Any]:
    cases = {name: {"examples": 10, "replayed": number, "found": 0} for number, name in enumerate(CASES, start=1)}
    return {"budget": {"seconds": None, "examples": None, **budget}, "cases": cases}


def test_a_run_that_explored_nothing_has_no_section() -> None:
    assert section(data.make(cases=CASES, per_case=4), None) is None


def test_examples_are_counted_once_whatever_the_number_of_devices() -> None:
    """Twenty in all; the budget and what was replayed come from the manifest."""
    made = section(run(), described(seconds=25))
    assert made is not None
    assert made.sentence == (
        "20 examples within 25 s for all cases together; 3 of them were found on an earlier night and replayed."
    )
    assert sum(int(line.examples) for line in made.lines) == 20
    assert {line.failing for line in made.lines} == {"0"}


def test_a_budget_of_examples_is_told() -> None:
    made = section(run(), described(examples=200))
    assert made is not None
    assert made.sentence.startswith("20 examples, at most 200 of each case; 3 of them")


def test_an_exploration_that_came_to_nothing_says_so() -> None:
    made = section(data.make(cases=CASES, per_case=4), described(seconds=25))
    assert made is not None
    assert (made.lines, made.sentence[:11]) == ((), "0 examples ")


def test_the_worst_example_is_named_and_its_link_leads_somewhere() -> None:
    """A fault in every layer: of the explored rows the worst leads to its line in the list of cases."""
    fault = Fault(stage="compute", quantity="output", holds=lambda c, _: "in_features" in c, factor=9.0)
    made = run(faults=[fault])
    page = render(made.manifest, made.observations, made.verdicts, made.summary)
    lines = section(made, described(seconds=25))
    assert lines is not None
    line = next(each for each in lines.lines if each.case == "linear4bit-nf4-train")

    rows = made.observations
    found = rows[(rows["case"] == line.case) & (rows["origin"] == "explored")]
    assert found.sort_values("ratio")["id"].iloc[-1] == line.id
    assert int(line.failing) == found.loc[found["status"] == "fail", "id"].nunique() > 0
    assert f'id="{line.href[1:]}"' in page


@pytest.mark.parametrize(
    "exploration",
    [
        {"budget": {"seconds": "x"}, "cases": {}},
        {"budget": [], "cases": 3},
        {"budget": {"seconds": 1, "examples": None}, "cases": {"<b>": {"replayed": "<i>"}, "x": []}},
        7,
        short_hash("anything"),
    ],
)
def test_a_strangers_manifest_breaks_nothing(exploration: object) -> None:
    """Whatever stands there: the rows are told, and nothing that is no number is shown."""
    made = section(run(), exploration)

    assert made is not None
    assert made.sentence.startswith("20 examples")
    assert "<" not in json.dumps([made.sentence])
