"""What a check is told besides the config: the tensors it started from, what the layer did, and where."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import torch

from accuracy.adapter import Arithmetic
from accuracy.case import Config
from accuracy.limits import Bounds, Published
from accuracy.oracles.rounding import UNIT_ROUNDOFF

GENERIC = frozenset(
    {"normal", "uniform", "heavy_tailed", "outlier_columns", "all_positive", "default_init", "kaiming_normal"}
)
"""Distributions of independent continuous values."""

UNBOUNDED = frozenset({"with_nan", "with_infinities", "near_overflow"})
"""Distributions whose results are NaN or infinite by right."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run of one layer. `parts` holds what the subject yielded before it ended or raised.

    `device_type` is torch's word for the device, `arithmetic` what is known of how the library computes there.
    `published` are the tolerances of the library's own tests that speak of it. `made` is the memory of `once`.
    """

    config: Any
    inputs: Any
    parts: Mapping[str, Any]
    device_type: str
    arithmetic: Arithmetic
    bounds: Bounds
    published: tuple[Published, ...] = ()
    made: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def least_effect(self, *operands: str) -> float | None:
        """Relative size from which a structured residual of a product counts; None where an operand repeats values.

        `operands` are the fields of the config that say how those of the product are distributed.
        A float32 output has the precision of its accumulator, whose errors depend on partial sums
        and so are not quite independent of the signal; there the effect must be larger.
        """
        if not GENERIC.issuperset(getattr(self.config, name) for name in operands):
            return None
        dtypes = (torch_dtype(self.config.dtype), compute_dtype(self.config))
        coarsest = max(UNIT_ROUNDOFF[dtype] for dtype in dtypes)
        if coarsest == UNIT_ROUNDOFF[torch.float32]:
            return self.bounds.structure_effect_float32 * coarsest
        return self.bounds.structure_effect * coarsest

    @property
    def code_slack(self) -> float:
        """How much farther than the nearest a 4-bit code may be, in units of the scale, on this device."""
        return self.bounds.code_slack if self.arithmetic.ieee_division else self.bounds.code_slack_accelerator

    @property
    def ordinary(self) -> bool:
        """Whether all operands are finite and far from overflow, so that a quantization error has a size."""
        names = (self.config.weight, getattr(self.config, "activation", ""), getattr(self.config, "gradient", ""))
        return not UNBOUNDED.intersection(names)

    def has(self, *names: str) -> bool:
        """Whether the layer got as far as all of these parts."""
        return all(name in self.parts for name in names)


P = ParamSpec("P")
T = TypeVar("T")


def once(make: Callable[Concatenate[Setting, P], T]) -> Callable[Concatenate[Setting, P], T]:
    """A function of a setting that several checks call: what it gives is made once and kept as long as the setting.

    Its other arguments must be hashable, and nobody may change what it gives.
    """

    @wraps(make)
    def kept(setting: Setting, *args: P.args, **kwargs: P.kwargs) -> T:
        key = (make, args, tuple(kwargs.items()))
        if key not in setting.made:
            setting.made[key] = make(setting, *args, **kwargs)
        made: T = setting.made[key]
        return made

    return cast("Callable[Concatenate[Setting, P], T]", kept)


def torch_dtype(name: str) -> torch.dtype:
    """The dtype of this name, as configs carry it.

    Raises:
        TypeError: if torch has no such dtype.
    """
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"torch.{name} is no dtype")
    return dtype


def compute_dtype(config: Config) -> torch.dtype:
    """The dtype a dense layer multiplies in: the one asked for, else that of the input."""
    return torch_dtype(getattr(config, "compute_dtype", None) or config.dtype)
