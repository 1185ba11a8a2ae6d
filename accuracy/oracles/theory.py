"""What the squared quantization error of a Gaussian weight must be, given its scales, and how far it may stray.

Conditional on the largest magnitude m of a block (in units of σ), the other elements are N(0, 1)
truncated to |z| < m and quantized to the codes c_i·m. Their error has the moments

    D(m)  = E[e²] = Σ_i ∫_{b_i m}^{b_{i+1} m} (z - c_i m)² φ(z) dz / (2Φ(m) - 1),    b_i midpoints,

and E[e⁴] likewise, so a weight of B elements a block has Σe² = Σ_j (B_j - 1)·D(m_j), with variance
Σ_j (B_j - 1)·(E[e⁴] - D²)(m_j). (docs/method.md, "quantization error against theory".)
"""

import math
from functools import cache

import torch
from torch import Tensor

from accuracy.oracles import codes

LARGEST = 9.0
"""Block maxima above this many σ do not occur in N(0, 1) at any size we draw (P < 1e-12 at 2²¹ elements)."""

_NODES = 4000
_GRID = 900
_AT_ONCE = 16
"""Points of the grid that are made together: what they need stays in the processor's cache."""


def four_bit_z(error: Tensor, maxima: Tensor, blocksize: int, quant_type: str) -> float:
    """Standard deviations between Σ error² and its expectation for N(0, 1) weights in blocks.

    `error` is w - code·scale in float64, flat; `maxima` the largest magnitude of each block. The
    largest element of a block is coded exactly and does not count.
    """
    counts = torch.full_like(maxima, blocksize)
    counts[-1] = error.numel() - blocksize * (maxima.numel() - 1)
    second, fourth = _interpolated(maxima, quant_type)
    expected = ((counts - 1) * second).sum()
    variance = ((counts - 1) * (fourth - second.square())).sum()
    return _standardized(error, expected, variance)


def int8_z(error: Tensor, scales: Tensor) -> float:
    """Standard deviations between Σ error² and its expectation for rows [N, K] with these scales [N].

    Within a step of size S/127 the error is uniform: E[e²] = step²/12, Var[e²] = step⁴/180. The
    largest element of a row is coded exactly and does not count.
    """
    steps = scales / 127
    free = error.shape[1] - 1
    return _standardized(error, free * (steps**2 / 12).sum(), free * (steps**4 / 180).sum())


def _standardized(error: Tensor, expected: Tensor, variance: Tensor) -> float:
    if not variance > 0:
        return 0.0
    return ((error.square().sum() - expected) / variance.sqrt()).item()


def _interpolated(maxima: Tensor, quant_type: str) -> tuple[Tensor, Tensor]:
    """E[e²] and E[e⁴] at each block maximum, linearly between the points of a fine grid."""
    position = (maxima / LARGEST * _GRID).clamp(1, _GRID - 1)
    below = position.floor().long().clamp_max(_GRID - 2)
    weight = position - below
    moments = _moments(quant_type)
    moments.fill(torch.unique(torch.cat([below, below + 1])))
    second, fourth = (
        values[below] * (1 - weight) + values[below + 1] * weight for values in (moments.second, moments.fourth)
    )
    return second, fourth


class _Moments:
    """`second` E[e²] and `fourth` E[e⁴] at m = LARGEST·i/_GRID, i = 0 … _GRID - 1, NaN where not yet asked for.

    A worker that has just been forked is asked for a few dozen points; all of them take it longer than its first case.
    """

    def __init__(self, quant_type: str) -> None:
        table = torch.unique(codes.four_bit(quant_type).double())
        self._v = (torch.arange(_NODES, dtype=torch.float64) + 0.5) * (2 / _NODES) - 1
        self._nearest = (self._v.unsqueeze(1) - table).abs().amin(dim=1)
        self.second, self.fourth = torch.full((2, _GRID), math.nan, dtype=torch.float64)

    def fill(self, points: Tensor) -> None:
        """Makes those of these points of the grid that are missing, by the midpoint rule in z."""
        for some in torch.split(points[self.second[points].isnan()], _AT_ONCE):
            grid = (some.double() * (LARGEST / _GRID)).unsqueeze(1)
            density = torch.exp(-0.5 * (self._v * grid) ** 2) / math.sqrt(2 * math.pi)
            mass = density.sum(dim=1)
            for moment, power in ((self.second, 2), (self.fourth, 4)):
                moment[some] = (density * (self._nearest * grid) ** power).sum(dim=1) / mass


@cache
def _moments(quant_type: str) -> _Moments:
    return _Moments(quant_type)
