"""Where the library computes, and the arithmetic that several faults share. Tensors are torch's, seen as Any."""

from collections.abc import Callable
from typing import Any

from accuracy.selftest.library import Library

Change = Callable[[Any], Any]

FUNCTIONS = "autograd._functions"
BACKWARDS = tuple(f"{FUNCTIONS}:{name}.backward" for name in ("MatMul4Bit", "MatMul8bitFp", "MatMul8bitLt"))
GRAD_INPUT, GRAD_WEIGHT, GRAD_BIAS = 0, 1, 3
"""Positions of the gradients in what the backward passes return."""


def on_4bit_inputs(lib: Library, change: Change) -> None:
    """Changes the input of every 4-bit product."""
    for op in ("op:gemm_4bit", "op:gemv_4bit"):
        lib.around(op, lambda original, x, *rest, **options: original(change(x), *rest, **options))


def on_4bit_outputs(lib: Library, change: Change) -> None:
    """Changes what the 4-bit products return, before a packed kernel's bias is added."""
    lib.after("op:gemm_4bit", lambda out, *_, **__: change(out))
    lib.after("op:gemv_4bit", lambda out, *_, **__: change(out))


def on_int8_outputs(lib: Library, change: Change) -> None:
    """Changes what `Linear8bitLt` computes, in training and in inference."""
    lib.after(f"{FUNCTIONS}:MatMul8bitFp.forward", lambda out, *_, **__: change(out))
    lib.after(f"{FUNCTIONS}:MatMul8bitLt.forward", lambda out, *_, **__: change(out))


def on_outputs(lib: Library, change: Change) -> None:
    """Changes what every dense layer computes."""
    on_4bit_outputs(lib, change)
    on_int8_outputs(lib, change)


def on_gradient(lib: Library, position: int, change: Callable[[Any, Any, Any], Any]) -> None:
    """Replaces one gradient by `change(gradient, ctx, grad_output)` in every backward pass that has it."""

    def changed(gradients: Any, ctx: Any, grad_output: Any) -> Any:
        if gradients[position] is None:
            return gradients
        mine = change(gradients[position], ctx, grad_output)
        return (*gradients[:position], mine, *gradients[position + 1 :])

    for target in BACKWARDS:
        lib.after(target, changed)


def scaled(values: Any, size: float) -> Any:
    """values·(1 + size), rounded once to the dtype of `values`."""
    return (values.double() * (1 + size)).to(values.dtype)


def scaled_from(output: Any, row: int, size: float) -> Any:
    """The output with `scaled` rows from this one on, rows counted over all leading dimensions."""
    flat = output.clone().reshape(-1, output.shape[-1])
    flat[row:] = scaled(flat[row:], size)
    return flat.reshape(output.shape)


def codes_of(lib: Library, packed: Any) -> Any:
    """Packed bytes to 4-bit codes, two a byte, high half first; flat uint8."""
    flat = packed.contiguous().view(lib.torch.uint8).reshape(-1)
    return lib.torch.stack([flat >> 4, flat & 15], dim=-1).reshape(-1)


def packed_as(lib: Library, codes: Any, packed: Any) -> Any:
    """Codes packed in the form that `packed` has."""
    flat = (codes[::2] << 4) | codes[1::2]
    return flat.to(lib.torch.uint8).view(packed.dtype).reshape(packed.shape)


def by_element(scales: Any, blocksize: int, count: int) -> Any:
    """Block scales repeated for each of `count` elements."""
    return scales.repeat_interleave(blocksize)[:count]


def table(lib: Library, quant_type: str) -> Any:
    """The 16 values of a 4-bit format, in the order of its codes."""
    return lib.bnb.functional.get_4bit_type(quant_type, device="cpu")


def weight_of(  # noqa: PLR0917 - the arguments of the operator, in its order
    lib: Library,
    dtype: Any,
    B: Any,  # noqa: N803 - the operator's own name
    shapeB: Any,  # noqa: N803 - likewise
    absmax: Any,
    blocksize: int,
    quant_type: str,
    absmax_8bit: Any = None,
    absmax_code: Any = None,
    absmax_offset: Any = None,
) -> Any:
    """The weight that `gemm_4bit` multiplies by, decoded to `dtype`."""
    ops = lib.torch.ops.bitsandbytes
    if absmax_8bit is not None:
        decoded = ops.dequantize_blockwise.default(absmax_8bit, absmax, absmax_code, 256, lib.torch.float32)
        absmax = decoded + absmax_offset
    return ops.dequantize_4bit.default(B, absmax, blocksize, quant_type, shapeB, dtype)


def toward_zero(lib: Library, exact: Any, dtype: Any) -> Any:
    """`exact` (float64) cut, not rounded, to a 16-bit dtype."""
    rounded = exact.to(dtype)
    beyond = rounded.double().abs() > exact.abs()
    bits = rounded.view(lib.torch.int16)  # one less is the next magnitude down, for either sign
    return (bits - beyond.to(lib.torch.int16)).view(dtype)
