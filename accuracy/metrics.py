"""Error metrics of a comparison. None of them passes or fails anything.

Special values are classified before anything is subtracted; every error metric speaks of the
elements that are finite on both sides, and is NaN where there are none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor

from accuracy import decomposition, fingerprint, structure, tally
from accuracy.comparison import Comparison, Model
from accuracy.oracles.rounding import overflow_threshold
from accuracy.tally import Array, Tally


def relative_frobenius(told: Tally) -> float:
    """‖e‖_F / ‖y‖_F. Exact agreement is 0, any error on a zero signal is +inf."""
    if told.energy == 0:
        return 0.0
    return math.sqrt(told.energy / told.signal) if told.signal else math.inf


def sqnr_db(told: Tally) -> float:
    """Signal-to-quantization-noise ratio, -20·log10 of the relative Frobenius error. Exact agreement is +inf."""
    relative = relative_frobenius(told)
    if relative == 0:
        return math.inf
    return -20 * math.log10(relative) if math.isfinite(relative) else -math.inf


def slope(told: Tally) -> tuple[float, float]:
    """β = Σe·y / Σy² and its z = Σe·y / √Σ(e·y)²: a common relative scale fault, and how sure it is.

    Both are 0 where there is no error or no signal.
    """
    if told.signal == 0 or told.spread == 0:
        return 0.0, 0.0
    return told.cross / told.signal, told.cross / math.sqrt(told.spread)


def mean_z(told: Tally) -> float:
    """Σe / √Σe²: N(0, 1) for independent symmetric errors, large under truncation or a bias fault."""
    return told.total / math.sqrt(told.energy) if told.energy else 0.0


def of_the_wrong_class(seen: Array, expected: Array, bound: Array, threshold: float) -> NDArray[np.int64]:
    """Places of the elements that are finite, +Inf, -Inf or NaN where they should be something else.

    The value before it is rounded lies within `bound` of `expected`. An infinity is right where that interval
    reaches the overflow threshold of its sign, and a finite value where it does not lie beyond one. What is not
    finite where it is expected has to be met.
    """
    bound = np.nan_to_num(bound, nan=0.0, posinf=np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        odd = np.flatnonzero(~(np.isfinite(seen) & (np.abs(expected) - bound < threshold)))
        seen, expected, bound = seen[odd], expected[odd], bound[odd]
        overflowed = np.isinf(seen) & (np.sign(seen) * expected + bound >= threshold)
    met = (seen == expected) | (np.isnan(seen) & np.isnan(expected))
    return odd[~np.where(np.isfinite(expected), overflowed, met)]


@dataclass(frozen=True, kw_only=True)
class Errors:
    """A comparison, flat: values seen and expected, with bounds and scales, and the tally of what is finite.

    `places` says which elements are finite and `wrong` which are of the wrong class; both are None in the
    ordinary case that all is finite, as it should be. `told` is None if nothing is finite.
    """

    actual: Array
    expected: Array
    bound: Array
    told: Tally | None
    places: NDArray[np.int64] | None = None
    wrong: NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        """How many elements are finite on both sides."""
        return self.actual.size if self.places is None else self.places.size


def errors(actual: Tensor, model: Model, dtype: torch.dtype) -> Errors:
    """The errors of `actual`, float64 and of the model's shape, against it."""
    parts = [flat(part) for part in (actual, model.expected, model.bound, model.scale)]
    seen, expected, bound, _ = parts
    # Where all is finite and |expected| stays below the threshold, an end of every interval around it does, too.
    below = min(overflow_threshold(dtype), model.overflow)
    told = tally.of(*parts, below=below, dtype=dtype) if seen.size else None
    if told is not None:
        return Errors(actual=seen, expected=expected, bound=bound, told=told)
    wrong = of_the_wrong_class(seen, expected, bound, below)
    places = np.flatnonzero(np.isfinite(seen) & np.isfinite(expected))
    told = tally.of(*(part[places] for part in parts), below=math.inf, dtype=dtype) if places.size else None
    return Errors(actual=seen, expected=expected, bound=bound, told=told, places=places, wrong=wrong)


