"""Comparisons that every dense layer shares: output and gradients against the product of the decoded weight."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from accuracy.case import Stage
from accuracy.checks.setting import Setting, compute_dtype, once, torch_dtype
from accuracy.comparison import Comparison, Model
from accuracy.oracles import linear
from accuracy.oracles.matmul import times_transposed
from accuracy.oracles.rounding import UNIT_ROUNDOFF, rounded
from accuracy.roundoff import gamma


def forward(setting: Setting, weight: Tensor) -> Model:
    """The output that `weight` (float64, as decoded in the compute dtype) gives, and its error bound.

    A block with an infinite scale decodes to NaN and infinities; which of them a product gives depends
    on whether the kernel scales before or after it sums, and both are right.
    """
    return either_nonfinite(expected_output(setting, weight), weight, setting.parts["output"])


def expected_output(setting: Setting, weight: Tensor) -> Model:
    """x·Wᵀ + b in float64 from operands rounded to the compute dtype, and the bound of its error."""
    compute = compute_dtype(setting.config)
    exact = linear.affine(
        operand(setting, "x"),
        weight,
        None if setting.inputs.bias is None else linear.operand(setting.inputs.bias, compute),
    )
    return linear.accumulated(exact, compute, torch_dtype(setting.config.dtype), setting.bounds.confidence)


def late_bias(setting: Setting, model: Model) -> Callable[[], Model] | None:
    """`model`, that of an output, where the bias is added to a product that was rounded to the compute dtype.

    None without a bias, or with products in float32, the accumulator's own dtype. Which of both orders it is depends
    on how torch multiplies there; the bound of `accumulated` grants both roundings, and where the error of adding is
    part of what is expected, it grants that as well.
    """
    compute = compute_dtype(setting.config)
    if setting.inputs.bias is None or compute == linear.ACCUMULATOR:
        return None
    bias = linear.operand(setting.inputs.bias, compute)

    def late() -> Model:
        added = error_of_adding(bias, rounded(model.expected - bias, compute), compute)
        return replace(model, expected=model.expected + added, bound=model.bound + added.abs())

    return late


def error_of_adding(bias: Tensor, product: Tensor, dtype: torch.dtype) -> Tensor:
    """fl(p + b) - (p + b) of a product that is already rounded to `dtype`.

    Such products are multiples of one ulp, so the error depends on the bias alone as long as their binade
    does not change: a whole column may have the same. It belongs to the model, as a residual test takes
    errors for independent.
    """
    total = product + bias
    return (rounded(total, dtype) - total).nan_to_num(0.0, 0.0, 0.0)


@once
def operand(setting: Setting, name: str) -> Tensor:
    """The input or the gradient of the output, by its name among the inputs, as products see it: float64."""
    return linear.operand(getattr(setting.inputs, name), compute_dtype(setting.config))


def either_nonfinite(model: Model, weight: Tensor, actual: Tensor) -> Model:
    """`model` with NaN and infinities taken for each other, if `weight` is not finite; `actual` decides which."""
    if weight.isfinite().all() or actual.shape != model.expected.shape:
        return model
    either = ~model.expected.isfinite() & ~actual.isfinite()
    return replace(model, expected=torch.where(either, actual.double(), model.expected))


def backward_input(setting: Setting, weight: Tensor) -> Model:
    """The gradient of the input that `weight` (float64, as decoded for the backward pass) gives."""
    compute = compute_dtype(setting.config)
    exact = linear.affine(operand(setting, "grad_output"), weight.T, None)
    return linear.accumulated(exact, compute, torch_dtype(setting.config.dtype), setting.bounds.confidence)


def bias_gradient(setting: Setting) -> Iterator[Comparison]:
    """Gradient of the bias against the float64 sum of the output's gradient."""
    if not setting.has("grad_bias"):
        return
    compute = compute_dtype(setting.config)
    actual = setting.parts["grad_bias"]
    yield Comparison(
        stage=Stage.COMPUTE,
        quantity="grad_bias",
        actual=actual,
        dtype=actual.dtype,
        model=linear.column_sums(operand(setting, "grad_output"), compute, actual.dtype),
        basis="accumulation",
    )


def against_reference(
    setting: Setting, quantity: str, model: Model, weight: Tensor, weight_error: Tensor
) -> Comparison:
    """Output or input gradient against the fp32 layer that the quantized one replaces.

    `model` is the compute stage's; `weight` float64 [N, K] the original weight and `weight_error` a
    bound of |decoded - original|. By the triangle inequality the decoded weight may move the result
    by |x|·weight_error, and rounding the operands by |x - x_c||W| + |b - b_c|; the reference itself is off by
    γ(|x||W| + |b|). Where the arithmetic overflows on the way, its infinity is what has to be met.
    """
    inputs, compute = setting.inputs, compute_dtype(setting.config)
    forwards = quantity == "output"
    name = "x" if forwards else "grad_output"
    given, seen = getattr(inputs, name), operand(setting, name)
    bias = inputs.bias if forwards else None
    matrix, error = (weight, weight_error) if forwards else (weight.T, weight_error.T)
    reference = linear.reference(given, matrix, bias)
    growth = gamma(given.shape[-1] + 1, UNIT_ROUNDOFF[torch.float32])
    sizes = matrix.abs()
    # Where nothing was rounded, and 0·|W| is 0, both products are one.
    unrounded = given.dtype == compute or torch.equal(seen, given.double())
    moved = linear.at_least(seen, torch.add(error, sizes, alpha=growth)) if unrounded else None
    if moved is None or not all_finite(moved):
        values = given.double()
        moved = times_transposed(seen.abs(), error)
        moved += times_transposed((values - seen).abs() + growth * values.abs(), sizes)
    if bias is not None:
        wide = bias.double()
        moved += (wide - linear.operand(bias, compute)).abs() + growth * wide.abs()
    actual = setting.parts[quantity]
    exact = model.expected
    expected = reference if all_finite(exact) else torch.where(exact.isinf(), exact, reference)
    return Comparison(
        stage=Stage.QUANTIZATION,
        quantity=quantity,
        actual=actual,
        dtype=actual.dtype,
        model=Model(expected=expected, bound=moved.add_(model.bound), scale=model.scale, overflow=model.overflow),
        basis="propagated",
        oracle=exact,
    )


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite; no as well where they are so large that their sum is."""
    return math.isfinite(values.sum())
