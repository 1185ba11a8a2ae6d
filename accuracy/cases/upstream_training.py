"""Upstream's behaviours in training: rows 2 and 5 of the table in docs/method.md."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from hypothesis.strategies import SearchStrategy, booleans, integers, just, none, one_of, sampled_from

from accuracy.behaviour import Linear4bitChain, Linear8bitChain, Linear8bitTraining
from accuracy.case import Case, Dtype, Stratum, Wanted
from accuracy.strategies import DTYPES, linear_4bit, linear_8bit, multiples_of

# Weights, sizes and batches at which a right library stays within the published tolerances by at least 7 standard
# deviations (docs/method.md, "upstream behaviours"): what is outside them is no accident.
_CHAIN: dict[str, SearchStrategy[Any]] = {
    "mode": just("train"),
    "batch": sampled_from(((8,), (16,), (33,), (4, 8))),
    "first": integers(4, 64),
    "in_features": integers(64, 160),
    "out_features": integers(64, 160),
    "weight": just("kaiming_normal"),
    "weight_dtype": just("float32"),
    "activation": sampled_from(("normal", "uniform")),
    "gradient": just("constant"),
    "steps": integers(1, 3),
}
NO_BIAS = Stratum(name="no bias", holds=lambda c: not c.bias, fixed={"bias": just(False)})
RANK_3 = Stratum(
    name="rank 3", holds=lambda c: len(c.batch) == 2, fixed={"batch": sampled_from(((4, 8), (16, 8), (2, 17)))}
)


def _trained(config: Linear8bitTraining, device: str) -> Mapping[str, Wanted]:
    return {"weight_after_move": f"{config.dtype} on {device}", "codes": "set"}


def _frozen_int8(config: Linear8bitChain, device: str) -> Mapping[str, Wanted]:
    """A layer with fp16 weights has no codes before its first call."""
    moved = {} if config.has_fp16_weights else {"weight_after_move": f"int8 on {device}"}
    return moved | {"gradient_of_the_frozen_weight": "not set"}


def _frozen_4bit(config: Linear4bitChain, device: str) -> Mapping[str, Wanted]:
    return {
        "weight_after_move": f"{config.quant_storage} on {device}",
        "gradient_of_the_frozen_weight": "not set",
    }


_TRAINED = Linear8bitTraining(
    mode="train",
    dtype="float16",
    batch=(16, 8),
    in_features=32,
    out_features=32,
    bias=True,
    weight="default_init",
    weight_dtype="float32",
    activation="normal",
    gradient="constant",
    threshold=0.0,
    has_fp16_weights=True,
    steps=15,
    accumulate=10,
    rate=1e-3,
)

ACCUMULATED = Case(
    name="upstream-02-accumulated-gradient-linear8bitlt",
    row=2,
    layer="Linear8bitLt",
    claim="Linear8bitLt with fp16 weights accumulate gradients and take Adam's steps as the layers they replace do.",
    config=Linear8bitTraining,
    draw=partial(
        linear_8bit,
        config=Linear8bitTraining,
        mode=just("train"),
        batch=sampled_from(((8,), (33,), (128,))),
        in_features=multiples_of(16, 96),
        out_features=multiples_of(16, 96),
        weight=just("default_init"),
        weight_dtype=just("float32"),
        activation=sampled_from(("normal", "uniform")),
        gradient=just("constant"),
        threshold=just(0.0),
        has_fp16_weights=just(True),
        steps=integers(3, 6),
        accumulate=integers(1, 3),
        rate=sampled_from((1e-3, 1e-4)),
    ),
    subject="accuracy.upstream.training:accumulated",
    checks=("accuracy.checks.upstream:quantization_published",),
    published_checks=("accuracy.checks.upstream:encode_8bit", "accuracy.checks.upstream:compute_8bit"),
    strata=(
        NO_BIAS,
        RANK_3,
        Stratum(name="a step after each batch", holds=lambda c: c.accumulate == 1, fixed={"accumulate": just(1)}),
        Stratum(
            name="two steps at least",
            holds=lambda c: c.steps > 2 * c.accumulate,
            fixed={"accumulate": just(2), "steps": just(6)},
        ),
    ),
    published=(_TRAINED,),
    contract=_trained,
)

_INT8 = Linear8bitChain(
    mode="train",
    dtype="float16",
    batch=(16,),
    first=36,
    in_features=84,
    out_features=128,
    bias=True,
    weight="kaiming_normal",
    weight_dtype="float32",
    activation="normal",
    gradient="constant",
    threshold=0.0,
    has_fp16_weights=True,
    steps=100,
)
_SIXTEEN_BITS: tuple[Dtype, ...] = ("float16", "bfloat16")
_KINDS: tuple[tuple[Literal["nf4", "fp4"], bool, Dtype | None], ...] = (
    *((quant_type, nested, None) for quant_type in ("fp4", "nf4") for nested in (False, True)),
    *(("nf4", True, compute_dtype) for compute_dtype in DTYPES),
)
"""Upstream's 4-bit kinds. Its "4bit", "FP4" and "FP4+C" are one since double quantization is the default, so are "NF4"
and "NF4+C"; here the kinds without it are there too."""


def _chain_4bit(
    dtype: Dtype, quant_type: Literal["nf4", "fp4"], compute_dtype: Dtype | None, *, nested: bool
) -> Linear4bitChain:
    shared = {name: value for name, value in vars(_INT8).items() if name in Linear4bitChain.__dataclass_fields__}
    own = {"quant_type": quant_type, "blocksize": 64, "nested": nested, "quant_storage": "uint8"}
    return Linear4bitChain(**{**shared, **own, "dtype": dtype, "compute_dtype": compute_dtype})


BACKPROP = (
    Case(
        name="upstream-05-backprop-linear8bitlt",
        row=5,
        layer="Linear8bitLt",
        claim="Gradients of a layer that stands before a frozen Linear8bitLt are as close as upstream publishes.",
        config=Linear8bitChain,
        draw=partial(linear_8bit, config=Linear8bitChain, threshold=just(0.0), **_CHAIN),
        subject="accuracy.upstream.training:backprop_8bit",
        checks=("accuracy.checks.upstream:quantization_published",),
        published_checks=("accuracy.checks.upstream:encode_8bit", "accuracy.checks.upstream:compute_8bit"),
        strata=(
            NO_BIAS,
            RANK_3,
            *(
                Stratum(
                    name="fp16 weights" if fp16 else "int8 weights",
                    holds=lambda c, fp16=fp16: c.has_fp16_weights == fp16,  # type: ignore[misc]  # the default binds the loop
                    fixed={"has_fp16_weights": just(fp16)},
                )
                for fp16 in (True, False)
            ),
        ),
        published=tuple(replace(_INT8, dtype=dtype) for dtype in _SIXTEEN_BITS),
        contract=_frozen_int8,
    ),
    Case(
        name="upstream-05-backprop-linear4bit",
        row=5,
        layer="Linear4bit",
        claim="Gradients of a layer that stands before a frozen Linear4bit are as close as upstream publishes.",
        config=Linear4bitChain,
        draw=partial(
            linear_4bit,
            config=Linear4bitChain,
            blocksize=just(64),
            nested=booleans(),
            quant_storage=just("uint8"),
            compute_dtype=one_of(none(), sampled_from(DTYPES)),
            **_CHAIN,
        ),
        subject="accuracy.upstream.training:backprop_4bit",
        checks=("accuracy.checks.upstream:quantization_published",),
        published_checks=("accuracy.checks.upstream:encode_4bit", "accuracy.checks.upstream:compute_4bit"),
        strata=(
            NO_BIAS,
            RANK_3,
            *(
                Stratum(
                    name=f"{quant_type}{', double-quantized' if nested else ''}",
                    holds=lambda c, kind=(quant_type, nested): (c.quant_type, c.nested) == kind,  # type: ignore[misc]  # the default binds the loop
                    fixed={"quant_type": just(quant_type), "nested": just(nested)},
                )
                for quant_type in ("nf4", "fp4")
                for nested in (False, True)
            ),
            Stratum(
                name="compute dtype differs",
                holds=lambda c: c.compute_dtype not in {None, c.dtype},
                fixed={"compute_dtype": sampled_from(DTYPES)},
            ),
        ),
        published=tuple(
            _chain_4bit(dtype, quant_type, compute_dtype, nested=nested)
            for dtype in _SIXTEEN_BITS
            for quant_type, nested, compute_dtype in _KINDS
        ),
        contract=_frozen_4bit,
    ),
)

CASES = (ACCUMULATED, *BACKPROP)
