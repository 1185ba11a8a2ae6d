"""How a relation is asked: one dense layer, made as often as wanted, and two results of it that must agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from accuracy import subjects
from accuracy.inputs import LinearInputs

SLICE = 3
"""Rows that are run alone: fewer than any tile, so that kernels take another path."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two results that must agree. `sums` says how often an order of summation entered: 0 is exact, else bounds add.

    Raises:
        RuntimeError: if they have different dtypes, unless what is expected was computed here, in float64.
    """

    actual: Tensor
    expected: Tensor
    sums: int = 0
    slack: Tensor | float = 0.0

    def __post_init__(self) -> None:
        """Holds the dtypes against each other."""
        if self.expected.dtype not in {self.actual.dtype, torch.float64}:
            raise RuntimeError(f"a result in {self.actual.dtype}, expected in {self.expected.dtype}")


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """The elements of all these, one after the other, in float64."""
    return torch.cat([tensor.double().reshape(-1) for tensor in tensors])


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One dense layer and how to make it again."""

    config: Any
    inputs: LinearInputs
    device: torch.device
    build: Callable[..., Any]
    reload: Callable[..., Any]

    @property
    def narrow(self) -> torch.dtype:
        """The dtype of the input if it has 16 bits, else bfloat16."""
        return torch.bfloat16 if self.inputs.x.dtype == torch.float32 else self.inputs.x.dtype

    @property
    def another(self) -> LinearInputs:
        """The tensors of a layer of the same shape with another weight: its rows in reverse order."""
        return replace(self.inputs, weight=self.inputs.weight.flip(0))

    def other(self, instead: torch.dtype) -> torch.dtype:
        """Another dtype than that of the input: bfloat16, or `instead` where that is it."""
        return instead if self.inputs.x.dtype == torch.bfloat16 else torch.bfloat16

    def layer(self, inputs: LinearInputs | None = None, **changed: Any) -> Any:
        """A fresh layer, of other tensors or of a changed config."""
        return self.build(replace(self.config, **changed), inputs or self.inputs, self.device)

    def output(self, layer: Any, x: Tensor | None = None) -> Tensor:
        """One forward pass without gradients, on the CPU."""
        with torch.no_grad():
            result: Tensor = layer((self.inputs.x if x is None else x).clone().to(self.device))
        return result.cpu()

    def gradient(self, layer: Any, x: Tensor, upstream: Tensor, calls: int = 1) -> Tensor:
        """The gradient of x after so many backward passes from `upstream`, on the CPU."""
        leaf = x.clone().to(self.device).requires_grad_()
        for _ in range(calls):
            layer(leaf).backward(upstream.clone().to(self.device))
        return subjects.gradient(leaf)
