"""Configs that are simpler than a given one, as a Hypothesis strategy whose shrinking leads from it to the simplest.

Sizes come first, down to one; then options, each back to the most ordinary. What a case holds fixed stays.
"""

import math
from dataclasses import fields, replace
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from accuracy.case import Embedding8bitConfig
from accuracy.strategies import DTYPES, STORAGES

SIZES: Final = ("out_features", "in_features", "rows", "dim", "batch", "index", "steps", "layers", "first")
"""Fields that say how much there is, in the order in which they are made smaller."""

ORDINARY: Final[dict[str, tuple[Any, ...]]] = {
    "weight": ("normal",),
    "activation": ("normal",),
    "gradient": ("normal",),
    "dtype": DTYPES,
    "weight_dtype": DTYPES,
    "compute_dtype": (None, *DTYPES),
    "quant_storage": STORAGES,
    "blocksize": (64,),
    "nested": (False,),
    "bias": (False,),
    "threshold": (0.0, 6.0),
}
"""Values of the other fields, simplest first; a config keeps its own, or one before it."""


def elements(config: Any) -> int:
    """Elements of the weight and of the input, or row numbers."""
    if isinstance(config, Embedding8bitConfig):
        return config.rows * config.dim + math.prod(config.index)
    return int(config.out_features * config.in_features + math.prod(config.batch) * config.in_features)


def simpler(config: Any) -> tuple[SearchStrategy[Any], list[int]]:
    """The configs from the simplest up to this one, and the choices that make this one, to begin with."""
    steps = [step for name in _varied(config) for step in _steps(name, getattr(config, name))]
    open_steps = [(name, place, most) for name, place, most in steps if most > 0]

    @st.composite
    def drawn(draw: st.DrawFn) -> Any:
        taken: dict[str, list[int]] = {}
        for name, _, most in open_steps:
            taken.setdefault(name, []).append(draw(st.integers(0, most)))
        return replace(config, **{name: _value(name, getattr(config, name), places) for name, places in taken.items()})

    return drawn(), [place for _, place, _ in open_steps]


def _varied(config: Any) -> list[str]:
    names = {field.name for field in fields(config)}
    return [name for name in (*SIZES, *ORDINARY) if name in names]


def _steps(name: str, value: Any) -> list[tuple[str, int, int]]:
    """What is drawn for a field: its name, the number that gives its value, and the largest number."""
    if isinstance(value, tuple):
        return [(name, value[0] - 1, value[0] - 1)] if _kept(value) else _flattened(name, value)
    if name in SIZES:
        return [(name, value - 1, value - 1)] if value > 0 else []
    known = ORDINARY[name]
    place = known.index(value) if value in known else len(known)
    return [(name, place, place)]


def _kept(shape: tuple[int, ...]) -> bool:
    """Whether the rank of a shape cannot be lowered."""
    return len(shape) == 1 and shape[0] > 0


def _flattened(name: str, shape: tuple[int, ...]) -> list[tuple[str, int, int]]:
    """Of a shape of another rank: first whether it keeps it, then its lengths, which are products of one if not."""
    return [(name, 1, 1), *((name, max(each - 1, 0), max(each - 1, 0)) for each in shape)]


def _value(name: str, value: Any, places: list[int]) -> Any:
    if isinstance(value, tuple):
        if _kept(value):
            return (places[0] + 1,)
        keeps, *rest = places
        longer = iter(rest)
        lengths = tuple(next(longer) + 1 if each > 1 else each for each in value)
        return lengths if keeps else (math.prod(lengths),)
    if name in SIZES:
        return places[0] + 1
    known = (*ORDINARY[name], value)
    return known[places[0]]
