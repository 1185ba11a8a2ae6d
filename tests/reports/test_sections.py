"""The sections of the page as values: matrix, reasons, gaps, strata and inputs, each against worked-out cases."""

import json
from collections.abc import Mapping
from dataclasses import replace

import data
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from data import Fault

from reports import caselist, causes, drivers, features, frames, gaps, head, matrix, view

EMPTY = data.zero_cases()
CASES = {"linear4bit-nf4-train": "Linear4bit", "embedding8bit": "Embedding8bit"}


def squares(run: data.Run) -> dict[tuple[str, str], matrix.Square]:
    """Squares of the matrix by case and dtype, of a run on one device."""
    prepared = frames.prepare(run.manifest, run.observations, run.verdicts)
    built = matrix.build(prepared, matrix.standings(prepared), ["cpu"])
    return {
        (row.name, column): square
        for row in built.rows
        for column, square in zip(built.columns, row.squares, strict=True)
    }


def test_an_embedding_without_error_is_exact_and_a_product_has_a_margin() -> None:
    found = squares(data.make(cases=CASES, per_case=12, devices=("cpu",)))
    assert found["embedding8bit", "bf16"].text == "exact"
    assert found["linear4bit-nf4-train", "bf16"].text.startswith("+0.")


def test_the_number_of_a_failing_cell_is_that_of_what_fails() -> None:
    """A quantization error three times its limit shows as −1.x, though the compute stage is at +0.1."""
    fault = Fault(stage="quantization", quantity="output", holds=lambda *_: True, factor=4.0)
    square = squares(data.make(cases=CASES, per_case=12, devices=("cpu",), faults=[fault]))[
        "linear4bit-nf4-train", "fp32"
    ]

    assert square.kind == "fail"
    assert square.text.startswith("−1.")
    assert "quantization error of the output (quantization)" in square.title


def test_a_device_that_was_not_there_has_a_column_that_says_so() -> None:
    run = data.make(cases=CASES, per_case=4, devices=("cpu",), missing={"cuda": "no driver"})
    prepared = frames.prepare(run.manifest, run.observations, run.verdicts)
    built = matrix.build(prepared, matrix.standings(prepared), ["cpu", "cuda"])

    assert "cuda" in dict(built.devices)
    assert {square.kind for row in built.rows for square in row.squares} >= {"pass", "not_run"}


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (["cpu:avx2", "cuda:10", "cuda:9", "cpu"], "cpu, cpu:avx2, cuda:9, cuda:10"),
        ([f"cuda:{number}" for number in range(12)], "cuda:0, cuda:1, cuda:2, cuda:3, cuda:4 and 7 more"),
        ([], "none"),
    ],
)
def test_devices_are_named_in_their_order_as_far_as_they_fit(found: list[str], text: str) -> None:
    run = data.zero_cases()
    devices: dict[str, object] = {"requested": found, "found": dict.fromkeys(found, "one"), "missing": {}}
    manifest = {**run.manifest, "devices": devices}
    facts = {fact.name: fact for fact in head.facts(manifest, run.summary, "not signed", None)}

    assert facts["Devices"].text == text
    assert all(name in facts["Devices"].title for name in found)


def test_reasons_name_causes_first_and_gaps_after() -> None:
    run = data.failing(per_case=10, missing={"cuda": "no driver"})
    prepared = frames.prepare(run.manifest, run.observations, run.verdicts)
    shown, more = head.reasons(run.manifest, run.summary, causes.find(prepared), set(matrix.standings(prepared)))

    kinds = [line.kind for line in shown]
    assert (kinds[0], kinds.count("not_run"), kinds[-1]) == ("fail", 1, "not_run")
    assert more == 0


def test_gaps_name_the_device_and_the_crash_with_their_reasons() -> None:
    run = data.failing(per_case=30, missing={"cuda": "no driver"})
    prepared = frames.prepare(run.manifest, run.observations, run.verdicts)
    lines, _ = gaps.build(prepared, run.manifest["devices"]["missing"], {"cpu": "three workers died at the start"})

    assert (lines[0].what, lines[0].reason) == ("cuda", "no driver")
    assert (lines[1].word, lines[1].what) == ("device given up", "cpu")
    assert any(line.word == "crashed" and "SIGSEGV" in line.reason for line in lines)


def test_one_reason_on_several_devices_and_relations_is_one_line() -> None:
    """`repeat: Error: text. Advice.` and `copy: Error: text. Advice.` say the same of two relations."""
    run = data.make(cases=CASES, per_case=6)
    refused = run.observations["quantity"] == "completes"
    relation = ["repeat: " if each else "deep_copy: " for each in run.observations["id"].str[0] < "8"]
    said = pd.Series(relation, index=run.observations.index) + "NotImplementedError: no kernel. Build it."
    rows = run.observations.assign(
        status=run.observations["status"].mask(refused, "not_supported"),
        reason=run.observations["reason"].mask(refused, said),
    )
    judged = data.assemble(rows, cases=CASES, devices=["cpu", "cpu:avx2"], missing={})
    lines, _ = gaps.build(frames.prepare(judged.manifest, judged.observations, judged.verdicts), {}, {})

    assert [(line.what, line.reason, line.number) for line in lines] == [
        ("embedding8bit and linear4bit-nf4-train on cpu and cpu:avx2", "NotImplementedError: no kernel", "24 cases")
    ]


