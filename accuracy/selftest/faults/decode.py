"""Faults of the decoders: 4-bit to weight, int8 to weight, and the packed form of the CPU kernel."""

from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import by_element, codes_of, scaled, table, toward_zero
from accuracy.selftest.library import Library

OP = "op:dequantize_4bit"
PACK = "functional:_convert_weight_packed_for_cpu"


def scale_factor(lib: Library) -> None:
    lib.after(OP, lambda weight, *_: scaled(weight, lib.size))


def table_entry(lib: Library) -> None:
    def change(weight: Any, packed: Any, *_: Any) -> Any:
        mine = (codes_of(lib, packed)[: weight.numel()] == 11).reshape(weight.shape)  # noqa: PLR2004 - one of 16
        return lib.torch.where(mine, scaled(weight, lib.size), weight)

    lib.after(OP, change)


def _with_scales(lib: Library, scales_of: Any) -> None:
    def change(original: Any, packed: Any, absmax: Any, *rest: Any) -> Any:
        return original(packed, scales_of(absmax, *rest), *rest)

    lib.around(OP, change)


def scale_of_neighbour(lib: Library) -> None:
    def scales_of(absmax: Any, *_: Any) -> Any:
        scales = absmax.clone()
        middle = scales.numel() // 2
        scales[middle] = absmax[middle - 1]
        return scales

    _with_scales(lib, scales_of)


def scales_swapped(lib: Library) -> None:
    def scales_of(absmax: Any, *_: Any) -> Any:
        scales = absmax.clone()
        scales[0], scales[-1] = absmax[-1], absmax[0]
        return scales

    _with_scales(lib, scales_of)


def last_block(lib: Library) -> None:
    def scales_of(absmax: Any, blocksize: int, _: str, shape: Any, *__: Any) -> Any:
        count = 1
        for length in shape:
            count *= length
        scales = absmax.clone()
        if count % blocksize and scales.numel() > 1:
            scales[-1] = absmax[-2]
        return scales

    _with_scales(lib, scales_of)


def nibble_order(lib: Library) -> None:
    def change(original: Any, packed: Any, *rest: Any) -> Any:
        flat = packed.contiguous().view(lib.torch.uint8)
        return original(((flat >> 4) | (flat << 4)).view(packed.dtype), *rest)

    lib.around(OP, change)


def last_element(lib: Library) -> None:
    def change(weight: Any, *_: Any) -> Any:
        weight = weight.clone()
        weight.view(-1)[-1] = 0
        return weight

    lib.after(OP, change)


def last_column(lib: Library) -> None:
    def change(weight: Any, *_: Any) -> Any:
        weight = weight.clone()
        weight[..., -1] = weight[..., 0]
        return weight

    lib.after(OP, change)


def _exact(  # noqa: PLR0917 - the operator's arguments
    lib: Library, packed: Any, absmax: Any, blocksize: int, quant_type: str, shape: Any
) -> Any:
    """Codes times scales in float64, of `shape`."""
    count = 1
    for length in shape:
        count *= length
    values = table(lib, quant_type)[codes_of(lib, packed)[:count].long()].double()
    return (values * by_element(absmax, blocksize, count).double()).reshape(shape)


def rounded_factors(lib: Library) -> None:
    def change(result: Any, packed: Any, absmax: Any, blocksize: int, quant_type: str, shape: Any, dtype: Any) -> Any:  # noqa: PLR0917 - the operator's
        values = table(lib, quant_type)[codes_of(lib, packed)[: result.numel()].long()].to(dtype)
        return (values * by_element(absmax, blocksize, result.numel()).to(dtype)).reshape(shape)

    lib.after(OP, change)


def ties_up(lib: Library) -> None:
    def change(result: Any, packed: Any, absmax: Any, blocksize: int, quant_type: str, shape: Any, dtype: Any) -> Any:  # noqa: PLR0917 - the operator's
        if dtype == lib.torch.float32:
            return result
        exact = _exact(lib, packed, absmax, blocksize, quant_type, shape).float()
        nearest = exact.to(dtype)
        beyond = (nearest.view(lib.torch.int16) + 1).view(dtype)  # the next size up, whatever the sign
        tie = (exact - nearest.float()).abs() == (beyond.float() - exact).abs()
        return lib.torch.where(tie, beyond, nearest)

    lib.after(OP, change)


def truncated(lib: Library) -> None:
    def change(result: Any, packed: Any, absmax: Any, blocksize: int, quant_type: str, shape: Any, dtype: Any) -> Any:  # noqa: PLR0917 - the operator's
        if dtype == lib.torch.float32:
            return result
        return toward_zero(lib, _exact(lib, packed, absmax, blocksize, quant_type, shape), dtype)

    lib.after(OP, change)


