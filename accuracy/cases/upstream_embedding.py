"""Upstream's behaviours of the embeddings: rows 6, 7, 9, 10 and 12 of the table in docs/method.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from hypothesis.strategies import SearchStrategy, integers, just, one_of, sampled_from

from accuracy.case import Case, Embedding4bitConfig, Embedding8bitConfig, Stratum, Wanted
from accuracy.strategies import embedding_4bit, embedding_8bit, multiples_of

INDICES = ((10,), (10, 10), (10, 10, 10))
SMALL: dict[str, SearchStrategy[Any]] = {
    "rows": multiples_of(8, 256),
    "dim": one_of(just(64), just(65), multiples_of(64, 256), integers(8, 200)),
    "index": one_of(
        integers(1, 20).map(lambda count: (count,)), sampled_from(((2, 3), (10, 10), (2, 3, 4), (1, 1, 1)))
    ),
}
"""Tables of many rows, and rows of many elements: what a table of a single packed byte does is no matter of these."""


def _whole_or_odd_rows(dim: int) -> bool:
    """Rows that end inside a block although 16 divides them are a stratum of `embedding4bit`'s own cases."""
    return dim % 64 == 0 or dim % 16 != 0


BLOCKS = (
    Stratum(
        name="dim a multiple of the blocksize", holds=lambda c: c.dim % 64 == 0, fixed={"dim": multiples_of(64, 256)}
    ),
    Stratum(name="dim one past a block", holds=lambda c: c.dim % 64 == 1, fixed={"dim": sampled_from((65, 129))}),
)
STORAGES = tuple(
    Stratum(
        name=f"{quant_type} in {storage}",
        holds=lambda c, quant_type=quant_type, storage=storage: (  # type: ignore[misc]  # defaults bind the loop
            (c.quant_type, c.quant_storage) == (quant_type, storage)
        ),
        fixed={"quant_type": just(quant_type), "quant_storage": just(storage)},
    )
    for quant_type in ("nf4", "fp4")
    for storage in ("uint8", "float32")
)
RANKS = tuple(
    Stratum(
        name=f"index of rank {rank}",
        holds=lambda c, rank=rank: len(c.index) == rank,  # type: ignore[misc]  # the default binds the loop
        fixed={"index": just(index)},
    )
    for rank, index in enumerate(INDICES, 1)
)


def _codes(config: Any) -> str:
    return str(getattr(config, "quant_storage", "int8"))


def _quantized_on(config: Any, device: str) -> Mapping[str, Wanted]:
    return {
        "weight_after_move": f"{_codes(config)} on {device}",
        "scales_after_move": f"float32 on {device}",
        "output_place": f"{config.dtype} on {device}",
    }


def _warned(config: Embedding4bitConfig, _: str) -> Mapping[str, Wanted]:
    """One warning where rows end inside a block, none where they do not."""
    slow = config.dim % 64 != 0
    return {"slow_inference": "once" if slow else "never", "messages": "1" if slow else "0"}


def _restored(*_: object) -> Mapping[str, Wanted]:
    return {"quant_state": "set"}


def _refused(*_: object) -> Mapping[str, Wanted]:
    moments = ("before_move", "after_move", "inside_a_model")
    return {f"state_dict_{moment}": "NotImplementedError" for moment in moments}


@dataclass(frozen=True, kw_only=True)
class Closeness:
    """How close looked-up rows are to those of the fp32 table, by what its elements are."""

    row: int
    name: str
    weight: str
    claim: str


CLOSENESS = (
    Closeness(
        row=6,
        name="lossless",
        weight="signs",
        claim="{layer} gives back a table of ±1 as torch's default closeness has it equal.",
    ),
    Closeness(
        row=7,
        name="error",
        weight="all_positive",
        claim="{layer} is off by no more than upstream publishes on a table from [0, 1).",
    ),
)


def _published_8bit(weight: str) -> tuple[Embedding8bitConfig, ...]:
    return tuple(
        Embedding8bitConfig(dtype="float32", rows=128, dim=dim, index=index, weight=weight)
        for dim in (64, 65)
        for index in INDICES
    )


def _published_4bit(weight: str) -> tuple[Embedding4bitConfig, ...]:
    return tuple(
        Embedding4bitConfig(**vars(config), quant_type=quant_type, quant_storage=storage)
        for quant_type in ("fp4", "nf4")
        for storage in ("uint8", "float32")
        for config in _published_8bit(weight)
    )


