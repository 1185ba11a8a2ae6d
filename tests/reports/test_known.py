"""Known findings explain and do not excuse; theory is what the oracle computes; each limit says why."""

import re
from pathlib import Path

import data
import numpy as np
import pandas as pd
import pytest
import torch

from accuracy.oracles import codes
from accuracy.oracles import theory as oracle
from reports import known, theory, view

ROOT = Path(known.__file__).resolve().parents[1]


def test_the_tables_of_a_document_by_hand() -> None:
    """Two forms of a row, with and without a link; rules of the CPU and of CUDA; an escaped bar stays in its column."""
    found = known.parsed(
        "# Findings: defects of bitsandbytes 1.2.3\n\n"
        "| id | layer | condition, in short | effect | class | since |\n|---|---|---|---|---|---|\n"
        "| [F01](#f01) | L4 | a \\| b | off | Wrong | 1.0 |\n\n"
        "| F02 | L8 | always | raises | Raises |\n\n[Script](findings/01_off.py)\n"
        "| cases | stage/quantity | words of the reason | findings |\n|---|---|---|---|\n"
        "| `l4-*` `x` | `compute/output` `invariant/*` | `got []` | F01 F02 |\n"
        "| `l4-*` | `decode/weight` | | F01 |\n\n"
        "| cases on CUDA | stage/quantity | words of the reason | findings |\n|---|---|---|---|\n"
        "| `l8` | `encode/codes` `compute/output` | | F02 |\n"
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
    assert [(rule.device, rule.cases, rule.checks, rule.words, rule.findings) for rule in found.rules] == [
        ("cpu*", ("l4-*", "x"), ("compute/output", "invariant/*"), ("got []",), ("F01", "F02")),
        ("cpu*", ("l4-*",), ("decode/weight",), (), ("F01",)),
        ("cuda*", ("l8",), ("encode/codes", "compute/output"), (), ("F02",)),
    ]


def test_every_finding_of_the_document_is_known_with_its_script() -> None:
    """Each heading and each row of its tables; each script is there; each rule names findings that exist."""
    document = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    found = known.load().findings

    assert set(found) >= set(re.findall(r"^## (F\d+)$", document, re.MULTILINE))
    assert len(found) == len(list((ROOT / "docs" / "findings").glob("[0-9]*.py")))
    assert all((ROOT / finding.script).is_file() for finding in found.values())
    assert {name for rule in known.load().rules for name in rule.findings} <= set(found)
    assert all(rule.checks for rule in known.load().rules)


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
    assert known.fitting(*row) == names


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
    fault = data.Fault(
        stage="contract", quantity="completes", holds=lambda *_: True, status="crash", reason=reason, factor=2
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
    assert {row.findings for cell in told.cells for row in cell.quantities if row.name == "Completion"} == {"F07"}


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
