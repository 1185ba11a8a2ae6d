"""Faults of the int8 codes and scales, of weights and of activations, and of their product."""

from collections.abc import Callable
from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import FUNCTIONS, scaled
from accuracy.selftest.library import Library

LARGEST = 127
Quantized = tuple[Any, Any, Any]


def _on_codes(lib: Library, change: Callable[[Quantized, Any], Quantized], *, activations: bool) -> None:
    """Changes (codes, scales, outlier columns) of activations or of weights; only the former name a threshold."""

    def planted(result: Quantized, values: Any, *_: Any, **options: Any) -> Quantized:
        return change(result, values) if ("threshold" in options) == activations else result

    lib.after("functional:int8_vectorwise_quant", planted)


def _recoded(result: Quantized, values: Any, to_codes: Callable[[Any], Any], largest: float = LARGEST) -> Quantized:
    """The same scales, and codes made by `to_codes` of values·largest/scale where they are not zero."""
    codes, scales, outliers = result
    wanted = to_codes(values.float() * (largest / scales.unsqueeze(1))).nan_to_num(0.0).clamp(-LARGEST, LARGEST)
    return (wanted * (codes != 0)).to(codes.dtype), scales, outliers


def truncated(lib: Library, *, activations: bool) -> None:
    _on_codes(lib, lambda result, values: _recoded(result, values, lib.torch.trunc), activations=activations)


def times_128(lib: Library, *, activations: bool) -> None:
    _on_codes(lib, lambda result, values: _recoded(result, values, lib.torch.round, 128.0), activations=activations)


def saturated(lib: Library, *, activations: bool) -> None:
    _on_codes(
        lib,
        lambda result, _: (result[0].clamp(1 - LARGEST, LARGEST - 1), *result[1:]),
        activations=activations,
    )


def scales_swapped(lib: Library, *, activations: bool) -> None:
    def change(result: Quantized, _: Any) -> Quantized:
        scales = result[1].clone()
        scales[0], scales[-1] = result[1][-1], result[1][0]
        return result[0], scales, result[2]

    _on_codes(lib, change, activations=activations)


def scale_factor(lib: Library) -> None:
    _on_codes(lib, lambda result, _: (result[0], scaled(result[1], lib.size), result[2]), activations=False)


