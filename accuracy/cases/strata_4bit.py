"""Boundaries of the 4-bit format, and of the kernels that take it, one stratum each."""

from functools import partial

from hypothesis.strategies import just, none, sampled_from

from accuracy.case import Linear4bitConfig, Mode, Stratum
from accuracy.strategies import BLOCKSIZES, DTYPES, MANY, VOCABULARY, WIDEST, multiples_of, non_multiples_of, odd


def _packed(config: Linear4bitConfig, blocksize: int) -> bool:
    return config.blocksize == blocksize and config.in_features % blocksize == 0 and config.out_features % 32 == 0


def _one_packed_element(config: Linear4bitConfig) -> bool:
    """Two weights in one byte: the packed tensor has the shape [1, 1], which the library takes for a transposed one."""
    return config.in_features * config.out_features == 2 and config.quant_storage == "uint8"


HIDDEN_SIZES = (768, 1280, 1536, 3072)
"""Hidden sizes of published models that are no power of two."""

HAND_OVER_ROWS = tuple((rows,) for rows in (4, 5, 7, 8, 16, 17, 32, 33))

# One stratum for each boundary of the format or of a kernel. `packed` names the shapes that the library's
# packed CPU kernel takes: whole tiles of 32 output features, whole blocks in each row.
BLOCKS = tuple(
    Stratum(
        name=f"packed shape, blocksize {blocksize}",
        holds=partial(_packed, blocksize=blocksize),
        fixed={
            "blocksize": just(blocksize),
            "in_features": multiples_of(blocksize, max(512, blocksize)),
            "out_features": multiples_of(32, 128),
            "quant_storage": just("uint8"),
        },
    )
    for blocksize in BLOCKSIZES
)
ROWS_AND_BLOCKS = (
    Stratum(
        name="rows end inside a block, 16 divides them",
        holds=lambda c: c.in_features % c.blocksize != 0 and c.in_features % 16 == 0,
        fixed={
            "in_features": sampled_from((16, 32, 48, 80, 96, 112, 144, 176, 208)),
            "out_features": multiples_of(8, 128).filter(lambda n: n > 8),
            "blocksize": just(64),
            "weight": just("normal"),
        },
    ),
    Stratum(
        name="rows end inside a block, decoded in another dtype",
        holds=lambda c: c.in_features % c.blocksize != 0 and c.in_features % 16 == 0 and c.weight_dtype != c.dtype,
        fixed={
            "in_features": sampled_from((16, 32, 48, 80, 96, 112, 144, 176, 208)),
            "out_features": multiples_of(8, 128).filter(lambda n: n > 8),
            "blocksize": just(64),
            "weight": just("normal"),
            "weight_dtype": sampled_from(DTYPES),
            "compute_dtype": none(),
        },
    ),
    Stratum(
        name="rows end inside a block, 16 does not divide them",
        holds=lambda c: c.in_features % c.blocksize != 0 and c.in_features % 16 != 0 and c.in_features % 2 == 0,
        fixed={"in_features": non_multiples_of(16, 400).filter(lambda k: k % 2 == 0), "blocksize": just(64)},
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
    *(
        Stratum(
            name=f"one packed element, {out_features} by {in_features}",
            holds=_one_packed_element,
            fixed={
                "in_features": just(in_features),
                "out_features": just(out_features),
                "quant_storage": just("uint8"),
                "weight": just("normal"),
                "batch": just((4,)),
            },
        )
        for out_features, in_features in ((1, 2), (2, 1))
    ),
    Stratum(
        name="fewer weights than a block",
        holds=lambda c: 2 < c.in_features * c.out_features < c.blocksize,
        fixed={"in_features": sampled_from((3, 4, 6)), "out_features": sampled_from((2, 4, 8)), "blocksize": just(64)},
    ),
)
NESTED = (
    Stratum(
        name="double-quantized in one block",
        holds=lambda c: c.nested and c.in_features * c.out_features <= 256 * c.blocksize,
        fixed={"nested": just(True), "in_features": multiples_of(64, 256), "out_features": multiples_of(4, 64)},
    ),
    Stratum(
        name="double-quantized in many blocks",
        holds=lambda c: c.nested and c.in_features * c.out_features > 2048 * c.blocksize,
        fixed={
            "nested": just(True),
            "in_features": just(512),
            "out_features": multiples_of(32, 512).filter(lambda n: n > 256),
            "blocksize": just(32),
            "weight": just("normal"),
        },
    ),
    Stratum(
        name="double-quantized blocks of zeros",
        holds=lambda c: c.nested and c.weight == "zero_blocks" and c.blocksize == 64,
        fixed={
            "nested": just(True),
            "weight": just("zero_blocks"),
            "blocksize": just(64),
            "in_features": multiples_of(64, 256),
            "out_features": multiples_of(32, 128),
        },
    ),
    Stratum(
        name="double-quantized, rows end inside a block",
        holds=lambda c: c.nested and c.in_features % c.blocksize != 0,
        fixed={
            "nested": just(True),
            "blocksize": just(64),
            "in_features": sampled_from((48, 80, 96, 112)),
            "out_features": multiples_of(32, 128),
        },
    ),
)
# Where an accelerator goes over from a kernel that decodes as it multiplies to decoding first: the rows of the input
# decide, and whether blocks fit into rows.
_ALIGNED = {
    "in_features": multiples_of(64, 256),
    "out_features": multiples_of(32, 128),
    "blocksize": just(64),
    "weight": just("normal"),
    "activation": just("normal"),
}
HAND_OVER = (
    Stratum(
        name="rows at a hand-over between kernels",
        holds=lambda c: c.batch in HAND_OVER_ROWS and c.in_features % c.blocksize == 0,
        fixed={**_ALIGNED, "batch": sampled_from(HAND_OVER_ROWS)},
    ),
    Stratum(
        name="rows at the end of the fused kernel",
        holds=lambda c: c.batch in {(1536,), (1537,)},
        fixed={**_ALIGNED, "batch": sampled_from(((1536,), (1537,))), "out_features": just(32)},
    ),
)
# Larger than the tiles of kernels, with something left over: 16 divides none of 1102, 2050 and 3002, so no other
# finding covers them; 200 rows are more than 128.
LARGE = (
    Stratum(
        name="hidden size of a model",
        holds=lambda c: c.in_features in HIDDEN_SIZES,
        fixed={"in_features": sampled_from(HIDDEN_SIZES), "out_features": just(64), "blocksize": just(64)},
    ),
    Stratum(
        name="in_features above 4096",
        holds=lambda c: c.in_features > 4096,
        fixed={"in_features": just(WIDEST), "out_features": just(64), "blocksize": just(64)},
    ),
    Stratum(
        name="as many outputs as a vocabulary",
        holds=lambda c: c.out_features == VOCABULARY,
        fixed={
            "in_features": just(32),
            "out_features": just(VOCABULARY),
            "blocksize": just(32),
            "batch": sampled_from(((1,), (8,))),
        },
        alone=True,
    ),
    Stratum(
        name="many in_features, the last block partial",
        holds=lambda c: c.in_features > 1024 and c.in_features % 64 != 0,
        fixed={"in_features": sampled_from((1102, 2050, 3002)), "out_features": just(64), "blocksize": just(64)},
    ),
    Stratum(
        name="200 rows",
        holds=lambda c: c.batch == (200,),
        fixed={"batch": just((200,)), "in_features": just(128), "out_features": just(96), "blocksize": just(64)},
    ),
)
MANY_ROWS = Stratum(
    name="65,600 rows",
    holds=lambda c: c.batch == (MANY,),
    fixed={"batch": just((MANY,)), "in_features": just(64), "out_features": just(32), "blocksize": just(64)},
    alone=True,
)
INPUTS = (
    Stratum(
        name="many rows, odd out_features",
        holds=lambda c: c.batch == (64,) and c.out_features % 2 == 1 and c.in_features == 64,
        fixed={
            "batch": just((64,)),
            "in_features": just(64),
            "out_features": sampled_from((201, 233, 261)),
            "blocksize": just(64),
            "quant_storage": just("uint8"),
            "compute_dtype": sampled_from(("float16", "bfloat16")),
        },
    ),
    Stratum(name="one row", holds=lambda c: c.batch == (1,), fixed={"batch": just((1,))}),
    Stratum(
        name="rank 1, bias",
        holds=lambda c: c.batch == () and c.bias,
        fixed={"batch": just(()), "bias": just(True)},
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
            "blocksize": just(64),
        },
    ),
    Stratum(
        name="decoded weights half-way between 16-bit numbers",
        holds=lambda c: c.weight == "half_way" and c.weight_dtype == "float32",
        fixed={
            "weight": just("half_way"),
            "weight_dtype": just("float32"),
            "in_features": multiples_of(64, 256),
            "out_features": multiples_of(32, 128),
            "blocksize": just(64),
            "nested": just(False),
            "compute_dtype": none(),
        },
    ),
    Stratum(
        name="rank 3 or 4",
        holds=lambda c: len(c.batch) > 1,
        fixed={"batch": sampled_from(((2, 3), (1, 1), (2, 3, 4), (1, 5, 1)))},
    ),
)
DTYPES_AND_STORAGE = (
    Stratum(
        name="wide storage",
        holds=lambda c: c.quant_storage != "uint8",
        fixed={"quant_storage": sampled_from(("float16", "bfloat16", "float32")), "in_features": multiples_of(64, 256)},
    ),
    Stratum(
        name="compute dtype differs",
        holds=lambda c: c.compute_dtype not in {None, c.dtype},
        fixed={"compute_dtype": sampled_from(DTYPES)},
    ),
    Stratum(
        name="weight dtype differs",
        holds=lambda c: c.weight_dtype != c.dtype,
        fixed={"weight_dtype": sampled_from(DTYPES)},
    ),
)
STRATA = (*BLOCKS, *ROWS_AND_BLOCKS, *NESTED, *HAND_OVER, *LARGE, *INPUTS, *DTYPES_AND_STORAGE)

# Of so many rows the kernel of inference alone has a say; where training has one of the library's, it is the same.
STRATA_OF: dict[Mode, tuple[Stratum, ...]] = {"eval": (*STRATA, MANY_ROWS), "train": STRATA}
