"""A total error, split into what computing and what quantizing did, with proof that the two add up to it."""

import math
import operator
from functools import reduce
from typing import NamedTuple

import numpy as np
from torch import Tensor

from accuracy import tally
from accuracy.compiled import function
from accuracy.tally import Array

compiled = function("split")


class Split(NamedTuple):
    """Sums of squares of the total error and of its terms, in blocks as `accuracy.tally` sums; and two maxima.

    With values seen a, the float64 product of the decoded operands o and the replaced layer's values y: total a - y,
    compute a - o, quantization o - y. `apart` is the largest |total - (compute + quantization)|, `entering` the
    largest magnitude among a, o and y.
    """

    total: float
    compute: float
    quantization: float
    apart: float
    entering: float


def columns(actual: Tensor, oracle: Tensor, reference: Tensor) -> dict[str, object]:
    """Norms of the total error and its two terms, of elements that are finite in all three arrays.

    `identity_error` is max |total - (compute + quantization)| over the largest value that enters.
    """
    found = of(actual, oracle, reference)
    if found is None:
        finite = actual.isfinite() & oracle.isfinite() & reference.isfinite()
        return columns(actual[finite], oracle[finite], reference[finite])
    return {
        "total_fro": math.sqrt(found.total),
        "compute_fro": math.sqrt(found.compute),
        "quantization_fro": math.sqrt(found.quantization),
        "identity_error": found.apart / found.entering if found.entering else 0.0,
    }


def of(actual: Tensor, oracle: Tensor, reference: Tensor) -> Split | None:
    """The split of tensors of the same size; nothing where a value is not finite.

    Raises:
        ValueError: if they differ in size, or are no float64 on the CPU.
    """
    if compiled is None:
        return in_numpy(tally.array(actual), tally.array(oracle), tally.array(reference))
    found = compiled(actual, oracle, reference, tally.BLOCK)
    return None if found is None else Split(*found)


def in_numpy(actual: Array, oracle: Array, reference: Array) -> Split | None:
    """What `of` is."""
    if not all(np.isfinite(part).all() for part in (actual, oracle, reference)):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        total, compute, quantization = actual - reference, actual - oracle, oracle - reference
        return Split(
            total=_energy(total),
            compute=_energy(compute),
            quantization=_energy(quantization),
            apart=_extent(total - (compute + quantization)),
            entering=max(map(_extent, (actual, oracle, reference))),
        )


def _energy(values: Array) -> float:
    squares = (values * values).ravel()
    begins = range(0, values.size, tally.BLOCK)
    return reduce(operator.add, (tally.total(squares[begin : begin + tally.BLOCK]) for begin in begins), 0.0)


def _extent(values: Array) -> float:
    """The largest magnitude, NaN if one is; 0 if there are none."""
    return float(np.abs(values).max(initial=0.0))
