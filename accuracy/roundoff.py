"""Rounding in a dtype and in sums, as numbers: what oracles and scripts build their bounds from. Needs no torch.

Sources: N. J. Higham, Accuracy and Stability of Numerical Algorithms (2002), section 2.2 and
lemma 3.1; N. J. Higham and T. Mary, A new approach to probabilistic rounding error analysis
(SIAM J. Sci. Comput. 41, 2019), theorem 2.4.
"""

import math
from typing import Final

UNIT: Final = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Unit roundoff by dtype: the largest relative error of one rounding to nearest."""

DOUBLE: Final = 2.0**-53
"""Unit roundoff of float64, in which oracles and tests of the residual are computed."""

SUBNORMAL: Final = {"float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}
"""The smallest positive number of each dtype."""


def gamma(n: int, u: float) -> float:
    """Deterministic constant of an n-term sum, n·u/(1-n·u); infinite once n·u reaches 1 (Higham, lemma 3.1)."""
    return n * u / (1 - n * u) if n * u < 1 else math.inf


def probabilistic_gamma(n: int, u: float, confidence: float) -> float:
    """Constant of an n-term sum that fails with probability at most 2·exp(-confidence²·(1-u)²/2).

    exp(λ·√n·u + n·u²/(1-u)) - 1 (Higham and Mary 2019, theorem 2.4), never above the
    deterministic constant.
    """
    return min(math.expm1(confidence * math.sqrt(n) * u + n * u * u / (1 - u)), gamma(n, u))
