"""Which elements are finite, and which of those that are infinite or NaN should be.

This is the definition, in numpy. Where `_compiled.c` was compiled, it gives the same in one pass.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accuracy import totals
from accuracy.compiled import function
from accuracy.tally import Array
from accuracy.totals import Arrays, Parts

compiled = function("classes")


class Classes(NamedTuple):
    """Places, in row-major order, of elements of the wrong class, and of those that are finite and should be.

    `finite` are the values seen, expected ones, bounds and scales of these.
    """

    wrong: NDArray[np.int64]
    places: NDArray[np.int64]
    finite: Arrays


def of(parts: Parts, threshold: float) -> Classes:
    """The classes of elements where a dtype overflows at a magnitude of `threshold`.

    Raises:
        ValueError: as `totals.of`.
    """
    if compiled is None:
        return in_numpy(totals.arrays(parts), threshold)
    wrong, places, finite = compiled(*parts, threshold)
    actual, expected, bound, scale = (np.frombuffer(each) for each in finite)
    return Classes(np.frombuffer(wrong, np.int64), np.frombuffer(places, np.int64), (actual, expected, bound, scale))


def in_numpy(arrays: Arrays, threshold: float) -> Classes:
    """What `of` is."""
    actual, expected, bound, scale = (each.ravel() for each in arrays)
    places = np.flatnonzero(np.isfinite(actual) & np.isfinite(expected))
    finite = actual[places], expected[places], bound[places], scale[places]
    return Classes(of_the_wrong_class(actual, expected, bound, threshold), places, finite)


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
