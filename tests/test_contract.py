"""The contract stage: facts in words, each a row of its own, and what becomes of those that were never seen."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from layers import LIMITS, ROWS8

from accuracy.adapters import cpu
from accuracy.case import Case, Wanted
from accuracy.cases import CASES
from accuracy.checks import contract
from accuracy.checks.setting import Setting


def wanting(wanted: Mapping[str, Wanted]) -> Case:
    return replace(CASES["embedding8bit"], contract=lambda *_: wanted)


def rows(
    wanted: Mapping[str, Wanted], parts: Mapping[str, Any], failure: Exception | None = None
) -> dict[str, dict[str, Any]]:
    setting = Setting(
        config=ROWS8,
        inputs=None,
        parts=parts,
        device_type="cpu",
        arithmetic=cpu.ADAPTER.arithmetic,
        bounds=LIMITS.bounds,
    )
    return {row["quantity"]: row for row in contract.rows(wanting(wanted), setting, failure)}


def test_a_fact_as_wanted_is_kept_and_says_nothing() -> None:
    row = rows({"weight": "int8 on cpu"}, {"weight": "int8 on cpu"})["weight"]

    assert (row["stage"], row["ratio"], row["count"], row["basis"]) == ("contract", 0.0, 1, "contract")
    assert "observed" not in row


def test_another_fact_breaks_the_contract_and_says_what_was_seen_and_wanted() -> None:
    row = rows({"weight_after_move": "int8 on cpu"}, {"weight_after_move": "float16 on cpu"})["weight_after_move"]

    assert row["ratio"] == math.inf
    assert row["observed"] == "weight after move is float16 on cpu, expected int8 on cpu"


@pytest.mark.parametrize(("seen", "ratio"), [("once", 0.0), ("once each", 0.0), ("2 times", math.inf)])
def test_one_of_several_words_is_enough(seen: str, ratio: float) -> None:
    row = rows({"said": ("once", "once each")}, {"said": seen})["said"]

    assert row["ratio"] == ratio
    assert row.get("observed", "") == ("" if ratio == 0 else "said is 2 times, expected once or once each")


def test_a_fact_that_a_complete_run_never_showed_is_broken() -> None:
    """What nobody looked at is not green."""
    row = rows({"quant_state": "set"}, {})["quant_state"]
    assert (row["ratio"], row["observed"]) == (math.inf, "quant state is never seen, expected set")


def test_after_an_exception_only_what_was_seen_is_held_against_what_was_wanted() -> None:
    """The exception itself breaks the contract; the rest of the run did not happen."""
    seen = rows({"before": "a", "after": "a"}, {"before": "a"}, RuntimeError("broken\nin two"))

    assert set(seen) == {"completes", "before"}
    assert (seen["completes"]["ratio"], seen["completes"]["observed"]) == (math.inf, "RuntimeError: broken")


def test_what_the_library_refuses_is_not_supported_fact_by_fact() -> None:
    """With the library's own words, so that a row says why it is neither kept nor broken."""
    seen = rows({"before": "a", "after": "a"}, {"before": "a"}, NotImplementedError("not on this device"))

    assert seen["before"]["ratio"] == 0.0
    for name in ("completes", "after"):
        assert (seen[name]["status"], seen[name]["count"]) == ("not_supported", 0)
        assert seen[name]["observed"] == "NotImplementedError: not on this device"


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("quant_type must be nf4 on CPU, got fp4", True),
        ("Blockwise 4bit dequantization on CPU only supports uint8 storage, got torch.bfloat16", True),
        ("n must be divisible by blocksize, got 2 and 64", True),
        ("The size of tensor a (4) must match the size of tensor b (191) at non-singleton dimension 2", False),
        ("while handling: quant_type must be nf4 on CPU, got fp4", False),
    ],
)
def test_releases_that_refuse_by_a_check_of_their_own_are_taken_at_their_word(said: str, refused: bool) -> None:  # noqa: FBT001  a parameter of the table
    """What 0.46.1 says of its CPU kernels; an exception that only happens is none of these."""
    seen = rows({}, {}, RuntimeError(said))["completes"]

    assert seen["observed"] == f"RuntimeError: {said}"
    assert (seen.get("status") == "not_supported", seen.get("ratio") == math.inf) == (refused, not refused)


def test_the_form_of_an_output_is_that_of_the_layer_replaced() -> None:
    wanted = (*ROWS8.index, ROWS8.dim)
    assert rows({}, {"output": torch.zeros(wanted)})["output_form"]["ratio"] == 0.0

    row = rows({}, {"output": torch.zeros((3, 1), dtype=torch.float16)})["output_form"]
    assert row["ratio"] == math.inf
    assert row["observed"] == f"output is float16 (3, 1), expected float32 {wanted}"
