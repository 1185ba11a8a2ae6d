"""Known findings explain and do not excuse; theory is what the oracle computes; each limit says why."""

import json
import math
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import data
import numpy as np
import pandas as pd
import pytest
import torch

from accuracy import plan
from accuracy.case import Task
from accuracy.cases import CASES
from accuracy.oracles import codes
from accuracy.oracles import theory as oracle
from reports import known, theory, view, where

ROOT = Path(known.__file__).resolve().parents[1]
ONE = plan.Profile(samples=1, per_stratum=0)
SMALL = {"abs_max": 1e-9, "kappa": 1.0, "rel_fro": 1e-9, "structure_effect": 1e-9}
"""An error of a size that no finding exceeds."""


def fitting(  # noqa: PLR0917  a row in short
    case: str, device: str, check: str, reason: str, config: str, sizes: Mapping[str, float] = SMALL
) -> tuple[str, ...]:
    """The findings of a row of this check, as `stage/quantity`."""
    stage, quantity = check.split("/")
    about = {"case": case, "device": device, "stage": stage, "quantity": quantity, "reason": reason, "config": config}
    return known.fitting({**about, **sizes})


def test_the_tables_of_a_document_by_hand() -> None:
    """Two forms of a row, with and without a link; rules of the CPU and of CUDA; an escaped bar stays in its column."""
    found = known.parsed(
        "# Findings: defects of bitsandbytes 1.2.3\n\n"
        "| id | layer | condition, in short | effect | class | since |\n|---|---|---|---|---|---|\n"
        "| [F01](#f01) | L4 | a \\| b | off | Wrong | 1.0 |\n\n"
        "| F02 | L8 | always | raises | Raises |\n\n[Script](findings/01_off.py)\n"
        "| cases | stage/quantity | words of the reason | where | findings |\n|---|---|---|---|---|\n"
        "| `l4-*` `x` | `compute/output` `invariant/*` | `got []` | `rank == 1` | F01 F02 |\n"
        "| `l4-*` | `decode/weight` | | | F01 |\n\n"
        "| cases on CUDA | stage/quantity | words of the reason | where | findings |\n|---|---|---|---|---|\n"
        "| `l8` | `encode/codes` `compute/output` | | | F02 |\n"
    )

    assert found.library == "1.2.3"
    assert found.findings["F01"] == known.Finding(
        id="F01",
        layer="L4",
        condition="a \\| b",
        effect="off",
        kind="Wrong",
        since="1.0",
        script="docs/findings/01_off.py",
    )
    assert found.findings["F02"].since == ""
    assert [(rule.device, rule.cases, rule.checks, rule.words, rule.where, rule.findings) for rule in found.rules] == [
        ("cpu*", ("l4-*", "x"), ("compute/output", "invariant/*"), ("got []",), "rank == 1", ("F01", "F02")),
        ("cpu*", ("l4-*",), ("decode/weight",), (), "", ("F01",)),
        ("cuda*", ("l8",), ("encode/codes", "compute/output"), (), "", ("F02",)),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("| `l4` | `decode/weight` | | F01 |", "not enough values"),
        ("| `l4` | `decode/weight` | | rank == 1 | F01 |", "'rank == 1' is no single condition between backticks"),
        ("| `l4` | `decode/weight` | | `rank == 1` `bias` | F01 |", "is no single condition between backticks"),
        ("| `l4` | `decode/weight` | | `rank = 1` | F01 |", "'rank = 1' is no expression: invalid syntax"),
        ("| `l4` | `decode/weight` | | `in_feature == 1` | F01 |", "'in_feature' has no place in a condition"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(line: str, said: str) -> None:
    """One that was read as another would explain what it should not."""
    table = "| cases | stage/quantity | words of the reason | where | findings |\n|---|---|---|---|---|\n"

    with pytest.raises(ValueError, match=re.escape(line)) as refused:
        known.parsed(f"{table}{line}\n")
    assert said in str(refused.value)


def test_every_finding_of_the_document_is_known_with_its_script() -> None:
    """Each heading and each row of its tables; each script is there; each rule names findings that exist."""
    document = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    found = known.load().findings

    assert set(found) >= set(re.findall(r"^## (F\d+)$", document, re.MULTILINE))
    assert len(found) == len(list((ROOT / "docs" / "findings").glob("[0-9]*.py")))
    assert all((ROOT / finding.script).is_file() for finding in found.values())
    assert {name for rule in known.load().rules for name in rule.findings} <= set(found)
    assert all(rule.checks for rule in known.load().rules)


def test_each_condition_of_the_document_is_one_on_the_configs_of_its_cases() -> None:
    """It holds or its opposite does: each case that a line speaks of has the fields, with values of such a kind."""
    rules = [rule for rule in known.load().rules if rule.where]

    assert len(rules) > 40
    for rule in rules:
        configs = [
            plan.rows([Task(case=name, config=config, seed=1, origin="published")])[0]["config"]
            for name, case in CASES.items()
            if any(fnmatchcase(name, glob) for glob in rule.cases)
            for config in (*case.published, next(iter(plan.make([case], ONE, 1))).config)
        ]
        assert configs, rule
        for config in configs:
            sides = [where.holds(side, config, "cpu", SMALL) for side in (rule.where, f"not ({rule.where})")]
            assert sorted(sides) == [False, True], (rule, config)


@pytest.mark.parametrize(
    ("row", "names"),
    [
        (("linear4bit-nf4-eval", "cpu", "contract/completes", "AssertionError: K must be even, got 3"), ("F07",)),
        (("linear8bitlt-eval", "cpu:avx2", "compute/output", "structure_z is 31, at most 9 is allowed"), ("F10",)),
        (("linear8bitlt-eval", "cpu", "compute/output", "raised by nobody yet"), ()),
        (("linear8bitlt-eval", "xpu", "compute/output", "structure_z is 31, at most 9 is allowed"), ()),
        (("linear8bitlt-fp16-weights-train", "cuda:1", "compute/grad_weight", "ratio is 9"), ("F28",)),
    ],
)
def test_a_row_fits_by_place_and_words(row: tuple[str, str, str, str], names: tuple[str, ...]) -> None:
    """Here a layer of three input features, which the first of these lines asks for."""
    assert fitting(*row, '{"in_features": 3}') == names


EXACT = "ratio is inf: an error where none is allowed"
LAYER = {"in_features": 96, "out_features": 256, "blocksize": 64, "quant_storage": "uint8"}
"""Rows of one and a half blocks: F01."""


@pytest.mark.parametrize(
    ("changed", "device", "names"),
    [
        ({}, "cpu", ("F01",)),
        ({"in_features": 128}, "cpu", ()),  # rows of whole blocks
        ({"in_features": 72}, "cpu", ()),  # no multiple of 16: decoded one by one
        ({"out_features": 1}, "cpu", ()),
        ({"in_features": 16, "out_features": 4}, "cpu", ()),  # one block
        ({"blocksize": 2048}, "cpu", ()),
        ({"blocksize": 2048}, "cpu:avx2", ("F01",)),
        ({"in_features": 2, "out_features": 1}, "cpu", ("F21",)),  # one byte
        ({"in_features": 2, "out_features": 2}, "cpu", ()),  # two bytes
        ({"in_features": 2, "out_features": 2, "quant_storage": "bfloat16"}, "cpu", ("F21",)),
        ({"in_features": 1, "out_features": 1}, "cpu", ()),  # its own transpose
        ({"in_features": "96"}, "cpu", ()),
    ],
)
def test_a_decoded_weight_that_is_wrong_is_known_where_its_finding_says_so(
    changed: dict[str, object], device: str, names: tuple[str, ...]
) -> None:
    """A new defect of the same cell in another config is news."""
    config = json.dumps(LAYER | changed)

    assert fitting("linear4bit-nf4-train", device, "decode/weight", EXACT, config) == names


EVAL8, EVAL4, TRAIN4 = "linear8bitlt-eval", "linear4bit-eval-relations", "linear4bit-train-relations"
NF4 = "linear4bit-nf4-eval"
ADDED = {"bias": True, "compute_dtype": "float32"}
OVERFLOWING = {"dtype": "float16", "gradient": "near_overflow"}
TABLE = {"rows": 9, "quant_storage": "uint8"}


@pytest.mark.parametrize(
    ("name", "row", "within", "without"),
    [
        ("F01", ("embedding4bit-nf4", "compute/output", EXACT), TABLE | {"dim": 80}, TABLE | {"dim": 64}),
        ("F02", (EVAL4, "invariant/strided_input", "ratio is 9"), {"dtype": "bfloat16"}, {"dtype": "float32"}),
        ("F03", (EVAL4, "invariant/save_after_forward", EXACT), {"nested": False}, {"nested": None}),
        ("F08", (NF4, "quantization/output", "ratio is 9"), {"weight": "constant"}, {"weight": "normal"}),
        (
            "F08",
            (NF4, "compute/output", "structure_z is 9"),
            ADDED | {"dtype": "float16"},
            ADDED | {"dtype": "float32"},
        ),
        ("F09", (EVAL4, "invariant/save_after_forward", EXACT), {"nested": True}, {"nested": 1}),
        ("F10", (EVAL8, "compute/output", "ratio is 9"), {"dtype": "float16", "bias": True}, {"dtype": "float16"}),
        ("F14", (EVAL8, "compute/output", "shape (8, 4)"), {"batch": [1, 8, 1]}, {"batch": [1, 8]}),
        (
            "F15",
            (EVAL8, "quantization/output", "ratio is 9"),
            {"in_features": 1, "out_features": 2},
            {"in_features": 1},
        ),
        ("F24", (TRAIN4, "invariant/other_dtype", EXACT), {"compute_dtype": None}, {"compute_dtype": "float32"}),
        ("F38", (TRAIN4, "invariant/loaded_in_default_dtype", EXACT), {"nested": True}, {"nested": False}),
        (
            "F40",
            ("linear8bitlt-train", "compute/grad_bias", "elements of the wrong class"),
            OVERFLOWING | {"batch": [2, 3]},
            OVERFLOWING | {"batch": [6]},
        ),
    ],
)
def test_each_finding_has_its_own_condition(
    name: str, row: tuple[str, str, str], within: dict[str, object], without: dict[str, object]
) -> None:
    case, check, reason = row

    assert fitting(case, "cpu", check, reason, json.dumps(within)) == (name,)
    assert fitting(case, "cpu", check, reason, json.dumps(without)) == ()


@pytest.mark.parametrize("config", ["", "{", "[]", "null", '{"in_features": 96}', "[" * 100_000])
def test_a_config_that_cannot_be_read_meets_no_condition(config: str) -> None:
    """Where a finding has none, its rows are known all the same."""
    assert fitting("linear4bit-nf4-train", "cpu", "decode/weight", EXACT, config) == ()
    assert fitting("linear4bit-nf4-train", "cpu", "encode/nested_codes", "ratio is 84", config) == ("F23",)


def test_what_the_model_of_the_fused_kernel_does_not_explain_is_news() -> None:
    """F08 is a lower precision, which the model computes; another error of the same cell is no such thing."""
    said = [
        f"ratio is 900, at most 1 is allowed{rest}" for rest in ("; explained by bfloat16 inputs, codes and scales", "")
    ]
    config = json.dumps(LAYER | {"in_features": 128})

    names = [fitting("linear4bit-nf4-eval", "cpu", "compute/output", text, config) for text in said]

    assert names == [("F08",), ()]


@pytest.mark.parametrize(
    ("row", "config", "size", "most"),
    [
        ((EVAL8, "compute/output", "ratio is 9"), {"dtype": "float32"}, "kappa", 2**24 * 1.81e-5),
        ((EVAL8, "compute/output", "ratio is 9"), ADDED | {"dtype": "float16"}, "kappa", 2**24 * 1.81e-5 + 2 * 2**13),
        ((EVAL8, "compute/output", "ratio is 9"), ADDED | {"dtype": "bfloat16"}, "kappa", 2**24 * 1.81e-5 + 2 * 2**16),
        ((EVAL8, "compute/output", "structure_z is 9"), {}, "structure_effect", 8 * 1.81e-5),
        ((EVAL8, "compute/output", "structure_z is 9"), {}, "structure_effect", -8 * 1.81e-5),
        (("linear4bit-nf4-train", "encode/nested_codes", "ratio is 9"), {}, "abs_max", 2 / 65535),
        ((NF4, "quantization/output", "ratio is 9"), {"weight": "constant"}, "kappa", 4 * 2**16),
        ((EVAL4, "invariant/save_after_forward", EXACT), {"nested": False}, "rel_fro", 1.4),
        ((EVAL4, "invariant/save_after_forward", EXACT), {"nested": True}, "rel_fro", 0.014),
    ],
)
def test_an_error_larger_than_its_finding_makes_it_is_news(
    row: tuple[str, str, str], config: dict[str, object], size: str, most: float
) -> None:
    """The largest error of the finding, by hand, is known; four times that is not, nor is one that was not measured."""
    case, check, reason = row
    known_of = {
        error: fitting(case, "cpu", check, reason, json.dumps(config), SMALL | {size: error})
        for error in (most, 4 * most, math.nan)
    }

    assert [bool(names) for names in known_of.values()] == [True, False, False]


def test_structure_beyond_two_roundings_to_float16_is_news_on_cuda() -> None:
    """F32 rounds the product and its sum with the bias, by 2⁻¹¹ each; a scale that is off by 0.2 % is no such thing."""
    found = [
        fitting(
            EVAL8,
            "cuda",
            "compute/output",
            "structure_z is 9",
            '{"dtype": "float32"}',
            SMALL | {"structure_effect": effect},
        )
        for effect in (2**-10, 2e-3)
    ]

    assert found == [("F32",), ()]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([], ""),
        ([("F10",), ("F10",)], "Known: F10."),
        ([("F15",), ("F10",), ("F10", "F15"), ("F10",)], "Known: F10 or F15."),
        ([(), ()], "No known finding fits."),
        ([("F07",), ()], "Known: F07; 1 of 2 rows fit none."),
    ],
)
def test_what_is_said_of_failing_rows(rows: list[tuple[str, ...]], text: str) -> None:
    assert known.said(rows) == text


