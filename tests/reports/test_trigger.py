"""The trigger search: planted conditions are named, and noise is not explained."""

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from reports import candidates, coded, trigger


def drawn(seed: int, rows: int = 400) -> pd.DataFrame:
    """Inputs as a plan draws them: sizes near powers of two, a few levels each."""
    rng = np.random.default_rng(seed)
    sizes = np.array([1, 2, 3, 16, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 512, 1000,
                      1023, 1024, 1025, 2048])  # fmt: skip
    return pd.DataFrame(
        {
            "dtype": rng.choice(["float32", "float16", "bfloat16"], rows),
            "rows": rng.choice(sizes[:15], rows),
            "in_features": rng.choice(sizes, rows),
            "out_features": rng.choice(sizes, rows),
            "bias": rng.choice([True, False], rows),
            "blocksize": rng.choice([32, 64, 128, 256, 512, 1024, 2048, 4096], rows),
            "nested": rng.choice([True, False], rows),
            "threshold": rng.choice([0.0, 2.0, 3.0, 6.0], rows),
            "weight": rng.choice(["normal", "uniform", "zero_blocks", "tiny_scale"], rows),
            "activation": rng.choice(["normal", "outlier_columns", "constant"], rows),
        }
    ).astype(object)


def columns_of(inputs: pd.DataFrame) -> dict[str, coded.Coded]:
    """Inputs given as a table, None where a row has none."""
    parts = {str(name): column.dropna() for name, column in inputs.items()}
    return {
        name: coded.scattered(len(inputs), [(column.index.to_numpy(), column.tolist())])
        for name, column in parts.items()
    }


def found_in(inputs: pd.DataFrame, failing: NDArray[np.bool_]) -> trigger.Trigger | None:
    """What is found for inputs given as a table."""
    return trigger.find(columns_of(inputs), failing)


PLANTED: list[tuple[str, Callable[[pd.DataFrame], pd.Series]]] = [
    ("rows > 64", lambda f: f["rows"] > 64),
    ("in_features ≥ 1024 and dtype = fp16", lambda f: (f["in_features"] >= 1024) & (f["dtype"] == "float16")),
    ("rows = 1 and no bias", lambda f: (f["rows"] == 1) & (f["bias"] == False)),  # noqa: E712  # elementwise
    ("double quantization", lambda f: f["nested"] == True),  # noqa: E712  # elementwise
    ("threshold > 0", lambda f: f["threshold"] > 0),
    ("weights = zero_blocks", lambda f: f["weight"] == "zero_blocks"),
    ("blocksize ≥ 2048", lambda f: f["blocksize"] >= 2048),
    ("dtype ≠ fp32", lambda f: f["dtype"] != "float32"),
    ("out_features ≤ 32", lambda f: f["out_features"] <= 32),
    (
        "dtype = bf16 and activations = constant",
        lambda f: (f["dtype"] == "bfloat16") & (f["activation"] == "constant"),
    ),
    ("blocksize = 64", lambda f: f["blocksize"] == 64),
    ("threshold = 0 and out_features > 256", lambda f: (f["threshold"] == 0) & (f["out_features"] > 256)),
]


def meaning(text: str) -> set[str]:
    """A sentence without the choice between equivalent ways to put one cut, or the order of its parts."""
    return set(text.replace("blocksize > 1024", "blocksize ≥ 2048").split(" and "))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("condition", "holds"), PLANTED, ids=[text for text, _ in PLANTED])
def test_a_planted_condition_is_named(condition: str, holds: Callable[[pd.DataFrame], pd.Series], seed: int) -> None:
    """Rows fail exactly where the condition holds, so the sentence must be that condition."""
    inputs = drawn(seed)
    found = found_in(inputs, holds(inputs).to_numpy(dtype=bool))

    assert found is not None
    assert meaning(found.text) == meaning(condition)
    assert found.necessary
    assert found.sufficient


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.8])
def test_random_failures_have_no_condition(seed: int, share: float) -> None:
    """Failures drawn without regard to the inputs must not be explained."""
    inputs = drawn(seed)
    failing = np.random.default_rng(100 + seed).random(len(inputs)) < share

    assert found_in(inputs, failing) is None


@pytest.mark.parametrize("seed", range(5))
def test_a_condition_that_bites_only_sometimes_is_necessary_but_not_sufficient(seed: int) -> None:
    """With rows > 64 half of the cases fail: the condition is found, and said to be necessary only."""
    inputs = drawn(seed)
    unlucky = np.random.default_rng(seed).random(len(inputs)) < 0.5
    found = found_in(inputs, (inputs["rows"] > 64).to_numpy(dtype=bool) & unlucky)

    assert found is not None
    assert found.text == "rows > 64"
    assert found.necessary
    assert not found.sufficient


@pytest.mark.parametrize("seed", range(5))
def test_two_conditions_are_the_best_of_all_pairs(seed: int) -> None:
    """By F1, with counts that are those of the rows, and no better than each of them can reach."""
    inputs = drawn(seed, rows=100)
    unlucky = np.random.default_rng(seed).random(len(inputs)) < 0.1
    failing = ((inputs["rows"] > 16) & (inputs["in_features"] > 64)).to_numpy(dtype=bool) ^ unlucky
    singles, bad = candidates.singles(columns_of(inputs), failing), int(failing.sum())
    pairs = candidates.pairs(singles, failing)
    tried = [
        (2 * (both & failing).sum() / (both.sum() + bad), min(one.reach(bad), other.reach(bad)))
        for one, other in itertools.combinations(singles, 2)
        if one.conditions[0].feature != other.conditions[0].feature
        for both in (one.mask & other.mask,)
    ]

    assert max(pair.f1(bad) for pair in pairs) == max(score for score, _ in tried)
    assert all(score <= reach for score, reach in tried)
    assert all((pair.hits, pair.size) == ((pair.mask & failing).sum(), pair.mask.sum()) for pair in pairs)


def test_the_edge_of_a_threshold_names_the_nearest_values() -> None:
    inputs = pd.DataFrame({"rows": [1, 2, 8, 60, 100, 200] * 10}, dtype=object)
    found = found_in(inputs, (inputs["rows"] >= 100).to_numpy(dtype=bool))

    assert found is not None
    assert found.text == "rows ≥ 100"
    assert found.conditions[0].edge == "rows 60 passes, 100 fails"


def test_nothing_fails_and_everything_fails() -> None:
    """Nothing to explain is None; all failing is a trigger without conditions."""
    inputs = drawn(0, rows=20)

    assert found_in(inputs, np.zeros(20, dtype=bool)) is None
    always = found_in(inputs, np.ones(20, dtype=bool))
    assert always is not None
    assert always.conditions == ()


def test_an_input_that_some_layers_lack_never_matches_there() -> None:
    """Rows without the feature are outside of every condition on it."""
    inputs = pd.DataFrame({"threshold": [None] * 50 + [0.0] * 50 + [6.0] * 50, "rows": [4] * 150}, dtype=object)
    failing = np.arange(150) >= 100
    found = found_in(inputs, failing)

    assert found is not None
    assert found.text == "threshold > 0"
