"""What explains an error: a lower precision that comes nearer, and structure that rounding does not leave."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from accuracy import errors, structure, tally
from accuracy.comparison import Comparison, Model
from accuracy.errors import Errors
from accuracy.structure import NONE, Structure


def columns(comparison: Comparison, actual: Tensor, found: Errors, ratio: float) -> dict[str, object]:
    """The lower precision that comes nearest, if one was tried, and the structured residual of the models that hold.

    A kernel of lower precision may stay within the bound of the precision asked for, and still leave the
    structure of its rounded operands, and one that adds to a bias what was rounded already leaves that of the bias;
    against its own model it must be free of it. So of the models that hold the one with the least structure counts;
    where none holds, that of the precision asked for. `actual` is float64, `found` its errors against the precision
    asked for, and `ratio` what counts of these.
    """
    least_effect = comparison.least_effect
    if least_effect is None and comparison.lower is None:
        return {}
    held = [_structure(found, comparison.model, least_effect)] if ratio <= 1 else []
    tried: list[tuple[float, str]] = []
    if not _settled(held, comparison.quiet):
        for name, model in _others(comparison, holds=bool(held)):
            other = errors.against(actual, model, comparison.dtype)
            if name:
                tried.append((other.ratio, name))
            if other.ratio <= 1:
                held.append(_structure(other, model, least_effect))
            if _settled(held, comparison.quiet):
                break
    # Looked for where it counts alone: of a model that does not hold it takes as long as of one that does.
    least = min(held or [_structure(found, comparison.model, least_effect)], key=lambda structure: abs(structure.z))
    told = {"structure_z": abs(least.z), "structure_effect": least.effect, "structure_at": least.at}
    return told | (dict(zip(("lower_ratio", "lower"), min(tried), strict=True)) if tried else {})


def _others(comparison: Comparison, *, holds: bool) -> Iterator[tuple[str, Model]]:
    """The other models to try, made one by one: where that of the precision asked for holds, that of a late sum first.

    A lower precision comes with its name.
    """
    if holds and comparison.late is not None:
        yield "", comparison.late()
    if comparison.lower is not None:
        yield from comparison.lower()


def _settled(found: Sequence[Structure], quiet: float) -> bool:
    """Whether a model that holds leaves so little structure that no other can tell more."""
    return any(abs(each.z) <= quiet for each in found)


def _structure(found: Errors, model: Model, least_effect: float | None) -> Structure:
    """The strongest structured residual against one model; none where the test does not apply."""
    inner = structure.LEAST_INNER if model.factors is None else model.factors[0].shape[1]
    if least_effect is None or inner < structure.LEAST_INNER:
        return NONE
    actual, expected = map(tally.array, found.parts[:2])
    columns = expected.shape[-1] if expected.ndim else 1
    actual, expected = actual.reshape(-1, columns), expected.reshape(-1, columns)
    if found.places is not None or model.certain is not None:
        counts = np.isfinite(actual) & np.isfinite(expected)
        if model.certain is not None:
            counts &= model.certain.numpy().reshape(-1, columns)
        actual, expected = (np.where(counts, each, 0.0) for each in (actual, expected))
    return structure.strongest(actual - expected, expected, model.factors, least_effect)
