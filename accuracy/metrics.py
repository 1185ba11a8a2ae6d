"""What one comparison comes to, by the columns of an observation. Nothing here passes or fails anything.

Special values are classified before anything is subtracted; every error metric speaks of the
elements that are finite on both sides, and is NaN where there are none.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from accuracy import decomposition, errors, explanation, fingerprint, tally, totals
from accuracy.comparison import Comparison
from accuracy.errors import Errors
from accuracy.totals import Element


def describe(comparison: Comparison) -> dict[str, object]:
    """Every metric of one comparison, by the column of `Observation` that holds it.

    A wrong shape or a wrong special value makes `ratio` infinite: no bound allows for it. Zero
    elements leave `ratio` NaN, which never passes.
    """
    model, actual = comparison.model, comparison.actual.double()
    if actual.shape != model.expected.shape:
        return {
            "stage": comparison.stage.value,
            "quantity": comparison.quantity,
            "count": model.expected.numel(),
            "ratio": math.inf,
            "basis": comparison.basis,
            "digest": fingerprint.digest(comparison.actual),
            "observed": f"shape {tuple(actual.shape)}, expected {tuple(model.expected.shape)}",
        }
    found = errors.against(actual, model, comparison.dtype)
    columns: dict[str, Any] = found.told.columns if found.told is not None else {}
    columns |= {
        "stage": comparison.stage.value,
        "quantity": comparison.quantity,
        "count": actual.numel(),
        "basis": comparison.basis,
        "theory_z": comparison.theory_z,
        "digest": fingerprint.digest(comparison.actual, without_nan=found.places is None),
        "special_mismatch": 0 if found.wrong is None else found.wrong.size,
        "ratio": found.ratio,
    }
    if comparison.paired:
        columns["sample_values"], columns["sample_bounds"] = found.samples
    if found.wrong is not None and found.wrong.size:
        columns["observed"] = _class_reason(found, found.wrong)
    elif found.told is not None and comparison.outliers is not None:
        columns["ratio"] = errors.ratio_beyond(found, actual.shape[0], comparison.outliers)
    if actual.numel():
        columns |= _worst(found, actual.shape)
    if found.told is None or columns["abs_max"]:
        columns |= explanation.columns(comparison, actual, found, columns["ratio"])
    if comparison.oracle is not None:
        columns |= decomposition.columns(actual, comparison.oracle, model.expected)
    return columns


def _worst(found: Errors, shape: Sequence[int]) -> dict[str, object]:
    """The worst elements as JSON, those of the wrong class first, if there are any; and the limit of the very worst.

    That of the first element where there is no error. Where nothing is special, totals have told it.
    """
    elements = found.told.worst if found.told is not None else []
    columns: dict[str, object] = {}
    if found.wrong is not None and found.wrong.size:
        arrays = totals.arrays(found.parts)
        wrong = [totals.element(arrays, int(place), shape, math.inf) for place in found.wrong[: tally.KEPT]]
        elements = sorted([*wrong, *elements], key=_by_rank)[: tally.KEPT]
    if found.places is not None:
        columns["limit"] = elements[0]["limit"] if elements else tally.array(found.parts[2]).item(0)
    # Only where a ratio is not finite can something else be, which JSON has no numbers for.
    if not math.isfinite(found.ratio):
        elements = [{name: _in_json(value) for name, value in element.items()} for element in elements]
    return columns | ({"worst": orjson.dumps(elements).decode()} if elements else {})


def _by_rank(element: Element) -> tuple[float, list[int]]:
    """Key that sorts elements: the largest ratio first, NaN as +inf, equal ones by their place."""
    return -math.inf if math.isnan(element["ratio"]) else -element["ratio"], element["index"]


def _in_json(value: object) -> object:
    """A number, or the word for what is infinite or NaN."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _class_reason(found: Errors, wrong: NDArray[np.int64]) -> str:
    seen, wanted = (tally.array(part).item(int(wrong[0])) for part in found.parts[:2])
    return f"{wrong.size} of {found.parts[0].numel()} elements of the wrong class: {seen!r}, expected {wanted!r}"