def test_a_share_of_many_cases_stands_before_that_of_one() -> None:
    """8 of 8 tells more than 1 of 1, and 1 of 1 more than 1 of 8."""
    strata = pa.array([["often", "seldom"], *[["often"]] * 7, ["once"], *[["seldom"]] * 7])
    columns = {"failing": np.arange(16) < 9, "place": np.zeros(16, dtype=np.int64)}
    prepared = frames.prepare(EMPTY.manifest, EMPTY.observations, EMPTY.verdicts)
    prepared = replace(prepared, columns=columns, strata=strata, inputs={})

    assert [(row.text, row.failing, row.n) for row in drivers.strata(prepared, np.arange(16))] == [
        ("stratum often", 8, 8),
        ("stratum once", 1, 1),
        ("stratum seldom", 1, 8),
    ]


def test_strata_count_failing_cases_by_value() -> None:
    """Blocks of 64 fail, so that value leads with a share of 100 %."""
    fault = Fault(stage="compute", quantity="output", holds=lambda c, _: c.get("blocksize") == 64, factor=9.0)
    run = data.make(cases={"linear4bit-nf4-eval": "Linear4bit"}, per_case=60, devices=("cpu",), faults=[fault])
    prepared = frames.prepare(run.manifest, run.observations, run.verdicts)
    first = drivers.strata(prepared, prepared.worst)[0]

    assert first.text == "blocksize = 64"
    assert first.failing == first.n
    assert first.share == "100 %"


def flattened(config: Mapping[str, object]) -> dict[str, object]:
    """The features of one config."""
    return {name: column.values()[0] for name, column in features.columns([json.dumps(config)]).items()}


def test_a_config_becomes_flat_inputs() -> None:
    """Leading dimensions count as rows; a block that does not fit is an input of its own."""
    flat = flattened({"batch": [2, 3], "in_features": 33, "out_features": 64, "blocksize": 64, "bias": False})
    assert flat["rows"] == 6
    assert flat["rank"] == 3
    assert (flat["whole_rows"], flat["whole_blocks"], flat["even_k"], flat["whole_tiles"]) == (False, True, False, True)


def test_rows_of_a_table_are_not_rows_of_an_input() -> None:
    flat = flattened({"rows": 10, "dim": 64, "index": [2, 7]})
    assert flat == {"num_embeddings": 10, "embedding_dim": 64, "lookups": 14}


def test_a_config_reads_as_a_sentence() -> None:
    config = {"batch": [2, 3], "bias": False, "nested": True, "compute_dtype": None, "dtype": "bfloat16"}
    assert features.sentence(config) == "batch 2×3, no bias, double quantization, dtype bf16"


def test_not_a_number_is_worse_than_any_number() -> None:
    """In the list of cases NaN stands before a failure of any size."""
    faults = [
        Fault(stage="compute", quantity="output", holds=lambda c, _: c["bias"], factor=float("nan")),
        Fault(stage="compute", quantity="output", holds=lambda c, _: not c["bias"], factor=1e6),
    ]
    run = data.make(cases={"linear4bit-nf4-eval": "Linear4bit"}, per_case=12, devices=("cpu",), faults=faults)
    prepared = frames.prepare(run.manifest, run.observations, run.verdicts)
    assert caselist.listed(prepared, (), (), "RUN")[0].margin == "NaN"


def test_a_missing_device_is_one_reason_and_not_one_a_case() -> None:
    run = data.missing_device(per_case=4)
    prepared = frames.prepare(run.manifest, run.observations, run.verdicts)
    shown, more = head.reasons(run.manifest, run.summary, (), set(matrix.standings(prepared)))

    assert [line.text for line in shown] == ["cuda did not run: torch.cuda.is_available() is False"]
    assert more == 0


def test_what_a_search_found_is_in_no_distribution() -> None:
    """Its cases are listed and counted, but strips, charts and terms are those of the planned rows."""
    run = data.all_pass(cases=CASES, per_case=20, devices=("cpu",))
    half = run.observations["id"].isin(sorted(run.observations["id"].unique())[::2])
    explored = run.observations.assign(origin=["explored" if each else "sample" for each in half])
    both, planned = (
        data.assemble(rows, cases=CASES, devices=["cpu"], missing={}) for rows in (explored, explored[~half])
    )

    seen, wanted = (
        view.build(each.manifest, each.observations, each.verdicts, each.summary, run="RUN") for each in (both, planned)
    )

    assert len(seen.cases) > len(wanted.cases)
    assert {section.cell: (section.strip, section.charts, section.terms) for section in seen.cells} == {
        section.cell: (section.strip, section.charts, section.terms) for section in wanted.cells
    }
