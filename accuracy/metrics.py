"""Error metrics: pure functions of (actual, expected) in float64. None of them passes or fails anything.

Special values are classified before anything is subtracted; every error metric speaks of the
elements that are finite on both sides, and is NaN where there are none.
"""

import json
import math

import torch
from torch import Tensor

from accuracy import fingerprint, histogram, structure
from accuracy.comparison import Comparison, Model
from accuracy.oracles.rounding import overflow_threshold, ulp

WORST = 8
"""How many of the worst elements a row keeps, with their index."""

FINITE, POSITIVE_INFINITY, NEGATIVE_INFINITY, NOT_A_NUMBER = range(4)


def relative_frobenius(error: Tensor, expected: Tensor) -> float:
    """‖error‖_F / ‖expected‖_F. Exact agreement is 0, any error on a zero signal is +inf."""
    noise, signal = error.norm().item(), expected.norm().item()
    if noise == 0:
        return 0.0
    return noise / signal if signal else math.inf


def sqnr_db(error: Tensor, expected: Tensor) -> float:
    """Signal-to-quantization-noise ratio, -20·log10 of the relative Frobenius error. Exact agreement is +inf."""
    relative = relative_frobenius(error, expected)
    if relative == 0:
        return math.inf
    return -20 * math.log10(relative) if math.isfinite(relative) else -math.inf


def safe_relative(error: Tensor, expected: Tensor, scale: Tensor) -> Tensor:
    """|error| / max(|expected|, scale), elementwise; 0 where the error is 0.

    `scale` is the size below which |expected| is rounding noise, so cancellation does not blow it up.
    """
    magnitude = error.abs()
    return torch.where(magnitude == 0, 0.0, magnitude / torch.maximum(expected.abs(), scale))


def bound_ratio(error: Tensor, bound: Tensor) -> Tensor:
    """|error| / bound, elementwise: 0 where the error is 0, +inf where an exact value was missed."""
    magnitude = error.abs()
    return torch.where(magnitude == 0, 0.0, magnitude / bound)


def ulp_error(error: Tensor, expected: Tensor, dtype: torch.dtype) -> Tensor:
    """|error| in units of the spacing of `dtype` at `expected`, elementwise."""
    return error.abs() / ulp(expected, dtype)


def backward_error(error: Tensor, scale: Tensor) -> float:
    """Componentwise backward error κ = max |error| / (u·Σ|x||w|) (Oettli and Prager 1964); 0/0 is 0."""
    return bound_ratio(error, scale).max().item() if error.numel() else math.nan


def slope(error: Tensor, expected: Tensor) -> tuple[float, float]:
    """β = Σe·y / Σy² and its z = Σe·y / √Σ(e·y)²: a common relative scale fault, and how sure it is.

    Both are 0 where there is no error or no signal.
    """
    product = error * expected
    energy, spread = expected.square().sum().item(), product.square().sum().sqrt().item()
    if energy == 0 or spread == 0:
        return 0.0, 0.0
    return product.sum().item() / energy, product.sum().item() / spread


def mean_z(error: Tensor) -> float:
    """Σe / √Σe²: N(0, 1) for independent symmetric errors, large under truncation or a bias fault."""
    spread = error.square().sum().sqrt().item()
    return error.sum().item() / spread if spread else 0.0


def classify(values: Tensor) -> Tensor:
    """FINITE, POSITIVE_INFINITY, NEGATIVE_INFINITY or NOT_A_NUMBER for each element."""
    classes = torch.full(values.shape, FINITE, dtype=torch.int64)
    classes[values == math.inf] = POSITIVE_INFINITY
    classes[values == -math.inf] = NEGATIVE_INFINITY
    classes[values.isnan()] = NOT_A_NUMBER
    return classes


