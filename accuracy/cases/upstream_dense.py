"""Upstream's behaviours of dense layers: rows 1, 3, 4, 8 and 11 of the table in docs/method.md."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from hypothesis.strategies import SearchStrategy, booleans, integers, just, none, one_of, sampled_from

from accuracy.adapters import BUILT_IN
from accuracy.behaviour import Linear4bitCalls, Linear4bitStack, Linear8bitCalls, Linear8bitNetwork
from accuracy.case import Case, Linear4bitConfig, Linear8bitConfig, Stratum, Wanted
from accuracy.strategies import DTYPES, linear_4bit, linear_8bit, multiples_of

ORDERS = ("to", "to cast", "cast to", "to cast to", "cast to cast")
DEQUANTIZE_IN_TRAINING = {each.torch_device for each in BUILT_IN if each.arithmetic.dequantizes_in_training}
"""Devices on which training leaves activations alone, so that there are no outlier columns."""

# Shapes and inputs that every kernel takes: what breaks here is the behaviour.
_PLAIN: dict[str, SearchStrategy[Any]] = {
    "batch": sampled_from(((8,), (17,), (16, 8), (2, 3))),
    "in_features": multiples_of(64, 192),
    "out_features": multiples_of(32, 128),
    "weight": sampled_from(("default_init", "normal", "heavy_tailed")),
    "activation": sampled_from(("normal", "uniform", "outlier_columns")),
}
_PLAIN_4BIT: dict[str, SearchStrategy[Any]] = {**_PLAIN, "blocksize": just(64), "quant_storage": just("uint8")}

MOVES = tuple(
    Stratum(
        name=f"moves: {moves}",
        holds=lambda c, moves=moves: c.moves == moves,  # type: ignore[misc]  # the default binds the loop
        fixed={"moves": just(moves)},
    )
    for moves in ORDERS
)
THRESHOLD = (
    Stratum(
        name="threshold on, outlier columns",
        holds=lambda c: c.threshold > 0 and c.activation == "outlier_columns",
        fixed={"threshold": sampled_from((2.0, 3.0, 6.0)), "activation": just("outlier_columns")},
    ),
    Stratum(
        name="threshold on, no value reaches it",
        holds=lambda c: c.threshold >= 1 and c.activation == "uniform",
        fixed={"threshold": sampled_from((2.0, 3.0, 6.0)), "activation": just("uniform")},
    ),
)
NO_BIAS = Stratum(name="no bias", holds=lambda c: not c.bias, fixed={"bias": just(False)})
ONE_ROW = Stratum(name="one row", holds=lambda c: c.batch == (1,), fixed={"batch": just((1,))})
EVAL = Stratum(name="eval", holds=lambda c: c.mode == "eval", fixed={"mode": just("eval")})
FP4 = Stratum(name="fp4", holds=lambda c: c.quant_type == "fp4", fixed={"quant_type": just("fp4")})
NESTED = Stratum(name="double-quantized", holds=lambda c: c.nested, fixed={"nested": just(True)})
COMPUTE_DTYPE = Stratum(
    name="compute dtype set",
    holds=lambda c: c.compute_dtype is not None,
    fixed={"compute_dtype": sampled_from(DTYPES)},
)


def _moved_int8(config: Linear8bitCalls, device: str) -> Mapping[str, Wanted]:
    return {
        "weight_after_move": f"int8 on {device}",
        "codes": "set",
        "output_place": f"{config.dtype} on {device}",
    }


def _network_of_int8(config: Linear8bitNetwork, device: str) -> Mapping[str, Wanted]:
    """Outlier columns are looked for where activations are quantized, and there is a threshold."""
    quantizes = config.mode == "eval" or device not in DEQUANTIZE_IN_TRAINING
    return {
        "weight_after_move": f"int8 on {device}",
        "weight_after_calls": f"int8 on {device}",
        "output_place": f"{config.dtype} on {device}",
        "outlier_columns": "set" if quantizes and config.threshold > 0 else "not set",
        "output_requires_grad": "yes",
    }


def _bias_cast(config: Linear8bitConfig | Linear4bitConfig, device: str) -> Mapping[str, Wanted]:
    """The bias comes in float32, and is cast for good to the dtype that the layer computes in."""
    codes = "int8" if isinstance(config, Linear8bitConfig) else "uint8"
    computed = getattr(config, "compute_dtype", None) or config.dtype
    return {
        "weight_after_move": f"{codes} on {device}",
        "weight_after_calls": f"{codes} on {device}",
        "bias_before_calls": f"float32 on {device}" if config.bias else "none",
        "bias_after_calls": f"{computed} on {device}" if config.bias else "none",
    }


def _warned(config: Linear4bitStack, _: str) -> Mapping[str, Wanted]:
    """A message for the batch and one for the single row, from float16 inputs to layers without a compute dtype.

    Up to 0.49 each was said once in all, and from 0.50 on once by each layer.
    """
    slow = config.dtype == "float16" and config.compute_dtype is None
    said: Wanted = ("once", "once each") if slow else "never"
    return {"slow_inference_or_training": said, "slow_inference": said, "messages": "2" if slow else "0"}


def _restored(*_: object) -> Mapping[str, Wanted]:
    return {"quant_state": "set"}


_CALLS = Linear8bitCalls(
    mode="eval",
    dtype="float16",
    batch=(16, 8),
    in_features=32,
    out_features=64,
    bias=True,
    weight="default_init",
    weight_dtype="float32",
    activation="normal",
    threshold=0.0,
    has_fp16_weights=False,
    steps=100,
    moves="to cast",
)
_CALLS_4BIT = Linear4bitCalls(
    mode="train",
    dtype="float16",
    batch=(16, 8),
    in_features=32,
    out_features=64,
    bias=True,
    weight="default_init",
    weight_dtype="float32",
    activation="normal",
    quant_type="nf4",
    blocksize=64,
    nested=True,
    quant_storage="uint8",
    compute_dtype=None,
    steps=100,
)

INFERENCE = Case(
    name="upstream-01-inference-linear8bitlt",
    row=1,
    layer="Linear8bitLt",
    claim="A Linear8bitLt that was moved and cast is int8, keeps its codes over many calls, and adds only rounding.",
    config=Linear8bitCalls,
    draw=partial(
        linear_8bit,
        config=Linear8bitCalls,
        mode=just("eval"),
        has_fp16_weights=just(False),
        steps=integers(2, 5),
        moves=sampled_from(ORDERS),
        **_PLAIN,
    ),
    subject="accuracy.upstream.dense:inference",
    checks=("accuracy.checks.upstream:encode_calls", "accuracy.checks.upstream:compute_calls"),
    strata=(*MOVES, *THRESHOLD, NO_BIAS, ONE_ROW),
    published=tuple(replace(_CALLS, threshold=threshold) for threshold in (0.0, 3.0)),
    contract=_moved_int8,
)

# Outputs of the first layer have a standard deviation of at least 1/√3 with these weights: a third reach the threshold.
OUTLIERS_BETWEEN = Stratum(
    name="eval, outliers between the layers",
    holds=lambda c: c.mode == "eval" and 0 < c.threshold <= 1 / 2,
    fixed={"mode": just("eval"), "threshold": just(1 / 2), "activation": just("normal"), "batch": just((16, 8))},
)

WITHOUT_FP16_WEIGHTS = Case(
    name="upstream-03-without-fp16-weights-linear8bitlt",
    row=3,
    layer="Linear8bitLt",
    claim="Two Linear8bitLt in sequence are int8 in whatever order they are moved and cast, and pass gradients on.",
    config=Linear8bitNetwork,
    draw=partial(
        linear_8bit,
        config=Linear8bitNetwork,
        has_fp16_weights=just(False),
        steps=integers(1, 4),
        moves=sampled_from(ORDERS),
        **_PLAIN,
    ),
    subject="accuracy.upstream.dense:without_fp16_weights",
    checks=("accuracy.checks.upstream:quantization_published",),
    published_checks=("accuracy.checks.upstream:encode_8bit", "accuracy.checks.upstream:compute_8bit"),
    strata=(*MOVES, *THRESHOLD, NO_BIAS, EVAL, OUTLIERS_BETWEEN),
    published=tuple(
        Linear8bitNetwork(**{**vars(_CALLS), "mode": "train", "steps": 4, "threshold": threshold, "moves": moves})
        for moves in ("to", "to cast", "cast to")
        for threshold in (0.0, 2.0)
    ),
    contract=_network_of_int8,
)

BIAS = (
    Case(
        name="upstream-04-bias-linear8bitlt",
        row=4,
        layer="Linear8bitLt",
        claim="A Linear8bitLt takes its float32 bias over into the dtype of its inputs, and a missing one stays away.",
        config=Linear8bitCalls,
        draw=partial(
            linear_8bit,
            config=Linear8bitCalls,
            has_fp16_weights=just(False),
            steps=integers(1, 4),
            moves=just("to"),
            **_PLAIN,
        ),
        subject="accuracy.upstream.dense:bias_8bit",
        checks=(),
        strata=(*THRESHOLD, NO_BIAS, EVAL),
        published=tuple(replace(_CALLS, mode="train", moves="to", bias=bias) for bias in (True, False)),
        contract=_bias_cast,
    ),
    Case(
        name="upstream-04-bias-linear4bit",
        row=4,
        layer="Linear4bit",
        claim="A Linear4bit takes its float32 bias over into the dtype it computes in, and a missing one stays away.",
        config=Linear4bitCalls,
        draw=partial(linear_4bit, config=Linear4bitCalls, steps=integers(1, 4), **_PLAIN_4BIT),
        subject="accuracy.upstream.dense:bias_4bit",
        checks=(),
        strata=(NO_BIAS, EVAL, FP4, COMPUTE_DTYPE),
        published=tuple(replace(_CALLS_4BIT, bias=bias) for bias in (True, False)),
        contract=_bias_cast,
    ),
)

WARNINGS = Case(
    name="upstream-08-warnings-linear4bit",
    row=8,
    layer="Linear4bit",
    claim="Without a compute dtype, Linear4bit layers say that float16 inputs are slow, for a batch and for a row.",
    config=Linear4bitStack,
    draw=partial(
        linear_4bit,
        config=Linear4bitStack,
        layers=integers(1, 4),
        single_rank=integers(1, 3),
        **{
            **_PLAIN_4BIT,
            "in_features": just(64),
            "out_features": just(64),
            "weight": just("default_init"),
            "compute_dtype": one_of(none(), none(), sampled_from(DTYPES)),
        },
    ),
    subject="accuracy.upstream.dense:warnings_of_a_stack",
    checks=(),
    strata=(
        EVAL,
        COMPUTE_DTYPE,
        Stratum(name="one layer", holds=lambda c: c.layers == 1, fixed={"layers": just(1)}),
        Stratum(name="a row of rank 1", holds=lambda c: c.single_rank == 1, fixed={"single_rank": just(1)}),
        Stratum(name="a row of rank 3", holds=lambda c: c.single_rank == 3, fixed={"single_rank": just(3)}),
    ),
    published=(
        Linear4bitStack(
            **{
                **{name: value for name, value in vars(_CALLS_4BIT).items() if name != "steps"},
                "batch": (10,),
                "in_features": 64,
                "activation": "all_positive",
            },
            layers=10,
            single_rank=2,
        ),
    ),
    contract=_warned,
)

RESTORED = Case(
    name="upstream-11-state-linear4bit",
    row=11,
    layer="Linear4bit",
    claim="A Linear4bit whose weight lost its state, as under FSDP, has it back and gives the same output.",
    config=Linear4bitConfig,
    draw=partial(linear_4bit, config=Linear4bitConfig, **{**_PLAIN_4BIT, "nested": booleans()}),
    subject="accuracy.upstream.dense:restored",
    checks=("accuracy.checks.upstream:invariant_restored",),
    strata=(EVAL, FP4, NESTED, NO_BIAS, ONE_ROW),
    published=(
        Linear4bitConfig(
            mode="train",
            dtype="float32",
            batch=(1,),
            in_features=64,
            out_features=32,
            bias=True,
            weight="default_init",
            weight_dtype="float32",
            activation="normal",
            quant_type="fp4",
            blocksize=64,
            nested=True,
            quant_storage="uint8",
            compute_dtype=None,
        ),
    ),
    contract=_restored,
)

CASES = (INFERENCE, WITHOUT_FP16_WEIGHTS, *BIAS, WARNINGS, RESTORED)
