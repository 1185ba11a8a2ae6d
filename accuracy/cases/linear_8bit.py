"""Linear8bitLt: a dense layer with int8 rows, and outlier columns of the input in higher precision."""

from functools import partial

from hypothesis.strategies import just, sampled_from

from accuracy.case import Case, Linear8bitConfig, Mode, Stratum
from accuracy.cases import special
from accuracy.strategies import MANY, VOCABULARY, WIDEST, linear_8bit, multiples_of, non_multiples_of, odd

CHECKS = (
    "accuracy.checks.int8:encode",
    "accuracy.checks.int8:decode",
    "accuracy.checks.int8:compute",
    "accuracy.checks.int8:quantization",
)

SHAPES = (
    Stratum(name="odd in_features", holds=lambda c: c.in_features % 2 == 1, fixed={"in_features": odd}),
    Stratum(
        name="in_features off the multiple of 4",
        holds=lambda c: c.in_features % 4 != 0,
        fixed={"in_features": non_multiples_of(4, 300)},
    ),
    Stratum(
        name="in_features above 1040",
        holds=lambda c: c.in_features > 1040,
        fixed={"in_features": sampled_from((1041, 2048, 4096)), "out_features": multiples_of(8, 256)},
    ),
    Stratum(
        name="in_features above 4096",
        holds=lambda c: c.in_features > 4096,
        fixed={
            "in_features": sampled_from((4104, WIDEST)),
            "out_features": multiples_of(8, 64),
            "batch": sampled_from(((1,), (8,))),
        },
    ),
    Stratum(
        name="as many outputs as a vocabulary",
        holds=lambda c: c.out_features == VOCABULARY,
        fixed={"in_features": just(32), "out_features": just(VOCABULARY), "batch": sampled_from(((1,), (8,)))},
        alone=True,
    ),
    Stratum(
        name="tiny values, no bias",
        holds=lambda c: c.weight == c.activation == "tiny_scale" and not c.bias,
        fixed={
            "weight": just("tiny_scale"),
            "activation": just("tiny_scale"),
            "bias": just(False),
            "in_features": just(128),
            "out_features": multiples_of(32, 128),
        },
    ),
    Stratum(name="one row", holds=lambda c: c.batch == (1,), fixed={"batch": just((1,))}),
    Stratum(
        name="200 rows",
        holds=lambda c: c.batch == (200,),
        fixed={"batch": just((200,)), "in_features": just(128), "out_features": just(96)},
    ),
    Stratum(
        name="600 rows",  # more than a tile, and few enough for a bound on their sum that shows how it was made
        holds=lambda c: c.batch == (600,),
        fixed={"batch": just((600,)), "in_features": just(64), "out_features": just(96)},
    ),
    Stratum(
        name="65,600 rows",
        holds=lambda c: c.batch == (MANY,),
        fixed={"batch": just((MANY,)), "in_features": just(16), "out_features": just(16)},
        alone=True,
    ),
    Stratum(
        name="one input feature",
        holds=lambda c: c.in_features == 1,
        fixed={"in_features": just(1), "out_features": multiples_of(16, 128), "batch": just((8,))},
    ),
    Stratum(
        name="many outputs, bias",
        holds=lambda c: c.bias and c.out_features >= 256,
        fixed={
            "bias": just(True),
            "in_features": just(64),
            "out_features": just(512),
            "batch": just((64,)),
            "weight": just("normal"),
            "activation": just("normal"),
        },
    ),
    Stratum(
        name="rank 1, bias",
        holds=lambda c: c.batch == () and c.bias,
        fixed={"batch": just(()), "bias": just(True)},
    ),
    Stratum(
        name="rank 3",
        holds=lambda c: len(c.batch) == 2,
        fixed={"batch": sampled_from(((2, 3), (1, 1), (4, 8)))},
    ),
    Stratum(
        name="rank 4",
        holds=lambda c: len(c.batch) == 3,
        fixed={"batch": just((2, 3, 4)), "in_features": multiples_of(16, 128)},
    ),
    Stratum(
        name="rank 4, one row",
        holds=lambda c: c.batch == (1, 1, 1),
        fixed={"batch": just((1, 1, 1)), "in_features": multiples_of(16, 128), "threshold": just(0.0)},
    ),
    Stratum(
        name="rows of zeros in the weight",
        holds=lambda c: c.weight == "zero_blocks" and c.in_features <= 64,
        fixed={"weight": just("zero_blocks"), "in_features": sampled_from((16, 32, 64))},
    ),
)

THRESHOLDS = (
    Stratum(name="threshold off", holds=lambda c: c.threshold == 0, fixed={"threshold": just(0.0)}),
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
    Stratum(
        name="threshold on, every value above it",
        holds=lambda c: c.threshold > 0 and c.activation == "huge_scale",
        fixed={"threshold": just(0.25), "activation": just("huge_scale")},
    ),
)

FIELDS: dict[Mode, tuple[str, ...]] = {
    "eval": ("weight", "activation"),
    "train": ("weight", "activation", "gradient"),
}

CLAIMS: dict[tuple[Mode, bool], str] = {
    (
        "eval",
        False,
    ): "In inference, int8 rows, activations and outlier columns give the exact int8 product, save rounding.",
    ("train", False): "In training, frozen int8 rows add no more than rounding to output and gradients.",
    (
        "eval",
        True,
    ): "In inference with fp16 weights, each forward pass quantizes afresh and adds no more than rounding.",
    (
        "train",
        True,
    ): "In training with fp16 weights, each forward pass quantizes afresh, and the weight has its gradient.",
}

CASES = tuple(
    Case(
        name=f"linear8bitlt-{'fp16-weights-' if fp16 else ''}{mode}",
        layer="Linear8bitLt",
        claim=claim,
        config=Linear8bitConfig,
        draw=partial(linear_8bit, mode=just(mode), has_fp16_weights=just(fp16)),
        subject="accuracy.subjects:linear_8bit",
        checks=CHECKS,
        strata=SHAPES
        + THRESHOLDS
        + special.dense(*FIELDS[mode], threshold=just(0.0))
        + (special.under("activation", "with_infinities", "outliers", lambda c: c.threshold > 0, threshold=just(6.0)),),
        published=tuple(
            Linear8bitConfig(
                mode=mode,
                dtype="float16",
                batch=(16, 8),
                in_features=32,
                out_features=64,
                bias=True,
                weight="normal",
                weight_dtype="float32",
                activation="normal",
                threshold=threshold,
                has_fp16_weights=fp16,
            )
            for threshold in (0.0, 2.0, 3.0)
        ),
    )
    for (mode, fp16), claim in CLAIMS.items()
)
