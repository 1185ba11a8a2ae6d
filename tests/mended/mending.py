"""What bitsandbytes 0.50.2 would compute on the CPU if the findings that a nightly shows were mended.

Each function mends the findings that it names (docs/findings.md), by the plainest route and with no
regard to speed. F25 to F27 stay: F26 and F27 are documented, and what F25 describes is how the
backward pass is defined here (docs/method.md); no check counts them as faults.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

MENDED_VERSION = "0.50.2"
LARGEST_CODE = 127
_KERNELS: Any = torch.library.Library("bitsandbytes", "IMPL")  # type: ignore[no-untyped-call]  # torch's; kept, as its kernels go with it


def mend(bitsandbytes: ModuleType) -> None:
    """Patches the library that has just been imported.

    Raises:
        RuntimeError: if it is not the version that these patches are for.
    """
    if bitsandbytes.__version__ != MENDED_VERSION:
        raise RuntimeError(f"these patches are for bitsandbytes {MENDED_VERSION}, this is {bitsandbytes.__version__}")
    bnb: Any = bitsandbytes
    kernels: dict[str, Callable[..., Any]] = {
        "dequantize_4bit": dequantize_4bit,
        "quantize_blockwise": quantize_blockwise,
        "int8_linear_matmul": int8_linear_matmul,
        "int8_mm_dequant": int8_mm_dequant,
        "int8_double_quant": int8_double_quant,
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Warning only once for all operators", category=UserWarning)
        for name, kernel in kernels.items():
            _KERNELS.impl(name, kernel, "CPU", allow_override=True)
    functional, modules = bnb.functional, bnb.nn.modules
    _replace(functional, "dequantize_4bit", _one_packed_element)
    _replace(functional, "quantize_4bit", _padded_storage)
    functional.QuantState.from_dict = classmethod(_loaded_in_float32(functional.QuantState.from_dict.__func__))
    _replace(functional, "int8_vectorwise_quant", _input_left_alone)
    _replace(bnb, "matmul", _int8_product)
    _replace(bnb, "matmul_4bit", _of_matrices)
    _replace(modules, "has_avx512bf16", lambda _: lambda: False)  # F02 to F09: the packed kernel and all it does
    _replace(modules.Params4bit, "to", _codes_are_no_numbers)
    _replace(modules.Linear4bit, "forward", _compute_dtype_of_this_call)
    _replace(modules.Linear8bitLt, "_load_from_state_dict", _scales_back_in_the_weight)


def _replace(owner: Any, name: str, mended: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, wraps(original)(mended(original)))


def _loaded_in_float32(original: Callable[..., Any]) -> Callable[..., Any]:
    """F38: the offset of double-quantized scales is a float32, whatever the default dtype is."""

    @wraps(original)
    def from_dict(cls: Any, *args: Any, **kwargs: Any) -> Any:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            return original(cls, *args, **kwargs)
        finally:
            torch.set_default_dtype(before)

    return from_dict


def dequantize_4bit(  # noqa: PLR0917 - the operator's signature
    packed: Tensor, absmax: Tensor, blocksize: int, quant_type: str, shape: Sequence[int], dtype: torch.dtype
) -> Tensor:
    """F01, F22: each weight by the scale of the block it lies in, of exactly the shape asked for."""
    from bitsandbytes.functional import get_4bit_type

    table: Tensor = get_4bit_type(quant_type, device="cpu")
    halves = packed.contiguous().view(torch.uint8).reshape(-1)
    codes = torch.stack([halves >> 4, halves & 0xF], dim=1).reshape(-1)[: torch.Size(shape).numel()]
    scales = absmax.float().reshape(-1).repeat_interleave(blocksize)[: codes.numel()]
    return (table[codes.long()] * scales).reshape(shape).to(dtype)


def quantize_blockwise(values: Tensor, code: Tensor, blocksize: int) -> tuple[Tensor, Tensor]:
    """F23: the nearest code, found in float64."""
    flat = values.float().reshape(-1)
    blocks = torch.nn.functional.pad(flat, (0, -flat.numel() % blocksize)).reshape(-1, blocksize)
    absmax = blocks.abs().amax(dim=1)
    scaled = (blocks.double() / absmax.double().unsqueeze(1)).reshape(-1)[: flat.numel()].nan_to_num(0.0)
    table = code.double()
    return torch.bucketize(scaled, (table[1:] + table[:-1]) / 2).to(torch.uint8).reshape(values.shape), absmax


def int8_linear_matmul(left: Tensor, right: Tensor) -> Tensor:
    """F15, F37: the product of codes; float64 holds it exactly for any number of input features, in autocast too."""
    return (left.double() @ right.double().T).to(torch.int32)


def int8_mm_dequant(
    product: Tensor, row_stats: Tensor, col_stats: Tensor, dtype: torch.dtype | None = None, bias: Tensor | None = None
) -> Tensor:
    """F10: codes times scales over 127², with the constant as it should be."""
    scales = row_stats.reshape(-1, 1) * col_stats.reshape(1, -1)
    output = product.reshape(-1, product.shape[-1]) * scales * (1.0 / LARGEST_CODE**2)
    return (output if bias is None else output + bias).to(dtype or torch.float16)


def int8_double_quant(values: Tensor, threshold: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """F11: codes of rows and of columns; the CPU has no such kernel."""
    from bitsandbytes.functional import int8_vectorwise_quant

    rows, row_stats, outliers = int8_vectorwise_quant(values, threshold)
    kept = values.masked_fill(values.abs() >= threshold, 0.0) if threshold > 0 else values
    columns, column_stats, _ = int8_vectorwise_quant(kept.T.contiguous())
    return rows, columns.T.contiguous(), row_stats, column_stats, outliers


def _one_packed_element(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """F21: a single storage element is no transposed weight."""

    def mended(packed: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        weight = original(packed, *args, **kwargs)
        return weight.T if packed.shape == (1, 1) else weight

    return mended


def _padded_storage(original: Callable[..., Any]) -> Callable[..., Any]:
    """F20: packed bytes are padded to whole storage elements."""

    def mended(values: Tensor, *args: Any, quant_storage: torch.dtype = torch.uint8, **kwargs: Any) -> Any:
        packed, state = original(values, *args, **kwargs)
        padding = -packed.numel() % quant_storage.itemsize
        flat = torch.nn.functional.pad(packed.reshape(-1), (0, padding))
        return flat.view(quant_storage).unsqueeze(1), state

    return mended


def _input_left_alone(original: Callable[..., Any]) -> Callable[..., Any]:
    """F17: outliers are taken out of a copy."""
    return lambda values, *args, **kwargs: original(values.clone(), *args, **kwargs)


def _of_matrices(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """F13, F14, F18, F40: inputs of every rank are matrices to the product and its gradients."""

    def mended(values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        output = original(values.reshape(values.shape[:-1].numel(), values.shape[-1]), *args, **kwargs)
        return output.reshape(*values.shape[:-1], output.shape[-1])

    return mended


def _int8_product(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """F12 to F14, F18, F40: as `_of_matrices`, and 16-bit weights are quantized in each forward pass."""
    matrices = _of_matrices(original)

    def mended(values: Tensor, weight: Tensor, *args: Any, state: Any, **kwargs: Any) -> Tensor:
        if state.has_fp16_weights:
            state.reset_grads()
        return matrices(values, weight, *args, state=state, **kwargs)

    return mended


def _codes_are_no_numbers(original: Callable[..., Any]) -> Callable[..., Any]:
    """F19: a quantized weight moves to another device, but its bytes are not converted."""

    def mended(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.bnb_quantized:
            return original(self, *args, **kwargs)
        device, _, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        return original(self, device=device or self.device, non_blocking=non_blocking)

    return mended


def _compute_dtype_of_this_call(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """F24: a compute dtype that was left to the layer is chosen anew in each call."""

    def mended(self: Any, x: Tensor) -> Tensor:
        chosen = self.compute_dtype, self.compute_type_is_set
        try:
            return original(self, x)
        finally:
            self.compute_dtype, self.compute_type_is_set = chosen

    return mended


def _scales_back_in_the_weight(original: Callable[..., None]) -> Callable[..., None]:
    """F16: codes and scales that the first forward pass took from the weight are there again to be loaded."""

    def mended(self: Any, *args: Any, **kwargs: Any) -> None:
        if not self.state.has_fp16_weights and self.weight.SCB is None and self.state.SCB is not None:
            self.weight.CB, self.weight.SCB = self.state.CB, self.state.SCB
            self.state.reset_grads()
        original(self, *args, **kwargs)

    return mended