def flat(values: Tensor) -> NDArray[Any]:
    """The elements of a tensor on the CPU, in row-major order and without gaps."""
    elements: NDArray[Any] = values.numpy().ravel()
    return elements


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
    found = errors(actual, model, comparison.dtype)
    told = found.told
    columns: dict[str, object] = {
        "count": found.actual.size,
        "basis": comparison.basis,
        "theory_z": comparison.theory_z,
        "digest": fingerprint.digest(comparison.actual, without_nan=told is not None and found.places is None),
        "special_mismatch": 0 if found.wrong is None else found.wrong.size,
        "ratio": math.nan,
    }
    if comparison.paired:
        columns |= {
            "sample_values": fingerprint.sample(found.actual),
            "sample_bounds": fingerprint.sample(found.bound),
        }
    if told is not None:
        columns |= _statistics(told, found.count)
    if found.wrong is not None and found.wrong.size:
        columns["ratio"] = math.inf
        columns["observed"] = _class_reason(found, found.wrong)
    elif found.actual.size and told is None:
        columns["ratio"] = 0.0
    elif found.actual.size and comparison.outliers is not None:
        columns["ratio"] = ratio_beyond(found, actual.shape, comparison.outliers)
    columns |= _worst(found, actual.shape)
    if told is None or told.largest > 0:
        columns |= _explained(comparison, actual, columns["ratio"])
    if comparison.oracle is not None:
        columns |= decomposition.columns(found.actual, flat(comparison.oracle), found.expected)
    return columns


def _statistics(told: Tally, count: int) -> dict[str, object]:
    if told.largest == 0:
        return _AGREEMENT | {
            "abs_bins": told.errors[0],
            "abs_counts": told.errors[1],
            "ratio_bins": told.ratios[0],
            "ratio_counts": told.ratios[1],
        }
    beta, z = slope(told)
    abs_p50, abs_p99, rel_p50, rel_p99 = told.quantiles
    return {
        "abs_mean": told.magnitude / count,
        "abs_p50": abs_p50,
        "abs_p99": abs_p99,
        "abs_max": told.largest,
        "rel_p50": rel_p50,
        "rel_p99": rel_p99,
        "rel_max": told.relative,
        "rel_fro": relative_frobenius(told),
        "sqnr_db": sqnr_db(told),
        "ulp_max": told.ulps,
        "kappa": told.kappa,
        "slope": beta,
        "slope_z": z,
        "mean_z": mean_z(told),
        "ratio": told.ratio,
        "abs_bins": told.errors[0],
        "abs_counts": told.errors[1],
        "ratio_bins": told.ratios[0],
        "ratio_counts": told.ratios[1],
    }


_AGREEMENT: Final = dict.fromkeys(
    (
        *("abs_mean", "abs_p50", "abs_p99", "abs_max", "rel_p50", "rel_p99", "rel_max", "rel_fro"),
        *("ulp_max", "kappa", "slope", "slope_z", "mean_z", "ratio"),
    ),
    0.0,
) | {"sqnr_db": math.inf}
"""What `_statistics` come to where every element is as expected."""


def _worst(found: Errors, shape: torch.Size) -> dict[str, object]:
    """The worst elements as JSON, wrong specials first, with index, values and limit; and the limit at the very worst.

    That of the first element where there is no error.
    """
    if not found.actual.size:
        return {}
    pairs = list(found.told.worst) if found.told else []
    if found.places is not None:
        pairs = [(ratio, int(found.places[place])) for ratio, place in pairs]
    if found.wrong is not None:
        pairs = [(math.inf, int(place)) for place in found.wrong[: tally.KEPT]] + pairs
        pairs.sort(key=tally.by_rank)
    if not pairs:
        return {"worst": "[]", "limit": float(found.bound[0])}
    ratios, places = zip(*pairs[: tally.KEPT], strict=True)
    seen, expected, bound = (
        [part.item(place) for place in places] for part in (found.actual, found.expected, found.bound)
    )
    elements = [
        {"index": _index(place, shape), "actual": is_, "expected": wanted, "limit": limit, "ratio": ratio}
        for place, is_, wanted, limit, ratio in zip(places, seen, expected, bound, ratios, strict=True)
    ]
    if not math.isfinite(sum(map(sum, (seen, expected, bound, ratios)))):  # which JSON has no numbers for
        elements = [{name: _in_json(value) for name, value in element.items()} for element in elements]
    return {"worst": orjson.dumps(elements).decode(), "limit": bound[0]}


def _index(place: int, shape: torch.Size) -> list[int]:
    """The index of an element from its place in row-major order."""
    index = []
    for size in reversed(shape):
        place, along = divmod(place, size)
        index.append(along)
    return index[::-1]


