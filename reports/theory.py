"""What quantization must cost: the expected relative error of a Gaussian weight in each format, for the charts.

‖ŵ - w‖ / ‖w‖ of w ~ N(0, 1), whose largest element a block (4 bit) or a row (int8) is coded exactly. The page
only draws it; the verdict on the size of the error is the judge's, from `theory_z`.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports import features

FOUR_BIT = {
    "nf4": {32: 0.08731, 64: 0.09198, 128: 0.09558, 256: 0.09863, 512: 0.10146, 1024: 0.10424, 2048: 0.10704,
            4096: 0.10991},
    "fp4": {32: 0.11413, 64: 0.12194, 128: 0.12858, 256: 0.13462, 512: 0.1404, 1024: 0.14613, 2048: 0.15188,
            4096: 0.15768},
}  # fmt: skip
"""By blocksize: √(E[D(m)]·(B - 1)/B) over the largest m of B magnitudes, with D of `accuracy.oracles.theory`."""

WEIGHT = "normal"
"""The distribution that there is a theory of."""

FEWEST = 1024
"""Elements from which a weight is near its expectation."""


def expected(config: Mapping[str, Any]) -> float | None:
    """The expected relative error of the weight of a config; None where there is no theory of it."""
    if config.get("weight") != WEIGHT or _elements(config) < FEWEST:
        return None
    if "quant_type" in config:
        return FOUR_BIT[config["quant_type"]].get(config.get("blocksize", features.EMBEDDING_BLOCK))
    length = int(config.get("in_features", config.get("dim", 0)))
    return int8(length) if length > 1 else None  # a single element is coded exactly


@cache
def int8(length: int) -> float:
    """√(E[m²]·(K - 1)/(12·127²·K)) over the largest m of K magnitudes: a uniform error in steps of m/127."""
    m, share = _magnitudes()
    below = share**length
    mean_square = float(((1 - below[1:]) * (m[1:] ** 2 - m[:-1] ** 2)).sum())
    return math.sqrt(mean_square * (length - 1) / length / 12) / 127


@cache
def _magnitudes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Magnitudes, and which share of a normal distribution lies below each."""
    m = np.linspace(0.0, 9.0, 4001)
    return m, np.array([math.erf(value / math.sqrt(2)) for value in m])


def _elements(config: Mapping[str, Any]) -> int:
    sides = ("rows", "dim") if "dim" in config else ("out_features", "in_features")
    return math.prod(int(config[side]) for side in sides)
