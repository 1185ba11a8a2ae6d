"""Relations that every layer must keep: repeat, split, reorder, scale, pad, save, copy, move, switch mode."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hypothesis.strategies import SearchStrategy, just, none, one_of, sampled_from

from accuracy import formats
from accuracy.case import (
    Case,
    Embedding4bitRelation,
    Embedding8bitRelation,
    Linear4bitRelation,
    Linear8bitRelation,
    Mode,
    Stratum,
)
from accuracy.strategies import DTYPES, embedding_4bit, embedding_8bit, linear_4bit, linear_8bit, multiples_of

EVERYWHERE = (
    "repeat", "input_kept", "row_order", "rows_alone", "doubled_input", "doubled_weight", "zero_input",
    "zero_columns", "save_and_load", "save_after_forward", "deep_copy", "copy_after_forward",
    "device_round_trip", "mode_round_trip", "strided_input", "no_rows", "kept_output", "other_layer", "more_rows",
    "other_dtype", "copy_apart", "with_gradients", "inference_mode", "two_threads", "transposed_input",
    "unaligned_input", "autocast", "after_autocast", "default_dtype", "loaded_in_default_dtype",
    "moved_after_forward", "frozen_bias", "updated_bias", "other_bias", "replaced_weight", "transposed_weight",
)  # fmt: skip
IN_TRAINING = (
    "doubled_gradient", "accumulated_gradient", "trains_after_eval", "gradient_in_eval", "no_rows_gradient",
    "frozen_input", "expanded_gradient", "transposed_gradient", "gradient_kept", "two_forwards", "retained_graph",
    "smaller_between", "two_layers", "autocast_gradient", "checkpointed", "accumulated_bias_gradient",
)  # fmt: skip
OF_A_TRAINED_WEIGHT = (
    "updated_weight", "weight_kept", "requantized_weight", "accumulated_weight_gradient", "transposed_weight_gradient",
)  # fmt: skip
"""Relations of a weight that is trained: only of int8 layers with fp16 weights."""

OF_A_TRAINED_WEIGHT_IN_EVAL = ("updated_weight", "weight_kept")
"""Those of them that hold in inference, too."""

OF_A_FROZEN_WEIGHT = ("permuted_gradient",)
"""Relations in rank 3, which a layer whose weight has a gradient does not take on the CPU (F13)."""

OF_4_BITS = ("named_class", "autocast_of_large_input")
"""Relations of 4-bit layers: an int8 product passes through float16 by design."""

OF_ONE_BATCH = (
    "repeat", "input_kept", "more_rows", "with_gradients", "autocast", "after_autocast", "kept_output", "save_and_load",
    "deep_copy", "copy_after_forward", "mode_round_trip", "moved_after_forward", "gradient_in_eval",
)  # fmt: skip
"""Relations that hold with a threshold too: both results are of one batch."""

KEPT = ("save_and_load", "deep_copy", "copy_after_forward", "device_round_trip", "loaded_in_default_dtype")
"""Relations between a layer and what was made of its state, of which double quantization and a blocksize are part."""

BESIDE = ("other_layer", "two_layers")
"""Relations between layers of one shape, which may share memory from some size on."""

LOOKUPS = (
    "same_row", "index_order", "repeat", "deep_copy", "device_round_trip", "narrow_index", "transposed_index",
    "no_rows", "index_kept", "kept_output",
)  # fmt: skip

# Shapes that every kernel takes, in the ranges where a power of two neither overflows nor underflows:
# what breaks here is the relation.
_PLAIN: dict[str, SearchStrategy[Any]] = {
    "batch": sampled_from(((8,), (17,), (40,))),
    "in_features": sampled_from((128, 192, 256)),
    "out_features": multiples_of(32, 128),
    "weight": sampled_from(("normal", "uniform", "heavy_tailed")),
    "activation": sampled_from(("normal", "uniform", "outlier_columns")),
}


def _claimed_of_4bit(config: Any) -> bool:
    """Where zero columns are appended, rows end with a block, and autocast meets no other dtype to compute in.

    Else blocks change, or with double quantization the mean that is taken off every scale; and what is computed in a
    dtype of its own is cast all the same.
    """
    match config.relation:
        case "zero_columns":
            return not (config.nested or config.in_features % config.blocksize)
        case "autocast" | "autocast_gradient":
            return config.compute_dtype is None
        case "autocast_of_large_input":
            return bool(config.compute_dtype != "float16")  # where it overflows
        case _:
            return True


def _claimed_of_int8(config: Any) -> bool:
    """Which columns hold outliers depends on the whole batch, so most relations hold without a threshold."""
    return not config.threshold or config.relation in OF_ONE_BATCH


def _four_bit(**fixed: SearchStrategy[Any]) -> SearchStrategy[Linear4bitRelation]:
    return linear_4bit(config=Linear4bitRelation, **fixed).filter(_claimed_of_4bit)


def _int8(**fixed: SearchStrategy[Any]) -> SearchStrategy[Linear8bitRelation]:
    return linear_8bit(config=Linear8bitRelation, **fixed).filter(_claimed_of_int8)


ZERO_INPUT = Stratum(
    name="zero input",
    holds=lambda c: c.relation == "zero_input" and c.bias,  # without a bias, zero for zero shows next to nothing
    fixed={"relation": just("zero_input"), "bias": just(True)},
)


def _saved(config: Any, device_type: str) -> Mapping[str, str]:
    """A layer that is saved is saved in the form that other releases read."""
    del device_type
    if config.relation != formats.SAVED:
        return {}
    state = formats.words(formats.saved_state(config))
    return {"saved_tensors": formats.words(formats.saved_tensors(config)), **({"saved_state": state} if state else {})}


def _strata(names: tuple[str, ...]) -> tuple[Stratum, ...]:
    return tuple(
        ZERO_INPUT
        if name == "zero_input"
        else Stratum(
            name=name.replace("_", " "),
            holds=lambda c, name=name: c.relation == name,  # type: ignore[misc]  # the default binds the loop
            fixed={"relation": just(name)},
        )
        for name in names
    )


def _conditional(
    names: tuple[str, ...], naming: str, condition: Callable[[Any], bool], **fixed: SearchStrategy[Any]
) -> tuple[Stratum, ...]:
    """A stratum for each of these relations where a condition holds too, which `fixed` makes true."""
    return tuple(
        Stratum(
            name=naming.format(name.replace("_", " ")),
            holds=lambda c, name=name: condition(c) and c.relation == name,  # type: ignore[misc]  # the default binds the loop
            fixed={**fixed, "relation": just(name)},
        )
        for name in names
    )


def _beside(mode: Mode) -> tuple[Stratum, ...]:
    """Layers of 2¹⁷ weights beside another of their shape."""
    return _conditional(
        tuple(name for name in BESIDE if name in _names(mode)),
        "large, {}",
        lambda c: c.in_features * c.out_features >= 1 << 17,
        in_features=just(512),
        out_features=just(256),
    )


def _names(mode: Mode, *extra: str) -> tuple[str, ...]:
    return (*EVERYWHERE, *(IN_TRAINING if mode == "train" else ()), *extra)


def _of_4bit(mode: Mode) -> tuple[str, ...]:
    return _names(mode, *OF_4_BITS, *(OF_A_FROZEN_WEIGHT if mode == "train" else ()))


LINEAR_4BIT = tuple(
    Case(
        name=f"linear4bit-{mode}-relations",
        layer="Linear4bit",
        claim=f"In {mode} mode, a Linear4bit keeps the relations that hold by mathematics.",
        config=Linear4bitRelation,
        draw=partial(
            _four_bit,
            mode=just(mode),
            relation=sampled_from(_of_4bit(mode)),
            blocksize=just(64),
            nested=just(False),
            quant_storage=just("uint8"),
            compute_dtype=none(),
            **_PLAIN,
        ),
        subject="accuracy.relations:linear_4bit",
        checks=("accuracy.checks.relation:invariant",),
        contract=_saved,
        claimed_of=_claimed_of_4bit,
        strata=(
            *_strata(_of_4bit(mode)),
            *_beside(mode),
            *(
                Stratum(
                    name=f"double-quantized and saved, {dtype} weight",
                    holds=lambda c, dtype=dtype: (  # type: ignore[misc]  # the default binds the loop
                        c.nested and c.relation == "save_after_forward" and c.weight_dtype == dtype
                    ),
                    fixed={
                        "nested": just(True),
                        "relation": just("save_after_forward"),
                        "weight_dtype": just(dtype),
                    },
                )
                for dtype in DTYPES
            ),
            *_conditional(
                (*KEPT, "gradient_in_eval") if mode == "train" else KEPT,
                "double-quantized, {}",
                lambda c: c.nested,
                nested=just(True),
            ),
            *_conditional(
                KEPT,
                "nothing at its default, {}",
                lambda c: c.blocksize > 256 and c.quant_storage != "uint8" and c.compute_dtype is not None,
                blocksize=just(512),
                in_features=just(512),
                quant_storage=just("bfloat16"),
                compute_dtype=sampled_from(DTYPES),
            ),
            *_conditional(
                # F07 takes no odd number in inference
                ("save_and_load", "deep_copy", "unaligned_input") if mode == "train" else (),
                "odd in_features, {}",
                lambda c: c.in_features % 2 == 1,
                in_features=just(129),
                out_features=multiples_of(64, 128),
            ),
            *_conditional(
                ("two_threads",) if mode == "train" else (),  # F07 takes 32 outputs at a time in inference
                "an odd number of blocks, {}",
                lambda c: c.in_features // c.blocksize * c.out_features % 2 == 1 and c.out_features > 256,
                in_features=just(192),
                out_features=just(401),
            ),
            *_conditional(
                ("no_rows", "no_rows_gradient") if mode == "train" else ("no_rows",),
                "another compute dtype, {}",
                lambda c: c.compute_dtype not in {None, c.dtype},
                compute_dtype=sampled_from(DTYPES),
            ),
            *_conditional(
                KEPT,
                "blocksize 128, {}",
                lambda c: c.blocksize > 64,
                blocksize=just(128),
                in_features=multiples_of(128, 256),
            ),
        ),
    )
    for mode in ("eval", "train")
)


def _linear_8bit(mode: Mode, *, fp16: bool) -> Case:
    updates = OF_A_TRAINED_WEIGHT if mode == "train" else OF_A_TRAINED_WEIGHT_IN_EVAL
    frozen = OF_A_FROZEN_WEIGHT if mode == "train" else ()
    names = _names(mode, *(updates if fp16 else frozen))
    threshold = one_of(just(0.0), just(6.0))
    return Case(
        name=f"linear8bitlt-{'fp16-weights-' if fp16 else ''}{mode}-relations",
        layer="Linear8bitLt",
        claim=f"In {mode} mode, a Linear8bitLt {'with' if fp16 else 'without'} fp16 weights keeps the relations.",
        config=Linear8bitRelation,
        draw=partial(
            _int8,
            mode=just(mode),
            has_fp16_weights=just(fp16),
            relation=sampled_from(names),
            threshold=just(0.0),
            **_PLAIN,
        ),
        subject="accuracy.relations:linear_8bit",
        checks=("accuracy.checks.relation:invariant",),
        contract=_saved,
        claimed_of=_claimed_of_int8,
        strata=(
            *_strata(names),
            *_beside(mode),
            *_conditional(
                tuple(name for name in OF_ONE_BATCH if name in names),
                "{} with outlier columns",
                lambda c: c.threshold > 0,
                threshold=threshold.filter(bool),
                activation=just("outlier_columns"),
            ),
        ),
    )


LINEAR_8BIT = tuple(_linear_8bit(mode, fp16=fp16) for fp16 in (False, True) for mode in ("eval", "train"))

EMBEDDINGS = (
    Case(
        name="embedding8bit-relations",
        layer="Embedding8bit",
        claim="An Embedding8bit gives the same row for the same number, in any order, after a copy or a move.",
        config=Embedding8bitRelation,
        draw=partial(
            embedding_8bit, config=Embedding8bitRelation, relation=sampled_from(LOOKUPS), weight=just("normal")
        ),
        subject="accuracy.lookups:embedding_8bit",
        checks=("accuracy.checks.relation:invariant",),
        strata=_strata(LOOKUPS),
    ),
    Case(
        name="embedding4bit-relations",
        layer="Embedding4bit",
        claim="An Embedding4bit gives the same row for the same number, in any order, after a copy or a move.",
        config=Embedding4bitRelation,
        draw=partial(
            embedding_4bit,
            config=Embedding4bitRelation,
            relation=sampled_from(LOOKUPS),
            weight=just("normal"),
            rows=multiples_of(8, 128),
            dim=multiples_of(64, 256),
            quant_storage=one_of(just("uint8"), just("float32")),
        ),
        subject="accuracy.lookups:embedding_4bit",
        checks=("accuracy.checks.relation:invariant",),
        strata=_strata(LOOKUPS),
    ),
)

CASES = (*LINEAR_4BIT, *LINEAR_8BIT, *EMBEDDINGS)