def failing(reason: str) -> data.Run:
    """Layers that crash where in_features is odd, as F07 says."""
    fault = data.Fault(
        stage="contract",
        quantity="completes",
        holds=lambda config, _: config["in_features"] % 2 == 1,
        status="crash",
        reason=reason,
        factor=2,
    )
    cases = {"linear4bit-nf4-eval": "Linear4bit"}
    return data.make(per_case=4, cases=cases, devices=("cpu",), faults=[fault])


def page(run: data.Run) -> view.Page:
    return view.build(run.manifest, run.observations, run.verdicts, run.summary, run="night")


def test_a_known_finding_stands_beside_a_failure_that_still_fails() -> None:
    """On the first screen, in the cell and in a table of its own; the verdict does not move."""
    told, news = (page(failing(reason)) for reason in ("AssertionError: K must be even", "never seen before"))

    assert [told.banner.text, news.banner.text] == ["Do not release"] * 2
    assert told.reasons[0].kind == news.reasons[0].kind == "fail"
    assert told.reasons[0].text.endswith(" Known: F07.")
    assert news.reasons[0].text.endswith(" No known finding fits.")
    assert [finding.id for finding in told.findings] == ["F07"]
    assert news.findings == ()
    completion = {row.findings for cell in told.cells for row in cell.quantities if row.name == "Completion"}
    assert completion - {""} == {"F07"}  # no layer of the other dtypes is odd