def one_code(lib: Library) -> None:
    def change(result: Quantized, _: Any) -> Quantized:
        codes = result[0].clone()
        flat = codes.view(-1)
        every = round(1 / lib.size)
        flat[every // 2 :: every] ^= 1
        return codes, result[1], result[2]

    _on_codes(lib, change, activations=False)


def cast_missing(lib: Library) -> None:
    def change(original: Any, weight: Any, device: Any) -> Any:
        if weight.has_fp16_weights:
            return original(weight, device)
        values = weight.data.contiguous().to(device).float()
        quantized = original(weight, device)
        scales = values.abs().amax(dim=1)
        codes = (values * (LARGEST / scales.unsqueeze(1))).nan_to_num(0.0).round().to(lib.torch.int8)
        if not (lib.torch.equal(codes, quantized.CB) and lib.torch.equal(scales, quantized.SCB)):
            lib.acted()
        quantized.data = quantized.CB = codes
        quantized.SCB = scales
        return quantized

    lib.instead("nn.modules:Int8Params._quantize", change)


def product_of_128(lib: Library) -> None:
    lib.after("op:int8_mm_dequant", lambda out, *_, **__: scaled(out, LARGEST / 128 - 1))


def product_factor(lib: Library) -> None:
    lib.after("op:int8_mm_dequant", lambda out, *_, **__: scaled(out, lib.size))


def sums_in_16_bits(lib: Library) -> None:
    lib.after("op:int8_linear_matmul", lambda sums, *_: sums.clamp(-(2**15), 2**15 - 1))


def sums_one_code_short(lib: Library) -> None:
    def change(sums: Any, left: Any, right: Any) -> Any:
        lost = left[..., -1:].int() * right[:, -1].int()
        return sums - lost.reshape(sums.shape)

    lib.after("op:int8_linear_matmul", change)


def stale_codes(lib: Library) -> None:
    def change(  # noqa: PLR0917 - the function's arguments
        original: Any, ctx: Any, x: Any, weight: Any, out: Any = None, bias: Any = None, state: Any = None
    ) -> Any:
        if not state.has_fp16_weights or state.CB is None:
            return original(ctx, x, weight, out, bias, state)
        kept = state.CB, state.SCB
        result = original(ctx, x, weight, out, bias, state)
        if lib.torch.equal(state.CB, kept[0]) and lib.torch.equal(state.SCB, kept[1]):
            return result
        state.CB, state.SCB = kept
        lib.acted()
        state.has_fp16_weights = False
        try:
            return original(ctx, x, weight, out, bias, state)
        finally:
            state.has_fp16_weights = True

    for name in ("MatMul8bitFp", "MatMul8bitLt"):
        lib.instead(f"{FUNCTIONS}:{name}.forward", change)


weights = partial(Fault, area="int8", stage=Stage.ENCODE, cases="linear8bitlt-*")
activations = partial(Fault, area="int8", stage=Stage.COMPUTE, cases="linear8bitlt-*eval")

FAULTS = (
    weights(
        name="int8-weight-truncated",
        what="Codes of weights are cut, not rounded.",
        plant=partial(truncated, activations=False),
    ),
    weights(
        name="int8-weight-times-128",
        what="Codes of weights are made with 128 in place of 127.",
        plant=partial(times_128, activations=False),
    ),
    weights(
        name="int8-weight-saturates",
        what="Codes of weights end at 126.",
        plant=partial(saturated, activations=False),
    ),
    weights(
        name="int8-weight-scales-swapped",
        what="The first and the last row of the weight have each other's scale.",
        plant=partial(scales_swapped, activations=False),
        where=lambda c: c.out_features > 1,
    ),
    weights(
        name="int8-weight-scale-factor",
        what="Scales of weights are larger by the relative size.",
        plant=scale_factor,
        sizes=(1e-2, 1e-4, 1e-6),
    ),
    weights(
        name="int8-weight-codes",
        what="This share of the codes of weights has its lowest bit flipped.",
        plant=one_code,
        sizes=(1 / 64, 1 / 1024, 1 / 4096),
    ),
    weights(
        name="int8-weight-cast-missing",
        what="Weights are not rounded to float16 before they are encoded.",
        plant=cast_missing,
        cases="linear8bitlt-[te]*",
        where=lambda c: c.weight_dtype == "float32",
    ),
    weights(
        name="int8-embedding-truncated",
        what="Codes of an embedding are cut, not rounded.",
        plant=partial(truncated, activations=False),
        cases="embedding8bit",
    ),
    activations(
        name="int8-activation-truncated",
        what="Codes of activations are cut, not rounded.",
        plant=partial(truncated, activations=True),
    ),
    activations(
        name="int8-activation-times-128",
        what="Codes of activations are made with 128 in place of 127.",
        plant=partial(times_128, activations=True),
    ),
    activations(
        name="int8-activation-saturates",
        what="Codes of activations end at 126.",
        plant=partial(saturated, activations=True),
    ),
    activations(
        name="int8-activation-scales-swapped",
        what="The first and the last row of the input have each other's scale.",
        plant=partial(scales_swapped, activations=True),
    ),
    activations(name="int8-product-128", what="The product is divided by 127·128.", plant=product_of_128),
    activations(
        name="int8-product-factor",
        what="The product is larger by the relative size.",
        plant=product_factor,
        sizes=(1e-2, 1e-3, 1e-4),
    ),
    activations(name="int8-sums-16-bit", what="Sums of products of codes end at 16 bits.", plant=sums_in_16_bits),
    activations(
        name="int8-sums-last-code",
        what="Sums leave out the last product of codes.",
        plant=sums_one_code_short,
    ),
    Fault(
        name="int8-stale-codes",
        area="int8",
        what="Codes are not made anew when the fp16 weight has changed.",
        stage=Stage.INVARIANT,
        cases="linear8bitlt-fp16-*",
        plant=stale_codes,
    ),
)