def special_mismatches(actual: Tensor, model: Model, dtype: torch.dtype) -> Tensor:
    """Whether each element has the wrong class: finite, +Inf, -Inf or NaN.

    The value before it is rounded lies within `bound` of `expected`. An infinity is right where that
    interval reaches the overflow threshold of its sign, of `dtype` or the model's own, and a finite value
    where it does not lie beyond one.
    """
    seen, wanted = classify(actual), classify(model.expected)
    threshold = min(overflow_threshold(dtype), model.overflow)
    bound = model.bound.nan_to_num(nan=0.0, posinf=math.inf)
    lowest, highest = model.expected - bound, model.expected + bound
    allowed = (
        ((seen == POSITIVE_INFINITY) & (highest >= threshold))
        | ((seen == NEGATIVE_INFINITY) & (lowest <= -threshold))
        | ((seen == FINITE) & (lowest < threshold) & (highest > -threshold))
    )
    return ~torch.where(wanted == FINITE, allowed, seen == wanted)


def describe(comparison: Comparison) -> dict[str, object]:
    """Every metric of one comparison, by the column of `Observation` that holds it.

    A wrong shape or a wrong special value makes `ratio` infinite: no bound allows for it. Zero
    elements leave `ratio` NaN, which never passes.
    """
    model, actual = comparison.model, comparison.actual.double()
    if actual.shape != model.expected.shape:
        return {
            "count": model.expected.numel(),
            "ratio": math.inf,
            "basis": comparison.basis,
            "digest": fingerprint.digest(comparison.actual),
            "observed": f"shape {tuple(actual.shape)}, expected {tuple(model.expected.shape)}",
        }
    wrong = special_mismatches(actual, model, comparison.dtype)
    both = actual.isfinite() & model.expected.isfinite()
    error = (actual - model.expected)[both]
    ratios = bound_ratio(error, model.bound[both])
    columns = _statistics(error, model.expected[both], model.scale[both], ratios, comparison.dtype)
    columns["count"] = actual.numel()
    columns["basis"] = comparison.basis
    columns["special_mismatch"] = int(wrong.sum().item())
    columns["theory_z"] = comparison.theory_z
    columns["digest"] = fingerprint.digest(comparison.actual)
    columns["sample_values"] = fingerprint.sample(actual)
    columns["sample_bounds"] = fingerprint.sample(model.bound)
    if wrong.any():
        columns["ratio"] = math.inf
        columns["observed"] = _class_reason(actual, model, wrong)
    elif actual.numel() and not both.any():
        columns["ratio"] = 0.0
    columns |= _worst(comparison, both, wrong)
    models, lower = _lower_precision(comparison, columns["ratio"])
    columns |= lower
    columns |= _structure(comparison, models)
    columns |= _decomposition(comparison, actual, both)
    return columns


def _statistics(
    error: Tensor, expected: Tensor, scale: Tensor, ratios: Tensor, dtype: torch.dtype
) -> dict[str, object]:
    if error.numel() == 0:
        return {"ratio": math.nan}
    relative = safe_relative(error, expected, scale)
    beta, z = slope(error, expected)
    abs_bins, abs_counts = histogram.count(error.abs().numpy())
    ratio_bins, ratio_counts = histogram.count(ratios.numpy())
    rel_bins, rel_counts = histogram.count(relative.numpy())
    return {
        "abs_mean": error.abs().mean().item(),
        "abs_p50": histogram.quantile(abs_bins, abs_counts, 0.5),
        "abs_p99": histogram.quantile(abs_bins, abs_counts, 0.99),
        "abs_max": error.abs().max().item(),
        "rel_p50": histogram.quantile(rel_bins, rel_counts, 0.5),
        "rel_p99": histogram.quantile(rel_bins, rel_counts, 0.99),
        "rel_max": relative.max().item(),
        "rel_fro": relative_frobenius(error, expected),
        "sqnr_db": sqnr_db(error, expected),
        "ulp_max": ulp_error(error, expected, dtype).max().item(),
        "kappa": backward_error(error, scale),
        "slope": beta,
        "slope_z": z,
        "mean_z": mean_z(error),
        "ratio": ratios.max().item(),
        "abs_bins": abs_bins.tolist(),
        "abs_counts": abs_counts.tolist(),
        "ratio_bins": ratio_bins.tolist(),
        "ratio_counts": ratio_counts.tolist(),
    }


