"""Faults of double quantization: scales that are themselves coded in 8 bits, blocks of 256, with an offset."""

from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import by_element, scaled
from accuracy.selftest.library import Library

ENCODE = "op:quantize_blockwise"
DECODE = "op:dequantize_blockwise"
BLOCK = 256


def _on_offset(lib: Library, change: Any) -> None:
    """Changes the stored offset."""

    def planted(original: Any, *args: Any, **options: Any) -> Any:
        packed, state = original(*args, **options)
        if state.nested:
            offset = change(state.offset)
            if not lib.torch.equal(offset, state.offset):
                lib.acted()
            state.offset = offset
        return packed, state

    lib.instead("functional:quantize_4bit", planted)


def offset_lost(lib: Library) -> None:
    _on_offset(lib, lib.torch.zeros_like)


def offset_in_float16(lib: Library) -> None:
    _on_offset(lib, lambda offset: offset.half().float())


def offset_lost_in_product(lib: Library) -> None:
    def change(original: Any, *args: Any, absmax_offset: Any = None, **options: Any) -> Any:
        lost = None if absmax_offset is None else lib.torch.zeros_like(absmax_offset)
        return original(*args, absmax_offset=lost, **options)

    lib.around("op:gemm_4bit", change)


def encoded_in_blocks_of_255(lib: Library) -> None:
    def change(original: Any, values: Any, code: Any, blocksize: int) -> Any:
        if blocksize != BLOCK or values.numel() < BLOCK:
            return original(values, code, blocksize)
        codes = values.new_empty(values.shape, dtype=lib.torch.uint8)
        scales = []
        for start in range(0, values.numel(), BLOCK - 1):
            part = slice(start, start + BLOCK - 1)
            codes[part], scale = original(values[part].contiguous(), code, BLOCK)
            scales.append(scale)
        return codes, lib.torch.cat(scales)[: -(-values.numel() // BLOCK)]

    lib.around(ENCODE, change)


def decoded_in_blocks_of_255(lib: Library) -> None:
    def change(  # noqa: PLR0917 - the operator's arguments
        original: Any, codes: Any, scales: Any, code: Any, blocksize: int, dtype: Any
    ) -> Any:
        if blocksize != BLOCK:
            return original(codes, scales, code, blocksize, dtype)
        block = (lib.torch.arange(codes.numel()) // (BLOCK - 1)).clamp(max=scales.numel() - 1)
        return (code[codes.reshape(-1).long()] * scales[block]).reshape(codes.shape).to(dtype)

    lib.around(DECODE, change)


def codes_truncated(lib: Library) -> None:
    def change(result: Any, values: Any, code: Any, blocksize: int) -> Any:
        codes, scales = result
        wanted = values.float() / by_element(scales, blocksize, values.numel()).reshape(values.shape)
        above = (code[codes.long()] > wanted) & (codes > 0)
        return codes - above.to(codes.dtype), scales

    lib.after(ENCODE, change)


def code_entry(lib: Library) -> None:
    def change(decoded: Any, codes: Any, *_: Any) -> Any:
        mine = (codes >= 64) & (codes < 80)  # noqa: PLR2004 - a row of the table
        return lib.torch.where(mine, scaled(decoded, lib.size), decoded)

    lib.after(DECODE, change)


def table_entry(lib: Library) -> None:
    def change(quantized: Any, *_: Any, **__: Any) -> Any:
        state = quantized[1]
        state.code = state.code.clone()
        state.code[64:80] = scaled(state.code[64:80], lib.size)
        lib.acted()
        return quantized

    lib.after("functional:quantize_blockwise", change)


def scale_factor(lib: Library) -> None:
    lib.after(DECODE, lambda decoded, *_: scaled(decoded, lib.size))


def last_scale(lib: Library) -> None:
    def change(original: Any, codes: Any, scales: Any, *rest: Any) -> Any:
        wrong = scales.clone()
        wrong[-1] = scales[0]
        return original(codes, wrong, *rest)

    lib.around(DECODE, change)


def encoded_scale_factor(lib: Library) -> None:
    lib.after(ENCODE, lambda result, *_: (result[0], scaled(result[1], lib.size)))


def _scales(config: Any) -> float:
    return float(config.in_features * config.out_features / config.blocksize)


fault = partial(Fault, area="nested", stage=Stage.ENCODE, cases="linear4bit-*-train", where=lambda c: c.nested)


def many(config: Any) -> bool:
    """Double-quantized in more than one block of scales."""
    return bool(config.nested and _scales(config) > BLOCK)


FAULTS = (
    fault(name="nested-offset-lost", what="The stored offset of the scales is zero.", plant=offset_lost),
    fault(name="nested-offset-float16", what="The offset is rounded to float16.", plant=offset_in_float16),
    fault(
        name="nested-offset-lost-in-product",
        what="The product adds no offset to the scales.",
        plant=offset_lost_in_product,
        stage=Stage.COMPUTE,
    ),
    fault(
        name="nested-encode-255",
        what="Scales are encoded in blocks of 255.",
        plant=encoded_in_blocks_of_255,
        where=many,
    ),
    fault(
        name="nested-decode-255",
        what="Scales are decoded in blocks of 255.",
        plant=decoded_in_blocks_of_255,
        stage=Stage.DECODE,
        where=many,
    ),
    fault(name="nested-codes-truncated", what="Scales take the code below them.", plant=codes_truncated),
    fault(
        name="nested-encoded-factor",
        what="The scales of the scales are stored larger by the relative size.",
        plant=encoded_scale_factor,
        sizes=(1e-2, 1e-4, 1e-6),
    ),
    fault(
        name="nested-code-entry",
        what="One row of the 8-bit code table is larger by the relative size.",
        plant=code_entry,
        sizes=(1e-1, 1e-3, 1e-5),
        stage=Stage.DECODE,
    ),
    fault(
        name="nested-table-entry",
        what="One row of the 8-bit code table is stored larger by the relative size.",
        plant=table_entry,
        sizes=(1e-1, 1e-3, 1e-5),
        added_later=True,
    ),
    fault(
        name="nested-decoded-factor",
        what="Decoded scales, less the offset, are larger by the relative size.",
        plant=scale_factor,
        sizes=(1e-2, 1e-4, 1e-6),
        stage=Stage.DECODE,
    ),
    fault(
        name="nested-last-block",
        what="The last block of scales is decoded with the scale of the first.",
        plant=last_scale,
        stage=Stage.DECODE,
        where=many,
    ),
)