ROWS_8BIT = tuple(
    Case(
        name=f"upstream-{each.row:02}-{each.name}-embedding8bit",
        row=each.row,
        layer="Embedding8bit",
        claim=each.claim.format(layer="Embedding8bit"),
        config=Embedding8bitConfig,
        draw=partial(embedding_8bit, config=Embedding8bitConfig, weight=just(each.weight), **SMALL),
        subject="accuracy.upstream.embeddings:rows_8bit",
        checks=("accuracy.checks.upstream:quantization_published",),
        strata=BLOCKS + RANKS,
        published=_published_8bit(each.weight),
        contract=_quantized_on,
    )
    for each in CLOSENESS
)

ROWS_4BIT = tuple(
    Case(
        name=f"upstream-{each.row:02}-{each.name}-embedding4bit",
        row=each.row,
        layer="Embedding4bit",
        claim=each.claim.format(layer="Embedding4bit"),
        config=Embedding4bitConfig,
        draw=partial(
            embedding_4bit,
            config=Embedding4bitConfig,
            weight=just(each.weight),
            **{**SMALL, "dim": SMALL["dim"].filter(_whole_or_odd_rows)},
        ),
        subject="accuracy.upstream.embeddings:rows_4bit",
        checks=("accuracy.checks.upstream:quantization_published",),
        strata=BLOCKS + RANKS + STORAGES,
        published=_published_4bit(each.weight),
        contract=_quantized_on,
    )
    for each in CLOSENESS
)

PLAIN_4BIT = Embedding4bitConfig(
    dtype="float32", rows=128, dim=65, index=(1,), weight="normal", quant_type="nf4", quant_storage="uint8"
)

WARNING = Case(
    name="upstream-09-warning-embedding4bit",
    row=9,
    layer="Embedding4bit",
    claim="An Embedding4bit says once that rows which end inside a block make inference slow, and else nothing.",
    config=Embedding4bitConfig,
    draw=partial(embedding_4bit, config=Embedding4bitConfig, weight=just("normal"), **SMALL),
    subject="accuracy.upstream.embeddings:warning",
    checks=(),
    strata=(
        *BLOCKS,
        Stratum(
            name="dim one short of a block", holds=lambda c: c.dim % 64 == 63, fixed={"dim": sampled_from((63, 127))}
        ),
    ),
    published=(PLAIN_4BIT,),
    contract=_warned,
)

RESTORED = Case(
    name="upstream-10-state-embedding4bit",
    row=10,
    layer="Embedding4bit",
    claim="An Embedding4bit whose weight lost its state, as under FSDP, has it back and gives the same rows.",
    config=Embedding4bitConfig,
    draw=partial(embedding_4bit, config=Embedding4bitConfig, weight=just("normal"), **SMALL),
    subject="accuracy.upstream.embeddings:restored",
    checks=("accuracy.checks.upstream:invariant_restored",),
    strata=BLOCKS + STORAGES,
    published=(
        Embedding4bitConfig(
            dtype="float32", rows=64, dim=32, index=(1,), weight="normal", quant_type="fp4", quant_storage="uint8"
        ),
    ),
    contract=_restored,
)

STATE_DICTS = (
    Case(
        name="upstream-12-state-dict-embedding8bit",
        row=12,
        layer="Embedding8bit",
        claim="An Embedding8bit refuses its state_dict with NotImplementedError, alone and inside a model.",
        config=Embedding8bitConfig,
        draw=partial(embedding_8bit, config=Embedding8bitConfig, weight=just("normal"), **SMALL),
        subject="accuracy.upstream.embeddings:state_dict_8bit",
        checks=(),
        strata=BLOCKS,
        published=(Embedding8bitConfig(dtype="float32", rows=32, dim=32, index=(1,), weight="normal"),),
        contract=_refused,
    ),
    Case(
        name="upstream-12-state-dict-embedding4bit",
        row=12,
        layer="Embedding4bit",
        claim="An Embedding4bit refuses its state_dict with NotImplementedError, alone and inside a model.",
        config=Embedding4bitConfig,
        draw=partial(embedding_4bit, config=Embedding4bitConfig, weight=just("normal"), **SMALL),
        subject="accuracy.upstream.embeddings:state_dict_4bit",
        checks=(),
        strata=BLOCKS + STORAGES,
        published=(
            Embedding4bitConfig(
                dtype="float32", rows=32, dim=32, index=(1,), weight="normal", quant_type="fp4", quant_storage="uint8"
            ),
        ),
        contract=_refused,
    ),
)

CASES = (*ROWS_8BIT, *ROWS_4BIT, WARNING, RESTORED, *STATE_DICTS)
