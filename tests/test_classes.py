"""The class of an element: finite, infinite or NaN, and whether it should be."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from vectors import bits

from accuracy import classes


def rightly(seen: float, expected: float, bound: float, threshold: float) -> bool:
    """The rule for the class of one element, word for word."""
    if not math.isfinite(expected):
        return seen == expected or (math.isnan(seen) and math.isnan(expected))
    bound = 0.0 if math.isnan(bound) else bound
    lowest, highest = expected - bound, expected + bound
    if seen == math.inf:
        return highest >= threshold
    if seen == -math.inf:
        return lowest <= -threshold
    return math.isfinite(seen) and lowest < threshold and highest > -threshold


def test_classes_follow_the_rule_in_every_combination() -> None:
    """Finite and not, on either side of the threshold and at it, of both signs, with every kind of bound."""
    sizes = (0.0, 1.0, 9.0, 10.0, 11.0, math.inf)
    values = [math.nan, *sizes, *(-size for size in sizes)]
    every = list(product(values, values, (math.nan, 0.0, 1.0, 2.0, 30.0, math.inf)))
    actual, wanted, bound = np.array(every).T

    wrong = classes.of_the_wrong_class(actual, wanted, bound, 10.0).tolist()
    assert wrong == [place for place, each in enumerate(every) if not rightly(*each, 10.0)]
    assert 0 < len(wrong) < len(every)

    assert classes.compiled is not None
    found = classes.of(tuple(map(torch.from_numpy, (actual, wanted, bound, wanted))), 10.0)  # type: ignore[arg-type]  # four
    assert bits(found) == bits(classes.in_numpy((actual, wanted, bound, wanted), 10.0))
    assert found.wrong.tolist() == wrong


def test_classes_of_nothing_and_of_unlike_parts() -> None:
    """None is wrong and none is finite; and parts have to be of one size."""
    none = torch.zeros(0, dtype=torch.float64)
    assert [part.tolist() for part in classes.of((none, none, none, none), 10.0)[:2]] == [[], []]
    one, two = (torch.ones(number, dtype=torch.float64) for number in (1, 2))
    with pytest.raises(ValueError, match="arrays of 1 and 2 elements; equal lengths are wanted"):
        classes.of((one, one, one, two), 10.0)
