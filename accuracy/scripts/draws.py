"""Distributions as the expressions that a script draws from: plain torch, each of the same law as in `accuracy.inputs`.

The numbers are others, so a script draws many times.
"""

import math
from collections.abc import Callable
from typing import Final

Drawn = Callable[[str, tuple[int, ...]], str]
"""From the shape as text and as numbers to an expression of a float32 tensor."""


def _places(shape: tuple[int, ...]) -> str:
    """The number of each element, in row-major order."""
    return f"torch.arange({math.prod(shape)}).reshape{shape}"


def _zero_blocks(text: str, shape: tuple[int, ...]) -> str:
    count = math.prod(shape)
    kept = f"(torch.rand({-(-count // 64)}) > 1 / 3).repeat_interleave(64)[:{count}]"
    return f"torch.randn({text}) * {kept}.reshape{shape}"


def _half_way(text: str, shape: tuple[int, ...]) -> str:
    """The digits that a narrower type has no place for are one and zeros, in turn for float16 and bfloat16."""
    bits = f"torch.randn({text}).view(torch.int32)"
    halves = f"{bits} & -8192 | 4096, {bits} & -65536 | 32768"
    return f"torch.where({_places(shape)} % 2 == 0, {halves}).view(torch.float32)"


DRAWS: Final[dict[str, Drawn]] = {
    "normal": lambda text, _: f"torch.randn({text})",
    "uniform": lambda text, _: f"torch.rand({text}) * 2 - 1",
    "heavy_tailed": lambda text, _: f"torch.randn({text}) / torch.randn(3, {text}).square().mean(0).sqrt()",
    "outlier_columns": lambda text, shape: (
        f"torch.randn({text}) * torch.where(torch.arange({shape[-1]}) % 32 == 0, 20.0, 1.0)"
    ),
    "constant": lambda _, shape: f"torch.randn(1).expand({shape}).clone()",
    "zero_blocks": _zero_blocks,
    "all_positive": lambda text, _: f"torch.rand({text})",
    "tiny_scale": lambda text, _: f"torch.randn({text}) * 2e-3",
    "huge_scale": lambda text, _: f"torch.randn({text}) * 150",
    "signs": lambda text, _: f"torch.rand({text}).sub(0.5).sign()",
    "default_init": lambda text, shape: f"(torch.rand({text}) * 2 - 1) / {shape[-1]}**0.5",
    "kaiming_normal": lambda text, shape: f"torch.randn({text}) * (2 / {shape[-1]}) ** 0.5",
    "with_nan": lambda text, shape: f"torch.randn({text}).masked_fill({_places(shape)} % 50 == 0, torch.nan)",
    "with_infinities": lambda text, shape: (
        f"torch.randn({text}) * torch.where({_places(shape)} % 50 == 0, torch.inf, 1.0)"
    ),
    "signed_zeros": lambda text, _: f"torch.randn({text}) * torch.rand({text}).round()",
    "subnormal": lambda text, _: f"torch.randn({text}) * 2.0**-16",
    "near_overflow": lambda text, _: f"torch.rand({text}).sub(0.5).sign() * (torch.rand({text}) * 4.4e4 + 2e4)",
    "half_way": _half_way,
    "zeros": lambda text, _: f"torch.zeros({text})",
}
"""By the name that configs carry."""


def drawn(name: str, shape: tuple[int, ...], dtype: str) -> str:
    """An expression of a tensor of this distribution, shape and dtype. A shape of no dimension is none."""
    text = ", ".join(map(str, shape))
    expression = DRAWS[name](text, shape)
    if dtype == "float32":
        return expression
    whole = expression.startswith("torch.") and " " not in expression.replace(", ", ",")
    return f"{expression if whole else f'({expression})'}.to(torch.{dtype})"