def int8_scale_factor(lib: Library) -> None:
    lib.after("op:int8_vectorwise_dequant", lambda weight, *_: scaled(weight, lib.size))


def int8_last_row(lib: Library) -> None:
    def change(weight: Any, codes: Any, scales: Any) -> Any:
        wrong = weight.clone()
        wrong[-1] = codes[-1] * scales[0] / 127
        return wrong

    lib.after("op:int8_vectorwise_dequant", change)


def packed_scales(lib: Library) -> None:
    def change(result: Any, *_: Any) -> Any:
        packed, state = result
        if state.absmax.shape[1] > 1:
            scales = state.absmax.clone()
            scales[:, 0], scales[:, -1] = state.absmax[:, -1], state.absmax[:, 0]
            state.absmax = scales
            lib.acted()
        return packed, state

    lib.instead(PACK, lambda original, *args, **kwargs: change(original(*args, **kwargs)))


def packed_tile(lib: Library) -> None:
    def change(result: Any) -> Any:
        packed, state = result
        tile = packed[-32:]
        packed = packed.clone()
        packed[-32:] = (tile >> 4) | (tile << 4)
        lib.acted()
        return packed, state

    lib.instead(PACK, lambda original, *args, **kwargs: change(original(*args, **kwargs)))


fault = partial(Fault, area="decode", stage=Stage.DECODE, cases="linear4bit-*-train")

FAULTS = (
    fault(
        name="decode-scale-factor",
        what="Decoded weights are larger by the relative size.",
        plant=scale_factor,
        sizes=(1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
    ),
    fault(
        name="decode-table-entry",
        what="One entry of the code table is larger by the relative size.",
        plant=table_entry,
        sizes=(1e-2, 1e-4, 1e-6),
    ),
    fault(
        name="decode-scale-of-neighbour",
        what="One block is decoded with the scale of the block before it.",
        plant=scale_of_neighbour,
        where=lambda c: c.in_features * c.out_features > c.blocksize,
    ),
    fault(
        name="decode-scales-swapped",
        what="The first and the last block are decoded with each other's scale.",
        plant=scales_swapped,
        where=lambda c: c.in_features * c.out_features > c.blocksize,
    ),
    fault(
        name="decode-last-block",
        what="A partial last block is decoded with the scale before it.",
        plant=last_block,
        where=lambda c: c.in_features * c.out_features % c.blocksize != 0,
    ),
    fault(name="decode-nibble-order", what="The two codes of a byte are read in the wrong order.", plant=nibble_order),
    fault(name="decode-last-element", what="The last weight is decoded as zero.", plant=last_element),
    fault(name="decode-last-column", what="The last column is decoded as the first.", plant=last_column),
    fault(
        name="decode-rounded-factors",
        what="Code and scale are rounded to 16 bits before they are multiplied.",
        plant=rounded_factors,
        where=lambda c: c.weight_dtype != "float32",
    ),
    fault(
        name="decode-truncated",
        what="Decoded weights are cut to 16 bits, not rounded.",
        plant=truncated,
        where=lambda c: c.weight_dtype != "float32",
    ),
    fault(
        name="decode-ties-up",
        what="A weight half-way between two 16-bit numbers is rounded away from zero.",
        plant=ties_up,
        where=lambda c: c.weight == "half_way" and c.dtype != "float32",
        added_later=True,
    ),
    fault(
        name="decode-embedding-scale",
        what="Decoded rows of an embedding are larger by the relative size.",
        plant=scale_factor,
        sizes=(1e-2, 1e-4, 1e-6),
        cases="embedding4bit-*",
    ),
    fault(
        name="decode-int8-scale-factor",
        what="Weights decoded from int8 are larger by the relative size.",
        plant=int8_scale_factor,
        sizes=(1e-2, 1e-4, 1e-6),
        cases="linear8bitlt-*",
    ),
    fault(
        name="decode-int8-last-row",
        what="The last row of int8 codes is decoded with the scale of the first.",
        plant=int8_last_row,
        cases="linear8bitlt-*",
        where=lambda c: c.out_features > 1,
    ),
    fault(
        name="decode-packed-scales",
        what="The packed form for the CPU kernel swaps the scales of the first and the last row.",
        plant=packed_scales,
        stage=Stage.COMPUTE,
        cases="linear4bit-*-eval",
    ),
    fault(
        name="decode-packed-tile",
        what="The packed form for the CPU kernel swaps the halves of the bytes of the last tile.",
        plant=packed_tile,
        stage=Stage.COMPUTE,
        cases="linear4bit-*-eval",
    ),
)
