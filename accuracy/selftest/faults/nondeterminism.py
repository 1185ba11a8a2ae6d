"""Faults that come and go: random bits, sums in random order, results that depend on the call."""

import random
from functools import partial
from typing import Any

from accuracy.case import Stage
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults.places import on_outputs, weight_of
from accuracy.selftest.library import Library


def _generator(lib: Library) -> Any:
    """Random numbers that no seed of ours governs, and that move none of ours."""
    return lib.torch.Generator().manual_seed(random.SystemRandom().getrandbits(63))


def _nudged(lib: Library, values: Any, chosen: Any) -> Any:
    """The lowest bit of the chosen elements flipped."""
    integer = lib.torch.int32 if values.element_size() == 4 else lib.torch.int16  # noqa: PLR2004 - bytes of float32
    values = values.contiguous()
    flipped = (values.view(integer) ^ chosen.to(integer)).view(values.dtype)
    return lib.torch.where(values.isfinite() & (values != 0), flipped, values)


def random_bits(lib: Library) -> None:
    generator = _generator(lib)
    on_outputs(lib, lambda out: _nudged(lib, out, lib.torch.rand(out.shape, generator=generator) < lib.size))


def every_other_call(lib: Library) -> None:
    calls = 0

    def change(out: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 2:
            return out
        return _nudged(lib, out, lib.torch.ones(out.shape, dtype=lib.torch.bool))

    on_outputs(lib, change)


def random_order(lib: Library) -> None:
    generator = _generator(lib)

    def change(right: Any, x: Any, *rest: Any, bias: Any = None, **nested: Any) -> Any:
        weight = weight_of(lib, x.dtype, *rest, **nested)
        order = lib.torch.randperm(x.shape[-1], generator=generator)
        del right
        return lib.torch.nn.functional.linear(x[..., order], weight[:, order], bias)

    lib.after("op:gemm_4bit", change)


def random_weight(lib: Library) -> None:
    generator = _generator(lib)

    def change(weight: Any, *_: Any) -> Any:
        chosen = lib.torch.zeros(weight.numel(), dtype=lib.torch.bool)
        chosen[lib.torch.randint(weight.numel(), (1,), generator=generator)] = True
        return _nudged(lib, weight, chosen.reshape(weight.shape))

    lib.after("op:dequantize_4bit", change)


def lost_now_and_then(lib: Library) -> None:
    generator = _generator(lib)

    def change(out: Any) -> Any:
        if lib.torch.rand(1, generator=generator).item() >= lib.size:
            return out
        out = out.clone()
        out.view(-1)[lib.torch.randint(out.numel(), (1,), generator=generator)] = 0
        return out

    on_outputs(lib, change)


fault = partial(Fault, area="nondeterminism", stage=Stage.INVARIANT, cases="linear*")

FAULTS = (
    fault(
        name="random-bits",
        what="This share of the outputs, drawn anew each time, has its lowest bit flipped.",
        plant=random_bits,
        sizes=(1e-1, 1e-2, 1e-3),
    ),
    fault(
        name="random-every-other-call",
        what="Every other call has the lowest bit of its outputs flipped.",
        plant=every_other_call,
    ),
    fault(
        name="random-order",
        what="Sums are taken in an order that is drawn anew each time.",
        plant=random_order,
        cases="linear4bit-*train*",
    ),
    fault(
        name="random-weight",
        what="One decoded weight, drawn anew each time, has its lowest bit flipped.",
        plant=random_weight,
        stage=Stage.DECODE,
        cases="linear4bit-*-train",
    ),
    fault(
        name="random-lost-output",
        what="In this share of the calls one output, drawn anew each time, is zero.",
        plant=lost_now_and_then,
        sizes=(0.5, 0.2, 0.05),
        stage=Stage.COMPUTE,
    ),
)
