"""The coverage of steps as the page shows it, against counts worked out by hand."""

from typing import Any

import data
import pandas as pd
import pytest

from reports import dispatch, frames

NATIVE = "decode:cpu > cdecode"
CASES = {"linear4bit-nf4-train": "Linear4bit", "embedding8bit": "Embedding8bit"}


def step(path: str, *layers: str, built: bool = True, **unreached: str) -> dict[str, Any]:
    return {"path": path, "layers": list(layers), "built": built, "unreached": unreached}


LISTED = [
    step("layer > decode:cpu", "Linear4bit"),
    step("layer > torch", "Embedding8bit"),
    step(NATIVE, "Linear4bit"),
    step("decode:cpu > cdecode_old", "Linear4bit", built=False),
    step("decode:cpu > torch", "Embedding8bit", "Linear4bit"),
    step("decode:cpu > cdecode_nested", "Linear4bit", Linear4bit="never nested"),
]
PATHS = {"Linear4bit": f"{NATIVE}; decode:cpu > raised", "Embedding8bit": "torch"}


@pytest.fixture
def run() -> data.Run:
    """Each layer takes one path in all its cases."""
    return data.make(cases=CASES, per_case=12, devices=("cpu",))


def coverage(run: data.Run, listed: list[dict[str, Any]]) -> dispatch.Coverage:
    observations = run.observations.assign(path=[PATHS[CASES[case]] for case in run.observations["case"]])
    return one(run, listed, observations)


def one(run: data.Run, listed: list[dict[str, Any]], observations: pd.DataFrame) -> dispatch.Coverage:
    manifest = {**run.manifest, "paths": {"cpu": listed}}
    (device,) = dispatch.build(manifest, frames.prepare(manifest, observations, run.verdicts))
    return device


def test_each_step_has_a_word_and_its_cases_by_layer_and_dtype(run: data.Run) -> None:
    """Twelve cases of each layer; every one takes its layer's path, whatever the dtype."""
    shown = {each.path: each for each in coverage(run, LISTED).steps}
    rows = run.observations[run.observations["quantity"] == "completes"]
    per_dtype = [
        str(len(rows[(rows["case"] == "linear4bit-nf4-train") & (rows["dtype"] == dtype)]))
        for dtype in ("float32", "float16", "bfloat16")
    ]

    assert shown[NATIVE].counts == (("–", 3), *((number, 1) for number in per_dtype))
    assert sum(map(int, per_dtype)) == 12
    assert {path: each.word for path, each in shown.items()} == {
        "layer > decode:cpu": "hit",
        "layer > torch": "hit",
        NATIVE: "hit",
        "decode:cpu > cdecode_old": "not in this build",
        "decode:cpu > torch": "not hit",
        "decode:cpu > cdecode_nested": "out of reach",
    }


def test_what_was_not_hit_is_listed_apart_with_its_reason(run: data.Run) -> None:
    shown = coverage(run, LISTED)

    assert [(each.path, each.why) for each in shown.open] == [
        ("decode:cpu > cdecode_nested", "Linear4bit: never nested"),
        ("decode:cpu > cdecode_old", ""),
        ("decode:cpu > torch", ""),
    ]
    assert shown.sentence == "3 of 6 steps hit, 1 not hit, 1 not in this build and 1 out of reach."


def test_a_step_that_was_renamed_is_not_hit_and_its_new_name_is_not_listed(run: data.Run) -> None:
    """The list says `cdecode_v2`, the cases took `cdecode`: both stand there, neither is green."""
    shown = {each.path: each for each in coverage(run, [*LISTED[:2], step(f"{NATIVE}_v2", "Linear4bit")]).steps}

    assert (shown[f"{NATIVE}_v2"].word, shown[f"{NATIVE}_v2"].kind) == ("not hit", "not_run")
    assert (shown[NATIVE].word, shown[NATIVE].kind) == ("hit, but not listed", "warn")


def test_a_step_that_one_layer_took_is_not_hit_by_the_other(run: data.Run) -> None:
    shown = {each.path: each for each in coverage(run, [step(NATIVE, "Embedding8bit", "Linear4bit")]).steps}

    assert (shown[NATIVE].word, shown[NATIVE].why) == ("hit in part", "not by Embedding8bit")
    assert shown[NATIVE].counts[:3] == (("0", 1), ("0", 1), ("0", 1))


def test_an_operator_without_a_kernel_is_a_warning_where_a_layer_calls_it(run: data.Run) -> None:
    observations = run.observations.assign(path="quant:none > raised")
    shown = one(run, [], observations)

    assert [(each.path, each.word) for each in shown.steps] == [("layer > quant:none", "hit, but not listed")]
    listed = [step("layer > quant:none", "Linear4bit", "Embedding8bit")]
    shown = one(run, listed, observations)
    assert [(each.kind, each.word) for each in shown.steps] == [("warn", "hit: no kernel")]
    assert "the call raises" in shown.open[0].why


def test_a_device_of_which_no_step_is_known_says_so(run: data.Run) -> None:
    """Its worker could not read the library's source."""
    assert coverage(run, []).sentence == "3 steps taken; which others there are is not known."


def test_a_run_that_noted_nothing_has_no_coverage(run: data.Run) -> None:
    silent = frames.prepare(run.manifest, run.observations.assign(path=""), run.verdicts)
    assert dispatch.build(run.manifest, silent) == ()
