"""Hypothesis strategies for configs. They draw small values and one 64-bit seed, never tensor elements.

Shapes lean to what kernels care about: one, odd counts, a tile plus or minus one, multiples and
non-multiples of the blocksize, tall and wide. `fixed` narrows single fields, so that a stratum or a
case is the same draw with some fields held. `config` is the class that is made of the fields.
"""

from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from accuracy.case import Embedding4bitConfig, Embedding8bitConfig, Linear4bitConfig, Linear8bitConfig

DTYPES: Final = ("float32", "float16", "bfloat16")
BLOCKSIZES: Final = (32, 64, 128, 256, 512, 1024, 2048, 4096)
STORAGES: Final = ("uint8", "float16", "bfloat16", "float32")
WEIGHTS: Final = (
    "normal", "uniform", "heavy_tailed", "outlier_columns", "constant", "zero_blocks", "all_positive",
    "tiny_scale", "huge_scale",
)  # fmt: skip
ACTIVATIONS: Final = WEIGHTS
MANY: Final = 65_600
"""Rows that no 16-bit counter holds: a CUDA grid has at most 65,535 blocks in its second and third dimension."""

WIDEST: Final = 11_008
"""Input features of the widest layer of LLaMA-7B, its down projection: more than a kernel may sum in one go."""

VOCABULARY: Final = 32_800
"""Outputs, or rows of a table, over a vocabulary: more than a signed 16-bit index reaches."""

SPECIALS: Final = ("with_nan", "with_infinities", "signed_zeros", "subnormal", "near_overflow", "zeros")
"""Distributions of special values; they have strata of their own and are not in the sample at large."""
INITIAL: Final = ("default_init", "kaiming_normal")
"""Weights that networks start with; the cases of upstream's behaviours name them."""
LARGEST_WEIGHT: Final = 2**21
"""Elements of the largest weight drawn: quantizing it takes some 50 ms on one core."""

seeds: Final = st.integers(0, 2**64 - 1)
near_tiles: Final = st.builds(
    lambda tile, multiple, offset: max(1, tile * multiple + offset),
    st.sampled_from((16, 32, 64, 128)),
    st.integers(1, 4),
    st.sampled_from((-1, 0, 1)),
)
features: Final = st.one_of(
    st.sampled_from((64, 128, 192, 256, 512)),
    near_tiles,
    st.integers(1, 300),
    st.sampled_from((1, 2, 3, 1024, 2048, 4096)),
)
odd: Final = st.integers(0, 150).map(lambda half: 2 * half + 1)
rows: Final = st.one_of(st.sampled_from((1, 2, 3, 4, 5, 8, 16)), st.integers(1, 80))
dtypes: Final = st.sampled_from(DTYPES)
thresholds: Final = st.one_of(
    st.just(0.0), st.sampled_from((2.0, 3.0, 6.0)), st.integers(1, 40).map(lambda quarter: quarter / 4)
)


def multiples_of(step: int, most: int) -> SearchStrategy[int]:
    """Multiples of `step` from `step` to `most`."""
    return st.integers(1, most // step).map(lambda multiple: multiple * step)


def non_multiples_of(step: int, most: int) -> SearchStrategy[int]:
    """Counts from 1 to `most` that `step` does not divide."""
    return st.integers(1, most).filter(lambda count: count % step != 0)


batches: Final = st.one_of(
    rows.map(lambda count: (count,)),
    st.tuples(st.integers(1, 6), st.integers(1, 12)),
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6)),
    st.just(()),
)


def linear_4bit(config: type[Any] = Linear4bitConfig, **fixed: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Configs of `Linear4bit`; a storage wider than the packed weight fills is not drawn."""
    return _linear(
        config,
        {
            "quant_type": st.sampled_from(("nf4", "fp4")),
            "blocksize": st.one_of(st.just(64), st.sampled_from(BLOCKSIZES)),
            "nested": st.booleans(),
            "quant_storage": st.one_of(st.just("uint8"), st.sampled_from(STORAGES)),
            "compute_dtype": st.one_of(st.none(), dtypes),
        },
        fixed,
    ).filter(_storage_is_filled)


def linear_8bit(config: type[Any] = Linear8bitConfig, **fixed: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Configs of `Linear8bitLt`."""
    return _linear(config, {"threshold": thresholds, "has_fp16_weights": st.booleans()}, fixed)


def embedding_8bit(config: type[Any] = Embedding8bitConfig, **fixed: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Configs of `Embedding8bit`."""
    return _embedding(config, {}, fixed)


def embedding_4bit(config: type[Any] = Embedding4bitConfig, **fixed: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Configs of `Embedding4bit`; a storage wider than the packed weight fills is not drawn."""
    return _embedding(
        config,
        {
            "quant_type": st.sampled_from(("nf4", "fp4")),
            "quant_storage": st.one_of(st.just("uint8"), st.sampled_from(STORAGES)),
        },
        fixed,
    ).filter(_storage_is_filled)


def _linear(
    config: Callable[..., Any], own: dict[str, SearchStrategy[Any]], fixed: dict[str, SearchStrategy[Any]]
) -> SearchStrategy[Any]:
    shared = {
        "mode": st.sampled_from(("train", "eval")),
        "dtype": dtypes,
        "batch": batches,
        "in_features": features,
        "out_features": features,
        "bias": st.booleans(),
        "weight": st.one_of(st.just("normal"), st.sampled_from(WEIGHTS)),
        "weight_dtype": dtypes,
        "activation": st.one_of(st.just("normal"), st.sampled_from(ACTIVATIONS)),
        "gradient": st.just("normal"),
    }
    drawn: SearchStrategy[Any] = st.builds(config, **(shared | own | fixed))
    # Huge times huge overflows float16 by right; what a kernel does then has strata of its own.
    return drawn.filter(
        lambda c: c.in_features * c.out_features <= LARGEST_WEIGHT and not c.weight == c.activation == "huge_scale"
    )


def _embedding(
    config: Callable[..., Any], own: dict[str, SearchStrategy[Any]], fixed: dict[str, SearchStrategy[Any]]
) -> SearchStrategy[Any]:
    shared = {
        "dtype": dtypes,
        "rows": st.one_of(st.integers(1, 300), st.sampled_from((1, 128, 1000))),
        "dim": st.one_of(multiples_of(64, 512), features),
        "index": st.one_of(
            st.integers(1, 40).map(lambda count: (count,)),
            st.tuples(st.integers(1, 10), st.integers(1, 10)),
            st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
        ),
        "weight": st.one_of(st.just("normal"), st.sampled_from((*WEIGHTS, "signs"))),
    }
    drawn: SearchStrategy[Any] = st.builds(config, **(shared | own | fixed))
    return drawn.filter(lambda c: c.rows * c.dim <= LARGEST_WEIGHT)


def _storage_is_filled(config: Any) -> bool:
    """Whether the packed bytes are a whole number of storage elements, which the library asks for."""
    bytes_each = {"uint8": 1, "float16": 2, "bfloat16": 2, "float32": 4}[config.quant_storage]
    outer, inner = (
        (config.rows, config.dim)
        if isinstance(config, Embedding4bitConfig)
        else (config.out_features, config.in_features)
    )
    return (outer * inner + 1) // 2 % bytes_each == 0
