"""Faults of the 4-bit encoder: wrong codes, wrong scales."""

from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import by_element, codes_of, packed_as, scaled, table
from accuracy.selftest.library import Library

OP = "op:quantize_4bit"


def _blocks(config: Any) -> float:
    """Scales of the weight."""
    return float(config.in_features * config.out_features / config.blocksize)


def boundary(lib: Library) -> None:
    def change(original: Any, weight: Any, blocksize: int, *rest: Any) -> Any:
        flat = weight.reshape(-1).float()
        limit = by_element(original(weight, blocksize, *rest)[1], blocksize, flat.numel())
        moved = lib.torch.maximum(lib.torch.minimum(flat * (1 + lib.size), limit), -limit)
        return original(moved.reshape(weight.shape), blocksize, *rest)

    lib.around(OP, change)


def off_by_one(lib: Library) -> None:
    def change(result: Any, *_: Any) -> Any:
        codes = codes_of(lib, result[0]).clone()
        every = round(1 / lib.size)
        codes[every // 2 :: every] ^= 1
        return packed_as(lib, codes, result[0]), result[1]

    lib.after(OP, change)


def scale_factor(lib: Library) -> None:
    lib.after(OP, lambda result, *_: (result[0], scaled(result[1], lib.size)))


def scale_of_neighbour(lib: Library) -> None:
    def change(result: Any, *_: Any) -> Any:
        scales = result[1].clone()
        middle = scales.numel() // 2
        scales[middle] = result[1][middle - 1]
        return result[0], scales

    lib.after(OP, change)


def scales_swapped(lib: Library) -> None:
    def change(result: Any, *_: Any) -> Any:
        scales = result[1].clone()
        scales[0], scales[-1] = result[1][-1], result[1][0]
        return result[0], scales

    lib.after(OP, change)


def scale_in(lib: Library, dtype: str) -> None:
    lib.after(OP, lambda result, *_: (result[0], result[1].to(getattr(lib.torch, dtype)).float()))


def last_block_dropped(lib: Library) -> None:
    def change(result: Any, weight: Any, blocksize: int, quant_type: str, *_: Any) -> Any:
        left = weight.numel() % blocksize
        if not left:
            return result
        codes = codes_of(lib, result[0]).clone()
        codes[weight.numel() - left :] = 7 if quant_type == "nf4" else 0
        return packed_as(lib, codes, result[0]), result[1]

    lib.after(OP, change)


def zeros_skipped(lib: Library) -> None:
    def change(result: Any, weight: Any, blocksize: int, *_: Any) -> Any:
        codes = codes_of(lib, result[0]).clone()
        count = weight.numel()
        codes[:count][by_element(result[1], blocksize, count) == 0] = 0
        return packed_as(lib, codes, result[0]), result[1]

    lib.after(OP, change)


def nibble_order(lib: Library) -> None:
    def change(result: Any, *_: Any) -> Any:
        codes = codes_of(lib, result[0]).reshape(-1, 2).flip(1).reshape(-1)
        return packed_as(lib, codes, result[0]), result[1]

    lib.after(OP, change)


def table_entry(lib: Library) -> None:
    def change(result: Any, *_: Any) -> Any:
        bounds = result[0].clone()
        bounds[9:11] += lib.size  # both boundaries of one code
        return bounds, result[1]

    lib.after("backends.default.ops:_get_4bit_quantize_bounds", change)


def signed_maximum(lib: Library) -> None:
    def change(result: Any, weight: Any, blocksize: int, *_: Any) -> Any:
        flat = weight.reshape(-1).float()
        padded = lib.torch.nn.functional.pad(flat, (0, -flat.numel() % blocksize))
        return result[0], padded.reshape(-1, blocksize).amax(dim=1)

    lib.after(OP, change)


def truncated(lib: Library) -> None:
    def change(result: Any, weight: Any, blocksize: int, quant_type: str, *_: Any) -> Any:
        codes = codes_of(lib, result[0]).clone()
        count = weight.numel()
        wanted = weight.reshape(-1).float() / by_element(result[1], blocksize, count)
        above = table(lib, quant_type)[codes[:count].long()] > wanted
        codes[:count] -= (above & (codes[:count] > 0)).to(lib.torch.uint8)
        return packed_as(lib, codes, result[0]), result[1]

    lib.after(OP, change)


def through_bfloat16(lib: Library) -> None:
    lib.around(OP, lambda original, weight, *rest: original(weight.bfloat16().float(), *rest))


def block_end(lib: Library) -> None:
    def change(original: Any, weight: Any, blocksize: int, *rest: Any) -> Any:
        packed, scales = original(weight, blocksize, *rest)
        if scales.numel() < 2:  # noqa: PLR2004 - there is no next block
            return packed, scales
        flat = weight.reshape(-1).float().clone()
        ends = lib.torch.arange(blocksize - 1, flat.numel() - 1, blocksize)
        blocks = ends // blocksize
        flat[ends] *= scales[blocks] / scales[blocks + 1]
        limit = by_element(scales, blocksize, flat.numel())
        clipped = lib.torch.maximum(lib.torch.minimum(flat, limit), -limit)
        return original(clipped.reshape(weight.shape), blocksize, *rest)[0], scales

    lib.around(OP, change)


fault = partial(Fault, area="encode", stage=Stage.ENCODE, cases="linear4bit-*-train")

FAULTS = (
    fault(
        name="encode-boundary",
        what="Boundaries between codes lie lower by the relative size.",
        plant=boundary,
        sizes=(1e-2, 1e-3, 1e-4, 1e-5),
    ),
    fault(
        name="encode-off-by-one",
        what="This share of the codes has its lowest bit flipped.",
        plant=off_by_one,
        sizes=(1 / 64, 1 / 512, 1 / 4096),
    ),
    fault(
        name="encode-scale-factor",
        what="Stored scales are larger by the relative size.",
        plant=scale_factor,
        sizes=(1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
    ),
    fault(
        name="encode-scale-of-neighbour",
        what="One block has the scale of the block before it.",
        plant=scale_of_neighbour,
        where=lambda c: _blocks(c) > 1,
    ),
    fault(
        name="encode-scales-swapped",
        what="The first and the last scale are swapped.",
        plant=scales_swapped,
        where=lambda c: _blocks(c) > 1,
    ),
    fault(
        name="encode-scale-bfloat16", what="Scales are rounded to bfloat16.", plant=partial(scale_in, dtype="bfloat16")
    ),
    fault(name="encode-scale-float16", what="Scales are rounded to float16.", plant=partial(scale_in, dtype="float16")),
    fault(
        name="encode-last-block-dropped",
        what="A partial last block is stored as zeros.",
        plant=last_block_dropped,
        where=lambda c: c.in_features * c.out_features % c.blocksize != 0,
    ),
    fault(
        name="encode-zeros-skipped",
        what="Blocks of zeros keep the code 0, which is -1: with double quantization their scale is not quite zero.",
        plant=zeros_skipped,
        cases="linear4bit-nf4-*",
        where=lambda c: c.nested and c.weight == "zero_blocks",
        added_later=True,
    ),
    fault(name="encode-nibble-order", what="The two codes of a byte are swapped.", plant=nibble_order),
    fault(
        name="encode-table-entry",
        what="The encoder takes one code for one that is larger by the size.",
        plant=table_entry,
        sizes=(1e-2, 1e-3, 1e-4),
    ),
    fault(
        name="encode-signed-maximum",
        what="The scale of a block is its largest value, not its largest magnitude.",
        plant=signed_maximum,
    ),
    fault(
        name="encode-truncated",
        what="Weights take the code below them, not the nearest.",
        plant=truncated,
        cases="linear4bit-nf4-train",
    ),
    fault(
        name="encode-through-bfloat16",
        what="Weights are rounded to bfloat16 before they are encoded.",
        plant=through_bfloat16,
        where=lambda c: c.weight_dtype != "bfloat16",
    ),
    fault(
        name="encode-block-end",
        what="The last weight of each block is coded with the next block's scale.",
        plant=block_end,
        where=lambda c: _blocks(c) > 1,
    ),
    fault(
        name="encode-embedding-scale",
        what="Stored scales of an embedding are larger by the relative size.",
        plant=scale_factor,
        sizes=(1e-2, 1e-4, 1e-6),
        cases="embedding4bit-*",
    ),
)
