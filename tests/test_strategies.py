"""Configs as they are drawn: small, writable as JSON, within what the library builds, and narrowed on demand."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy, just

from accuracy import strategies
from accuracy.case import canonical_json
from accuracy.inputs import DISTRIBUTIONS
from accuracy.strategies import (
    DTYPES,
    LARGEST_WEIGHT,
    embedding_4bit,
    embedding_8bit,
    linear_4bit,
    linear_8bit,
    multiples_of,
    non_multiples_of,
)

ALL = (linear_4bit, linear_8bit, embedding_4bit, embedding_8bit)
BYTES = {"uint8": 1, "float16": 2, "bfloat16": 2, "float32": 4}


def shape(config: Any) -> tuple[int, int]:
    return (config.rows, config.dim) if hasattr(config, "rows") else (config.out_features, config.in_features)


@given(config=st.one_of([draw() for draw in ALL]))
def test_every_config_can_be_built_and_stored(config: Any) -> None:
    """Known dtypes and distributions, a weight of at most 2**21 elements, and JSON without NaN."""
    outer, inner = shape(config)

    assert 1 <= outer * inner <= LARGEST_WEIGHT
    assert config.dtype in DTYPES
    assert config.weight in DISTRIBUTIONS
    assert canonical_json(asdict(config))


@given(config=st.one_of(linear_4bit(), embedding_4bit()))
def test_packed_bytes_fill_their_storage(config: Any) -> None:
    """The library views packed bytes as the storage dtype, which takes a whole number of elements."""
    outer, inner = shape(config)
    assert (outer * inner + 1) // 2 % BYTES[config.quant_storage] == 0


@pytest.mark.parametrize("draw", ALL)
def test_a_fixed_field_is_held(draw: Callable[..., SearchStrategy[Any]]) -> None:
    """A stratum is the same draw with some fields held."""

    @given(draw(dtype=just("bfloat16"), weight=just("signs")))
    def held(config: Any) -> None:
        assert (config.dtype, config.weight) == ("bfloat16", "signs")

    held()


def test_a_field_that_a_layer_does_not_have_is_refused() -> None:
    """A mistyped name in a stratum would otherwise narrow nothing, without a word."""

    @given(linear_4bit(blocksise=just(64)))
    def drawn(_: Any) -> None:
        """Nothing to hold."""

    with pytest.raises(TypeError, match="blocksise"):
        drawn()


@given(st.data())
def test_multiples_and_their_complement(data: st.DataObject) -> None:
    """Together they are all counts up to the largest, and no count is in both."""
    step = data.draw(st.integers(2, 64))
    assert data.draw(multiples_of(step, 300)) in range(step, 301, step)
    other = data.draw(non_multiples_of(step, 300))
    assert 1 <= other <= 300
    assert other % step


@given(strategies.near_tiles)
def test_near_tiles_are_a_tile_or_one_beside_it(count: int) -> None:
    assert count % 16 in {0, 1, 15}


@given(strategies.odd)
def test_odd_counts_are_odd(count: int) -> None:
    assert count % 2 == 1
