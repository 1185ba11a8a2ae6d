"""Errors that a worker makes larger by a known factor, from outside: what a comparison of releases has to see."""

import copy
import math
from typing import Any, Final

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import by_element, codes_of, packed_as, table
from accuracy.selftest.library import Library

QUANTIZE: Final = "op:quantize_4bit"


def boundaries(lib: Library) -> None:
    """Codes chosen at boundaries that lie a share f of their gap too high.

    An error that was uniform in ±g/2 lies in [-(1/2 + f)g, (1/2 - f)g]; its square has the mean g²/12 + f²g², so
    that f = √((1.05² - 1)/12) makes the root of it 5 % larger.
    """
    share = math.sqrt((1.05**2 - 1) / 12)

    def change(result: Any, weight: Any, blocksize: int, quant_type: str, *_: Any) -> Any:
        torch = lib.torch
        flat = weight.reshape(-1).double()
        scales = by_element(result[1].double(), blocksize, flat.numel())
        values, order = table(lib, quant_type).double().sort()
        limits = (values[1:] + values[:-1]) / 2 + share * values.diff()
        chosen = order[torch.bucketize((flat / scales).nan_to_num(), limits)]
        codes = codes_of(lib, result[0]).clone()
        codes[: flat.numel()] = chosen.to(codes.dtype)
        return packed_as(lib, codes, result[0]), result[1]

    lib.after(QUANTIZE, change)


def scales(lib: Library) -> None:
    """Every scale of a weight too large by the one d that makes the norm of its quantization error 5 % larger.

    With the error e = ŵ - w that is |e + d·ŵ|² = 1.05²·|e|², a quadratic equation.
    """

    def change(result: Any, weight: Any, blocksize: int, quant_type: str, *_: Any) -> Any:
        flat = weight.reshape(-1).double()
        codes = codes_of(lib, result[0])[: flat.numel()].long()
        decoded = table(lib, quant_type).double()[codes] * by_element(result[1].double(), blocksize, flat.numel())
        error = decoded - flat
        square, cross, gap = decoded @ decoded, decoded @ error, (1.05**2 - 1) * (error @ error)
        if not square > 0:
            return result
        larger = (-cross + (cross * cross + square * gap).sqrt()) / square
        return result[0], (result[1].double() * (1 + larger)).to(result[1].dtype)

    lib.after(QUANTIZE, change)


def kernel(lib: Library) -> None:
    """Outputs of a dense 4-bit layer twice as far from the float64 product y* of its operands.

    That is 2y - y*, if the error is larger than what the last rounding makes of it. Where that rounding is all of the
    error, as it is in 16 bits, y* rounded to one bit less.
    """

    def change(out: Any, layer: Any, x: Any) -> Any:
        torch = lib.torch
        state, dtype = copy.copy(layer.weight.quant_state), layer.compute_dtype or x.dtype
        state.dtype = dtype  # the forward pass decodes straight to the dtype that it computes in
        weight = lib.bnb.functional.dequantize_4bit(layer.weight.data, state).reshape(state.shape)
        exact = x.detach().to(dtype).double() @ weight.double().T
        if layer.bias is not None:
            exact = exact + layer.bias.detach().to(dtype).double()
        if torch.finfo(dtype).eps > torch.finfo(out.dtype).eps or out.dtype == torch.float32:
            twice = 2 * out.detach().double() - exact
        else:
            mantissa, exponent = torch.frexp(exact)
            steps = 1 / torch.finfo(out.dtype).eps
            twice = torch.ldexp((mantissa * steps).round() / steps, exponent)
        return out + (twice.to(out.dtype) - out).detach()

    lib.after("nn.modules:Linear4bit.forward", change)


SHIFTS: Final = (
    Fault(
        name="boundaries",
        area="encode",
        what="boundaries between codes too high, so that the quantization error is 5 % larger",
        stage=Stage.QUANTIZATION,
        cases="linear4bit-*",
        plant=boundaries,
    ),
    Fault(
        name="scales",
        area="scales",
        what="scales too large, so that the quantization error is 5 % larger",
        stage=Stage.QUANTIZATION,
        cases="linear4bit-*",
        plant=scales,
    ),
    Fault(
        name="kernel",
        area="compute",
        what="outputs twice as far from the float64 product",
        stage=Stage.COMPUTE,
        cases="linear4bit-*",
        plant=kernel,
    ),
)
"""What `accuracy.selftest.plant` puts into the library, one of them awake."""
