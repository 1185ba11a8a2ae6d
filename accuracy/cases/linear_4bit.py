"""Linear4bit: a dense layer whose weight is stored in blocks of 4-bit codes."""

from collections.abc import Mapping
from functools import partial

from hypothesis.strategies import just, none

from accuracy import formats
from accuracy.case import Case, Linear4bitConfig, Mode
from accuracy.cases import special
from accuracy.cases.strata_4bit import STRATA_OF
from accuracy.strategies import linear_4bit

CHECKS = (
    "accuracy.checks.four_bit:encode",
    "accuracy.checks.four_bit:decode",
    "accuracy.checks.four_bit:compute",
    "accuracy.checks.four_bit:quantization",
)


def _as_asked(config: Linear4bitConfig, device_type: str) -> Mapping[str, str]:
    """The weight is stored in the format that was asked for."""
    del device_type
    return {
        "format": formats.four_bit(
            quant_type=config.quant_type,
            blocksize=config.blocksize,
            nested=config.nested,
            dtype=config.weight_dtype,
            storage=config.quant_storage,
        )
    }


FIELDS: dict[Mode, tuple[str, ...]] = {
    "eval": ("weight", "activation"),
    "train": ("weight", "activation", "gradient"),
}

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
        contract=_as_asked,
        strata=STRATA_OF[mode]
        + special.dense(*FIELDS[mode], blocksize=just(64), nested=just(False), compute_dtype=none())
        + (
            special.under(
                "weight", "with_nan", "double-quantized", lambda c: c.nested, blocksize=just(64), nested=just(True)
            ),
        ),
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