def _in_json(value: object) -> object:
    """A number, or the word for what is infinite or NaN."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _class_reason(found: Errors, wrong: NDArray[np.int64]) -> str:
    seen, wanted = (part[wrong[0]].item() for part in (found.actual, found.expected))
    return f"{wrong.size} of {found.actual.size} elements of the wrong class: {seen!r}, expected {wanted!r}"


def _explained(comparison: Comparison, actual: Tensor, ratio: object) -> dict[str, object]:
    """The lower precision that comes nearest, if one was tried, and the structured residual of the models that hold.

    A kernel of lower precision may stay within the bound of the precision asked for, and still leave the
    structure of its rounded operands; against its own model it must be free of it. So of the models that hold
    the one with the least structure counts; where none holds, that of the precision asked for.
    """
    least_effect = comparison.least_effect
    found = []
    if isinstance(ratio, float) and ratio <= 1:
        found.append(_structure(actual, comparison.model, least_effect))
    tried: list[tuple[float, str]] = []
    if comparison.lower is not None and isinstance(ratio, float) and not _settled(found, comparison.quiet):
        for name, model in comparison.lower():
            tried.append((_worst_ratio(errors(actual, model, comparison.dtype)), name))
            if tried[-1][0] <= 1:
                found.append(_structure(actual, model, least_effect))
            if _settled(found, comparison.quiet):
                break
    least = min(found or [_structure(actual, comparison.model, least_effect)], key=lambda structure: abs(structure.z))
    columns = {"structure_z": abs(least.z), "structure_effect": least.effect, "structure_at": least.at}
    return columns | (dict(zip(("lower_ratio", "lower"), min(tried), strict=True)) if tried else {})


def _settled(found: Sequence[structure.Structure], quiet: float) -> bool:
    """Whether a model that holds leaves so little structure that no other can tell more."""
    return any(abs(each.z) <= quiet for each in found)


def _worst_ratio(found: Errors) -> float:
    """The worst error over the bound of a model; infinite where it predicts another special value."""
    if found.wrong is not None and found.wrong.size:
        return math.inf
    return found.told.ratio if found.told else 0.0


def ratio_beyond(found: Errors, shape: torch.Size, outliers: int) -> float:
    """The largest ratio once the `outliers` largest of each entry of the first dimension are left out.

    An entry that has no more elements than that has none left; a special value as it should be is no outlier.
    """
    told = found.told
    if told is not None and found.places is None:
        among = _beyond(told, found.actual.size // shape[0], outliers)
        if among is not None:
            return among
    finite = slice(None) if found.places is None else found.places
    ratios = np.zeros(found.actual.size)
    ratios[finite] = tally.quotients(np.abs(found.actual[finite] - found.expected[finite]), found.bound[finite])
    if np.isnan(ratios).any():
        return math.nan
    table = ratios.reshape(shape[0], -1)
    if table.shape[1] <= outliers:
        return 0.0
    # Sorted, not partitioned, which takes ten times as long where most are equal, as where most have no error; and
    # first the entry with the largest, since few others then have so many elements beyond that.
    least = np.sort(table[table.max(axis=1).argmax()])[-1 - outliers]
    others = np.count_nonzero(table > least, axis=1) > outliers
    return float(np.sort(table[others], axis=1)[:, -1 - outliers].max(initial=least))


def _beyond(told: Tally, size: int, outliers: int) -> float | None:
    """What `ratio_beyond` is, of entries of so many elements, told from the worst ones; None if these do not tell."""
    if math.isnan(told.ratio):
        return math.nan
    met: dict[int, int] = {}
    for ratio, place in told.worst:
        entry = place // size
        met[entry] = met.get(entry, 0) + 1
        if met[entry] > outliers:
            return ratio  # they are in order, and every element that is not there is smaller
    return 0.0 if len(told.worst) < tally.KEPT else None


def _structure(actual: Tensor, model: Model, least_effect: float | None) -> structure.Structure:
    """The strongest structured residual against one model; none where the test does not apply."""
    inner = structure.LEAST_INNER if model.factors is None else model.factors[0].shape[1]
    if least_effect is None or inner < structure.LEAST_INNER:
        return structure.Structure(z=0.0, effect=0.0, at="")
    return _residual(actual, model, least_effect)


def _residual(actual: Tensor, model: Model, least_effect: float) -> structure.Structure:
    columns = model.expected.shape[-1] if model.expected.dim() else 1
    actual, expected = actual.reshape(-1, columns), model.expected.reshape(-1, columns)
    error = actual - expected
    if model.certain is not None or not math.isfinite(error.sum()):
        both = actual.isfinite() & expected.isfinite()
        if model.certain is not None:
            both &= model.certain.reshape(-1, columns)
        error, expected = torch.where(both, error, 0.0), torch.where(both, expected, 0.0)
    return structure.strongest(error, expected, model.factors, least_effect)
