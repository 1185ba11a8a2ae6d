"""Faults of the bias in the forward pass. Its gradient is left right."""

from collections.abc import Callable
from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import on_outputs, scaled
from accuracy.selftest.library import Library


def _on_bias(lib: Library, change: Callable[[Any], Any]) -> None:
    """Changes the bias that the products are given, and not what flows back to it."""

    def planted(original: Any, *args: Any, bias: Any = None, **options: Any) -> Any:
        if bias is None:
            return original(*args, bias=None, **options)
        mine = change(bias.detach())
        if not lib.torch.equal(mine, bias.detach()):
            lib.acted()
        if bias.requires_grad:
            mine = _Through(lib, bias, mine)()
        return original(*args, bias=mine, **options)

    lib.instead("autograd._functions:matmul_4bit", planted)
    lib.instead("autograd._functions:matmul", planted)


class _Through:
    """A tensor with the values of one and the gradient path of another."""

    def __init__(self, lib: Library, path: Any, values: Any) -> None:
        self._lib, self._path, self._values = lib, path, values

    def __call__(self) -> Any:
        moved = self._path * 1
        moved.data = self._values
        return moved


def shifted(lib: Library) -> None:
    _on_bias(lib, lambda bias: bias.roll(1))


def twice(lib: Library) -> None:
    _on_bias(lib, lambda bias: bias * 2)


def missing(lib: Library) -> None:
    _on_bias(lib, lib.torch.zeros_like)


def rounded(lib: Library) -> None:
    _on_bias(lib, lambda bias: bias.bfloat16().to(bias.dtype))


def factor(lib: Library) -> None:
    _on_bias(lib, lambda bias: scaled(bias, lib.size))


def last_lost(lib: Library) -> None:
    def change(bias: Any) -> Any:
        bias = bias.clone()
        bias[-1] = 0
        return bias

    _on_bias(lib, change)


def first_row_only(lib: Library) -> None:
    biases: list[Any] = [None]

    def remember(original: Any, *args: Any, bias: Any = None, **options: Any) -> Any:
        biases[0] = None if bias is None else bias.detach()
        return original(*args, bias=bias, **options)

    def change(out: Any) -> Any:
        if biases[0] is None or out.numel() == out.shape[-1]:
            return out
        flat = out.clone().reshape(-1, out.shape[-1])
        flat[1:] -= biases[0]
        return flat.reshape(out.shape)

    lib.instead("autograd._functions:matmul_4bit", remember)
    lib.instead("autograd._functions:matmul", remember)
    on_outputs(lib, change)


fault = partial(Fault, area="bias", stage=Stage.COMPUTE, cases="linear*", where=lambda c: c.bias)

FAULTS = (
    fault(name="bias-twice", what="The bias is added twice.", plant=twice),
    fault(name="bias-missing", what="The bias is not added.", plant=missing),
    fault(
        name="bias-bfloat16",
        what="The bias is rounded to bfloat16.",
        plant=rounded,
        where=lambda c: c.bias and c.dtype != "bfloat16",
    ),
    fault(
        name="bias-first-row-only",
        what="The bias is added to the first row only.",
        plant=first_row_only,
        where=lambda c: c.bias and len(c.batch) > 0,
        cases="linear*-train",
    ),
    fault(
        name="bias-shifted",
        what="Each output has the bias of its neighbour.",
        plant=shifted,
        where=lambda c: c.bias and c.out_features > 1,
    ),
    fault(name="bias-last-lost", what="The last output has no bias.", plant=last_lost),
    fault(
        name="bias-factor",
        what="The bias is larger by the relative size.",
        plant=factor,
        sizes=(1e-1, 1e-2, 1e-3, 1e-4),
    ),
)
