"""Linear4bit: a dense layer whose weight is stored in blocks of 4-bit codes."""

from functools import partial

from hypothesis.strategies import just, one_of, sampled_from

from accuracy.case import Case, Linear4bitConfig, Mode, Stratum
from accuracy.strategies import linear_4bit, multiples_of, non_multiples_of, odd

CHECKS = (
    "accuracy.checks.four_bit:encode",
    "accuracy.checks.four_bit:decode",
    "accuracy.checks.four_bit:compute",
    "accuracy.checks.four_bit:quantization",
)

STRATA = (
    Stratum(
        name="blocks end with rows",
        holds=lambda c: c.in_features % c.blocksize == 0,
        fixed={"in_features": multiples_of(64, 512), "blocksize": just(64)},
    ),
    Stratum(
        name="blocks cross rows",
        holds=lambda c: c.in_features % c.blocksize != 0 and c.in_features > c.blocksize,
        fixed={"in_features": non_multiples_of(64, 400).filter(lambda k: k > 64), "blocksize": just(64)},  # noqa: PLR2004 - the blocksize
    ),
    Stratum(
        name="partial last block",
        holds=lambda c: c.in_features * c.out_features % c.blocksize != 0,
        fixed={"in_features": odd, "out_features": odd, "blocksize": just(64), "quant_storage": just("uint8")},
    ),
    Stratum(name="odd in_features", holds=lambda c: c.in_features % 2 == 1, fixed={"in_features": odd}),
    Stratum(
        name="out_features off the tile of 32",
        holds=lambda c: c.out_features % 32 != 0,
        fixed={"out_features": non_multiples_of(32, 300), "in_features": multiples_of(64, 512)},
    ),
    Stratum(
        name="out_features on the tile of 32",
        holds=lambda c: c.out_features % 32 == 0,
        fixed={"out_features": multiples_of(32, 512), "in_features": multiples_of(64, 512), "blocksize": just(64)},
    ),
    Stratum(
        name="blocksize 32",
        holds=lambda c: c.blocksize == 32,  # noqa: PLR2004 - the stratum
        fixed={"blocksize": just(32), "in_features": multiples_of(32, 512)},
    ),
    Stratum(
        name="blocksize 2048 or 4096",
        holds=lambda c: c.blocksize >= 2048,  # noqa: PLR2004 - the stratum
        fixed={
            "blocksize": sampled_from((2048, 4096)),
            "in_features": just(4096),
            "out_features": multiples_of(32, 256),
        },
    ),
    Stratum(
        name="double-quantized in one block",
        holds=lambda c: c.nested and c.in_features * c.out_features <= 256 * c.blocksize,
        fixed={"nested": just(True), "in_features": multiples_of(64, 256), "out_features": multiples_of(4, 64)},
    ),
    Stratum(
        name="double-quantized in several blocks",
        holds=lambda c: c.nested and c.in_features * c.out_features > 256 * c.blocksize,
        fixed={
            "nested": just(True),
            "in_features": multiples_of(64, 512).filter(lambda k: k > 128),  # noqa: PLR2004 - so that 200 rows pass 256 blocks
            "out_features": multiples_of(40, 400).filter(lambda n: n > 160),  # noqa: PLR2004 - likewise
            "blocksize": just(64),
        },
    ),
    Stratum(name="one row", holds=lambda c: c.batch == (1,), fixed={"batch": just((1,))}),
    Stratum(name="rank 1", holds=lambda c: c.batch == (), fixed={"batch": just(())}),
    Stratum(
        name="rank 3 or 4",
        holds=lambda c: len(c.batch) > 1,
        fixed={"batch": sampled_from(((2, 3), (1, 1), (2, 3, 4), (1, 5, 1)))},
    ),
    Stratum(
        name="wide storage",
        holds=lambda c: c.quant_storage != "uint8",
        fixed={"quant_storage": sampled_from(("float16", "bfloat16", "float32")), "in_features": multiples_of(64, 256)},
    ),
    Stratum(
        name="compute dtype differs",
        holds=lambda c: c.compute_dtype not in (None, c.dtype),
        fixed={"dtype": just("float16"), "compute_dtype": sampled_from(("float32", "bfloat16"))},
    ),
    Stratum(
        name="weight dtype differs",
        holds=lambda c: c.weight_dtype != c.dtype,
        fixed={"dtype": just("bfloat16"), "weight_dtype": sampled_from(("float32", "float16"))},
    ),
    Stratum(
        name="fewer than three weights",
        holds=lambda c: c.in_features * c.out_features <= 2,  # noqa: PLR2004 - one packed byte
        fixed={
            "in_features": just(1),
            "out_features": one_of(just(1), just(2)),
            "quant_storage": just("uint8"),
        },
    ),
)

CLAIMS: dict[Mode, str] = {
    "eval": "In inference, a {kind} layer stores the nearest codes, decodes them exactly and adds only rounding.",
    "train": "In training, a {kind} layer adds only rounding to its output and to the gradients of input and bias.",
}

CASES = tuple(
    Case(
        name=f"linear4bit-{quant_type}-{mode}",
        layer="Linear4bit",
        claim=claim.format(kind=quant_type.upper()),
        config=Linear4bitConfig,
        draw=partial(linear_4bit, quant_type=just(quant_type), mode=just(mode)),
        subject="accuracy.subjects:linear_4bit",
        checks=CHECKS,
        strata=STRATA,
        published=tuple(
            Linear4bitConfig(
                mode=mode,
                dtype=dtype,
                batch=(16,),
                in_features=84,
                out_features=128,
                bias=True,
                weight="normal",
                weight_dtype="float32",
                activation="normal",
                quant_type=quant_type,
                blocksize=64,
                nested=nested,
                quant_storage="uint8",
                compute_dtype=None,
            )
            for dtype in ("float16", "bfloat16")
            for nested in (False, True)
        ),
    )
    for quant_type in ("nf4", "fp4")
    for mode, claim in CLAIMS.items()
)
