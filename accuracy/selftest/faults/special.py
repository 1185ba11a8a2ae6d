"""Faults of the values that are not ordinary numbers: NaN, infinities, subnormals, negative zero, overflow."""

from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import GRAD_INPUT, on_gradient, on_outputs
from accuracy.selftest.library import Library


def nan_to_zero(lib: Library) -> None:
    on_outputs(lib, lambda out: lib.torch.where(out.isnan(), 0, out))


def infinity_to_largest(lib: Library) -> None:
    on_outputs(lib, lambda out: out.nan_to_num(nan=float("nan")))


def infinity_to_nan(lib: Library) -> None:
    on_outputs(lib, lambda out: lib.torch.where(out.isinf(), float("nan"), out))


def subnormals_flushed(lib: Library) -> None:
    on_outputs(lib, lambda out: lib.torch.where(out.abs() < lib.torch.finfo(out.dtype).tiny, 0 * out, out))


def negative_zero(lib: Library) -> None:
    on_outputs(lib, lambda out: lib.torch.where(out == 0, -lib.torch.zeros_like(out), out))


def overflows_early(lib: Library) -> None:
    def change(out: Any) -> Any:
        largest = lib.torch.finfo(out.dtype).max
        return lib.torch.where(out.abs() > largest / 2, out * float("inf"), out)

    on_outputs(lib, change)


def gradient_nan_to_zero(lib: Library) -> None:
    on_gradient(lib, GRAD_INPUT, lambda gradient, *_: gradient.nan_to_num(nan=0.0))


def weight_nan_to_zero(lib: Library) -> None:
    lib.around("op:quantize_4bit", lambda original, weight, *rest: original(weight.nan_to_num(nan=0.0), *rest))


ORDINARY = ("normal", "uniform", "heavy_tailed", "outlier_columns", "constant", "all_positive")


def _extraordinary(config: Any) -> bool:
    """Whether weight, input or gradient is drawn so that values that are not ordinary numbers can arise."""
    return any(getattr(config, name, "normal") not in ORDINARY for name in ("weight", "activation", "gradient"))


fault = partial(Fault, area="special", stage=Stage.COMPUTE, cases="linear*", where=_extraordinary)

FAULTS = (
    fault(name="special-nan-to-zero", what="A NaN in the output becomes zero.", plant=nan_to_zero),
    fault(
        name="special-infinity-to-largest",
        what="An infinity in the output becomes the largest finite number.",
        plant=infinity_to_largest,
    ),
    fault(name="special-infinity-to-nan", what="An infinity in the output becomes NaN.", plant=infinity_to_nan),
    fault(
        name="special-subnormals",
        what="Subnormal outputs become zero.",
        plant=subnormals_flushed,
        where=lambda c: not c.bias and bool({c.weight, c.activation} & {"tiny_scale", "subnormal"}),
    ),
    fault(name="special-negative-zero", what="An output of zero becomes negative zero.", plant=negative_zero),
    fault(
        name="special-overflows-early",
        what="Outputs above half of the largest number become infinite.",
        plant=overflows_early,
        where=lambda c: c.dtype == "float16" and _extraordinary(c),
    ),
    fault(
        name="special-gradient-nan",
        what="A NaN or an infinity in the input's gradient becomes finite.",
        plant=gradient_nan_to_zero,
        cases="linear*-train",
    ),
    fault(
        name="special-weight-nan",
        what="A NaN in the weight is encoded as zero.",
        plant=weight_nan_to_zero,
        stage=Stage.ENCODE,
        cases="linear4bit-*",
    ),
)
