"""Faults that show only in autocast, or after it."""

from typing import Any

from accuracy.selftest.faults.calls import fault, larger_where
from accuracy.selftest.library import Library


def autocast(lib: Library) -> None:
    larger_where(lib, lambda _, x: lib.torch.is_autocast_enabled(x.device.type))


def after_autocast(lib: Library) -> None:
    def holds(layer: Any, x: Any) -> bool:
        inside = lib.torch.is_autocast_enabled(x.device.type)
        layer._cast = before = getattr(layer, "_cast", False) or inside  # noqa: SLF001 - our own mark
        return before and not inside

    larger_where(lib, holds)


def through_float16(lib: Library) -> None:
    def change(original: Any, layer: Any, x: Any) -> Any:
        if x.dtype == lib.torch.float32 and lib.torch.is_autocast_enabled(x.device.type):
            lib.acted()
            x = x.half().float()
        return original(layer, x)

    lib.instead("nn.modules:Linear4bit.forward", change)


FAULTS = (
    fault(
        name="autocast",
        what="In autocast, outputs are larger by the relative size.",
        plant=autocast,
        sizes=(1e-1, 1e-2),
        where=lambda c: c.relation == "autocast",
    ),
    fault(
        name="after-autocast",
        what="Once a layer was called in autocast, its outputs outside of it are larger by the relative size.",
        plant=after_autocast,
        sizes=(1e-1, 1e-2),
        where=lambda c: c.relation == "after_autocast",
    ),
    fault(
        name="autocast-through-float16",
        what="In autocast, whatever its dtype, a 4-bit layer rounds a float32 input to float16.",
        plant=through_float16,
        cases="linear4bit-*-relations",
        where=lambda c: c.relation == "autocast_of_large_input",
    ),
)
