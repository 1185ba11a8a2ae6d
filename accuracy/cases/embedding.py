"""Embedding8bit and Embedding4bit: tables of quantized rows, looked up and decoded."""

from collections.abc import Mapping
from functools import partial

from hypothesis.strategies import just, sampled_from

from accuracy import formats
from accuracy.case import Case, Embedding4bitConfig, Embedding8bitConfig, Stratum
from accuracy.strategies import (
    SPECIALS,
    VOCABULARY,
    embedding_4bit,
    embedding_8bit,
    multiples_of,
    non_multiples_of,
    odd,
)

STRATA = (
    Stratum(name="one row", holds=lambda c: c.rows == 1, fixed={"rows": just(1)}),
    Stratum(
        name="dim a multiple of the blocksize",
        holds=lambda c: c.dim % 64 == 0,
        fixed={"dim": multiples_of(64, 512)},
    ),
    Stratum(
        name="dim off the blocksize",
        holds=lambda c: c.dim % 64 != 0,
        fixed={"dim": non_multiples_of(64, 300)},
    ),
    Stratum(name="odd dim", holds=lambda c: c.dim % 2 == 1, fixed={"dim": odd}),
    Stratum(
        name="more rows than 15 bits count",
        holds=lambda c: c.rows > 1 << 15,
        fixed={"rows": just(VOCABULARY), "dim": just(4), "weight": just("normal")},
    ),
    Stratum(
        name="repeated rows",
        holds=lambda c: len(c.index) > 1,
        fixed={"rows": just(3), "index": sampled_from(((10, 10), (4, 5, 5)))},
    ),
    Stratum(
        name="more than 1,024 lookups",
        holds=lambda c: c.index == (1100,),
        fixed={"index": just((1100,)), "dim": just(64), "rows": just(48), "weight": just("normal")},
    ),
    *(
        Stratum(
            name=f"weight {name}",
            holds=lambda c, name=name: c.weight == name,  # type: ignore[misc]  # the default binds the loop
            fixed={"weight": just(name), "dim": just(128), "rows": just(64)},
        )
        for name in SPECIALS
    ),
    Stratum(name="lossless weights", holds=lambda c: c.weight == "signs", fixed={"weight": just("signs")}),
)

BLOCKS = (
    Stratum(
        name="rows end inside a block, 16 divides them",
        holds=lambda c: c.dim % 64 != 0 and c.dim % 16 == 0,
        fixed={
            "dim": sampled_from((16, 32, 48, 80, 96, 112, 144)),
            "rows": multiples_of(16, 256),
            "weight": just("normal"),
            "index": sampled_from(((30,), (10, 10), (7, 4), (2, 5, 5))),
        },
    ),
    *(
        Stratum(
            name=f"one packed element, {rows} by {dim}",
            holds=lambda c: c.rows * c.dim == 2 and c.quant_storage == "uint8",
            fixed={
                "dim": just(dim),
                "rows": just(rows),
                "quant_storage": just("uint8"),
                "weight": just("normal"),
                "index": just((2, 2)),
            },
        )
        for rows, dim in ((1, 2), (2, 1))
    ),
)

INDICES = ((10,), (10, 10), (10, 10, 10))

EMBEDDING_8BIT = Case(
    name="embedding8bit",
    layer="Embedding8bit",
    claim="A looked-up row is its int8 codes times its scale, bit for bit.",
    config=Embedding8bitConfig,
    draw=embedding_8bit,
    subject="accuracy.subjects:embedding_8bit",
    checks=(
        "accuracy.checks.int8:encode",
        "accuracy.checks.embedding:compute_8bit",
        "accuracy.checks.embedding:quantization_8bit",
    ),
    strata=STRATA,
    published=tuple(
        Embedding8bitConfig(dtype="float32", rows=128, dim=dim, index=index, weight=weight)
        for dim in (64, 65)
        for index in INDICES
        for weight in ("signs", "all_positive")
    ),
)


def _as_asked(config: Embedding4bitConfig, device_type: str) -> Mapping[str, str]:
    """The table is stored in the format that was asked for, and in that of the library where nobody can ask."""
    del device_type
    return {
        "format": formats.four_bit(
            quant_type=config.quant_type, blocksize=64, nested=False, dtype=config.dtype, storage=config.quant_storage
        )
    }


EMBEDDINGS_4BIT = tuple(
    Case(
        name=f"embedding4bit-{quant_type}",
        layer="Embedding4bit",
        claim=f"A looked-up row is its {quant_type.upper()} codes times their block scales, bit for bit.",
        config=Embedding4bitConfig,
        draw=partial(embedding_4bit, quant_type=just(quant_type)),
        subject="accuracy.subjects:embedding_4bit",
        contract=_as_asked,
        checks=(
            "accuracy.checks.four_bit:encode",
            "accuracy.checks.four_bit:decode",
            "accuracy.checks.embedding:compute_4bit",
            "accuracy.checks.embedding:quantization_4bit",
        ),
        strata=STRATA + BLOCKS,
        published=tuple(
            Embedding4bitConfig(
                dtype="float32",
                rows=128,
                dim=dim,
                index=index,
                weight=weight,
                quant_type=quant_type,
                quant_storage=storage,
            )
            for dim in (64, 65)
            for index in INDICES
            for weight in ("signs", "all_positive")
            for storage in ("uint8", "float32")
        ),
    )
    for quant_type in ("nf4", "fp4")
)

CASES = (EMBEDDING_8BIT, *EMBEDDINGS_4BIT)