def _worst(comparison: Comparison, both: Tensor, wrong: Tensor) -> dict[str, object]:
    """The worst elements, wrong specials first, with index, values and limit; and the limit at the very worst."""
    model, actual = comparison.model, comparison.actual.double()
    ratios = torch.where(both, bound_ratio(actual - model.expected, model.bound), 0.0)
    ratios = torch.where(wrong, math.inf, ratios).reshape(-1)
    if ratios.numel() == 0:
        return {}
    top = torch.topk(ratios, min(WORST, ratios.numel())).indices
    rows = [
        {
            "index": [int(i) for i in torch.unravel_index(position, actual.shape)],
            "actual": repr(actual.reshape(-1)[position].item()),
            "expected": repr(model.expected.reshape(-1)[position].item()),
            "limit": repr(model.bound.reshape(-1)[position].item()),
            "ratio": repr(ratios[position].item()),
        }
        for position in top
    ]
    return {"worst": json.dumps(rows), "limit": model.bound.reshape(-1)[top[0]].item()}


def _class_reason(actual: Tensor, model: Model, wrong: Tensor) -> str:
    first = int(wrong.reshape(-1).nonzero()[0].item())
    seen, wanted = actual.reshape(-1)[first].item(), model.expected.reshape(-1)[first].item()
    return f"{int(wrong.sum().item())} of {actual.numel()} elements of the wrong class: {seen!r}, expected {wanted!r}"


def _lower_precision(comparison: Comparison, ratio: object) -> tuple[list[Model], dict[str, object]]:
    """The models that hold, and whether a lower precision than the one asked for explains an exceeded bound.

    The model of the precision asked for is the only one where none holds.
    """
    if comparison.lower is None or not isinstance(ratio, float):
        return [comparison.model], {}
    name, model = comparison.lower()
    actual = comparison.actual.double()
    if special_mismatches(actual, model, comparison.dtype).any():
        return [comparison.model], {"lower": name, "lower_ratio": math.inf}
    both = actual.isfinite() & model.expected.isfinite()
    ratios = bound_ratio((actual - model.expected)[both], model.bound[both])
    lower_ratio = ratios.max().item() if ratios.numel() else 0.0
    holding = [held for held, its in ((comparison.model, ratio), (model, lower_ratio)) if its <= 1]
    return holding or [comparison.model], {"lower": name, "lower_ratio": lower_ratio}


def _structure(comparison: Comparison, models: list[Model]) -> dict[str, object]:
    """Structured residuals against the models that hold; the one with the least of them counts.

    A kernel of lower precision may stay within the bound of the precision asked for, and still
    leave the structure of its rounded operands; against its own model it must be free of it.
    """
    inner = structure.LEAST_INNER if models[0].factors is None else models[0].factors[0].shape[1]
    if comparison.least_effect is None or inner < structure.LEAST_INNER:
        return {}
    found = min((_residual(comparison, model, comparison.least_effect) for model in models), key=lambda s: abs(s.z))
    return {"structure_z": abs(found.z), "structure_effect": found.effect, "structure_at": found.at}


def _residual(comparison: Comparison, model: Model, least_effect: float) -> structure.Structure:
    columns = model.expected.shape[-1] if model.expected.dim() else 1
    actual, expected = comparison.actual.double().reshape(-1, columns), model.expected.reshape(-1, columns)
    both = actual.isfinite() & expected.isfinite()
    if model.certain is not None:
        both &= model.certain.reshape(-1, columns)
    error = torch.where(both, actual - expected, 0.0)
    return structure.strongest(error, torch.where(both, expected, 0.0), model.factors, least_effect)


def _decomposition(comparison: Comparison, actual: Tensor, both: Tensor) -> dict[str, object]:
    """Norms of the total error and its two terms, and how far the terms are from adding up to the total.

    `identity_error` is max |total - (compute + quantization)| over the largest value that enters.
    """
    if comparison.oracle is None:
        return {}
    finite = both & comparison.oracle.isfinite()
    out, oracle, reference = actual[finite], comparison.oracle[finite], comparison.model.expected[finite]
    total, compute, quantization = out - reference, out - oracle, oracle - reference
    largest = torch.stack([out.abs(), oracle.abs(), reference.abs()]).max().item() if out.numel() else 0.0
    residual = (total - (compute + quantization)).abs().max().item() if out.numel() else 0.0
    return {
        "total_fro": total.norm().item(),
        "compute_fro": compute.norm().item(),
        "quantization_fro": quantization.norm().item(),
        "identity_error": residual / largest if largest else 0.0,
    }