def test_a_page_without_failures_speaks_of_no_findings() -> None:
    clean = page(data.all_pass(per_case=1))

    assert clean.findings == ()
    assert {row.known for cell in clean.cells for row in cell.quantities} == {""}


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
def test_the_expected_4bit_error_is_that_of_the_oracle(quant_type: str) -> None:
    """Weights of 2²² elements quantized by the pinned code table, at each blocksize: within 0.5 %."""
    weight = torch.randn(1 << 22, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    table = codes.four_bit(quant_type).double().sort()[0]
    for blocksize, expected in theory.FOUR_BIT[quant_type].items():
        blocks = weight.reshape(-1, blocksize)
        scale = blocks.abs().amax(dim=1, keepdim=True)
        nearest = table[torch.bucketize(blocks / scale, (table[1:] + table[:-1]) / 2)]
        error = ((nearest * scale - blocks).norm() / blocks.norm()).item()
        assert error == pytest.approx(expected, rel=5e-3), blocksize
    assert oracle.LARGEST == 9.0


@pytest.mark.parametrize("length", [2, 16, 127, 1024])
def test_the_expected_int8_error_is_what_rounding_makes(length: int) -> None:
    """Rows of N(0, 1) rounded to 127 steps of their largest magnitude: within 1 %."""
    rows = np.random.default_rng(2).standard_normal((400_000 // length, length))
    step = np.abs(rows).max(axis=1, keepdims=True) / 127
    error = np.linalg.norm(np.round(rows / step) * step - rows) / np.linalg.norm(rows)

    assert theory.int8(length) == pytest.approx(float(error), rel=1e-2)


@pytest.mark.parametrize(
    ("config", "has"),
    [
        ({"weight": "normal", "quant_type": "nf4", "blocksize": 64, "in_features": 64, "out_features": 64}, True),
        ({"weight": "uniform", "quant_type": "nf4", "blocksize": 64, "in_features": 64, "out_features": 64}, False),
        ({"weight": "normal", "quant_type": "nf4", "blocksize": 64, "in_features": 8, "out_features": 8}, False),
        ({"weight": "normal", "in_features": 1, "out_features": 4096}, False),
        ({"weight": "normal", "rows": 128, "dim": 64}, True),
        ({"weight": "normal", "rows": 128, "dim": 64, "quant_type": "fp4"}, True),
    ],
)
def test_theory_speaks_of_gaussian_weights_of_some_size_only(config: dict[str, object], *, has: bool) -> None:
    assert (theory.expected(config) is not None) == has


def test_each_case_with_gaussian_weights_draws_the_theory() -> None:
    """A line through what theory expects at each blocksize, and the median beside it; once for all dtypes."""
    run = data.make(per_case=30, cases={"linear4bit-nf4-train": "Linear4bit"})
    drawn = [chart for cell in page(run).cells for chart in cell.charts if "theory" in chart.title]

    assert len(drawn) == 2
    assert {line.kind for chart in drawn for line in chart.lines} == {"theory", "median", "reach"}
    assert all("standard deviations" in chart.description for chart in drawn)


def test_each_basis_is_one_click_away() -> None:
    """A row's basis leads to the text of the manifest; a basis without a text is no link."""
    run = data.all_pass(per_case=1)
    shown = page(run)
    links = {row.basis: row.basis_href for cell in shown.cells for row in cell.quantities}

    assert links["exact"] == "#basis=exact"
    assert links["half-gap"] == ""
    assert ("exact", "basis=exact", "defined bit by bit") in shown.bases
    assert isinstance(run.observations, pd.DataFrame)
