"""Conditions on the config of a row: what they may say, and that no config can make one raise, or hold by accident."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import where

LAYER = {
    "in_features": 96,
    "out_features": 32,
    "blocksize": 64,
    "nested": True,
    "bias": False,
    "dtype": "bfloat16",
    "compute_dtype": None,
    "threshold": 6.5,
    "batch": [2, 3],
    "quant_storage": "float16",
    "relation": "repeat",
}


SIZES = {"abs_max": 0.5, "kappa": 304.0, "rel_fro": 1e-4, "structure_effect": math.nan}


@pytest.mark.parametrize(
    ("condition", "held"),
    [
        ("in_features % blocksize != 0", True),
        ("in_features % blocksize == 32", True),
        ("out_features % 32 == 0 and in_features % 64 == 0", False),
        ("out_features % 32 == 0 or in_features % 64 == 0", True),
        ("1 < out_features * in_features <= 3072", True),
        ("1 < out_features * in_features < 3072", False),
        ("nested", True),
        ("not nested", False),
        ("not (nested and bias)", True),
        ('dtype == "bfloat16"', True),
        ('dtype != "bfloat16"', False),
        ("compute_dtype is None", True),
        ("compute_dtype is not None", False),
        ('compute_dtype == "float32"', False),
        ("threshold > 6", True),
        ("threshold <= 6", False),
        ("rank == 3", True),
        ("storage_bytes == 2", True),
        ('device == "cpu:avx2"', True),
        ("in_features == 96.0", True),
        ("kappa < 320", True),
        ("nested and kappa < 304", False),
        ("0 < abs_max < 1e-3", False),
        ("0 < abs_max < 1", True),
    ],
)
def test_by_hand(condition: str, *, held: bool) -> None:
    assert where.holds(condition, json.dumps(LAYER), "cpu:avx2", SIZES) is held


CONDITIONS = [
    "in_features % blocksize != 0",
    "not in_features % blocksize == 0",
    "out_features * in_features > 0",
    "in_features > 1 or bias",
    "bias or in_features > 1",
]


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize(
    "config",
    [
        "", "{", "null", "[]", "96", '"in_features"', "{}", "[" * 100_000, '{"in_features": 1' + "0" * 5000 + "}",
        json.dumps(LAYER | {"in_features": None}), json.dumps(LAYER | {"in_features": "96"}),
        json.dumps(LAYER | {"in_features": "%1000000000d"}), json.dumps(LAYER | {"in_features": True}),
        json.dumps(LAYER | {"in_features": [96]}), json.dumps(LAYER | {"in_features": {"x": 96}}),
        json.dumps({name: value for name, value in LAYER.items() if name != "in_features"}),
    ],
)  # fmt: skip
def test_what_cannot_be_read_meets_no_condition(condition: str, config: str) -> None:
    """Nor the opposite of one; and what else the condition asks does not help it."""
    assert not where.holds(condition, config, "cpu", SIZES)


def test_a_remainder_of_nothing_is_none() -> None:
    assert not where.holds("in_features % blocksize != 0", json.dumps(LAYER | {"blocksize": 0}), "cpu", SIZES)


def test_a_config_cannot_say_what_is_taken_from_it() -> None:
    """Its rank is that of its batch, its device that of the row."""
    claimed = json.dumps({"rank": 1, "storage_bytes": 9, "device": "cuda", "quant_storage": "int4"})

    assert not where.holds("rank == 1", claimed, "cpu", SIZES)
    assert not where.holds("storage_bytes == 9", claimed, "cpu", SIZES)
    assert where.holds('device == "cpu"', claimed, "cpu", SIZES)


def test_a_size_that_was_not_measured_has_no_limit() -> None:
    """NaN is neither below one nor above it, and a row may lack a size; nor can a config bring one of its own."""
    config = json.dumps(LAYER | {"kappa": 1.0})

    assert not where.holds("structure_effect < 1", config, "cpu", SIZES)
    assert not where.holds("structure_effect >= 1", config, "cpu", SIZES)
    assert not where.holds("kappa < 320", config, "cpu", {})
    assert not where.holds("kappa < 2", config, "cpu", SIZES)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(LAYER)), inner, max_size=11),
    max_leaves=20,
)


@given(condition=st.sampled_from([*CONDITIONS, "rank == 1", "threshold > 0", "compute_dtype is None"]), value=JSON)
def test_a_condition_and_its_opposite_never_hold_together(condition: str, value: object) -> None:
    """Whatever a config holds; nor does any of them raise."""
    config = json.dumps(value)

    held = [where.holds(side, config, "cpu", SIZES) for side in (condition, f"not ({condition})")]

    assert not all(held)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("", "'' is no expression: invalid syntax"),
        ("in_features = 1", "'in_features = 1' is no expression: invalid syntax"),
        ("in_features == 1; bias", "is no expression: invalid syntax"),
        ("in_feature == 1", "'in_feature' has no place in a condition"),
        ("in_features / 2 == 1", "'in_features / 2' has no place in a condition"),
        ("in_features ** 9 == 1", "has no place in a condition"),
        ("-in_features == 1", "has no place in a condition"),
        ('dtype in ("float32", "float16")', "has no place in a condition"),
        ("dtype.upper() == 'X'", "has no place in a condition"),
        ("__import__('os').system('true')", "has no place in a condition"),
        ("[bias for bias in batch]", "has no place in a condition"),
        ("batch[0] == 1", "has no place in a condition"),
        ("(lambda: nested)()", "has no place in a condition"),
        ("(rank := 1) == 1", "has no place in a condition"),
        ("dtype == b'x'", "has no place in a condition"),
        ("nested if bias else bias", "has no place in a condition"),
        ("f'{dtype}' == 'x'", "has no place in a condition"),
    ],
)
def test_what_is_no_condition_is_refused(condition: str, said: str) -> None:
    """Before any row is asked, and nothing of it is run."""
    with pytest.raises(ValueError, match=r"no (expression|place)") as refused:
        where.read(condition)
    assert said in str(refused.value)
