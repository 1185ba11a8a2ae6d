"""Every step that a layer can take on a device: what is called of it, and where that leads in the library's source."""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from types import ModuleType
from typing import Any, Final

from accuracy.path import LAYER, LINKS, NO_KERNEL, TORCH
from accuracy.source import Run, Source

ROOTS: Final[Mapping[str, Sequence[str]]] = {
    "Linear4bit": (
        "nn.modules:Linear4bit.forward",
        "nn.modules:Linear4bit._save_to_state_dict",
        "nn.modules:Params4bit._quantize",
        "functional:dequantize_4bit",
    ),
    "Linear8bitLt": (
        "nn.modules:Linear8bitLt.forward",
        "nn.modules:Int8Params._quantize",
        "functional:int8_vectorwise_dequant",
    ),
    "Embedding8bit": ("nn.modules:Embedding8bit.forward", "nn.modules:Int8Params._quantize"),
    "Embedding4bit": (
        "nn.modules:Embedding4bit.forward",
        "nn.modules:Params4bit._quantize",
        "functional:dequantize_4bit",
    ),
}
"""What is called of each layer: its forward pass, quantizing and saving it, and decoding its weight."""

FRAMES: Final = (
    "functional:_convert_weight_packed_for_cpu",
    "functional:_convert_weight_packed_for_cpu_inverse",
    "nn.modules:Embedding4bit._forward_with_partial_dequantize",
)
"""Functions of Python that are steps of their own, besides the two passes of every autograd function."""

OF_PACKED_WEIGHTS: Final = frozenset({"support_avx512bf16_for_cpu", "packing_format_for_cpu"})
"""Attributes that are true only where weights are packed for a CPU with AVX512-BF16."""

OUT_OF_REACH: Final = (
    ("Embedding4bit", "*quantize_blockwise:*", "never double-quantized"),
    ("Linear4bit", "*quantize_blockwise:cpu > torch", "there is a native function for each dtype that scales have"),
    ("Linear4bit", "gemm_4bit:cuda > cdequantize_blockwise_[bf][fp]16", "scales are decoded to float32"),
    ("Linear8bitLt", f"MatMul8bitLt.backward > *:{NO_KERNEL}", "the forward pass needs it too, and has raised"),
)
"""Layer, pattern of steps, and why no input takes the layer there, though the source names them."""

UNPACKED: Final = (
    ("Linear4bit", "*quantize_blockwise:* > *_[bf][fp]16", "scales are float32, as no weight is packed"),
)
"""Likewise, where no weight is packed."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """`path` is `CALLER > CALLED`, which `layers` can take; `built` is false for a symbol that the binary lacks.

    `unreached` says of layers why they take the step with no input, though the source names it.
    """

    path: str
    layers: tuple[str, ...]
    built: bool
    unreached: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a function of the library that is a step is bound: `owner` is a module or a class."""

    label: str
    owner: Any
    attribute: str

    @property
    def function(self) -> Any:
        """The function as the library wrote it, without what was put around it."""
        return inspect.unwrap(getattr(self.owner, self.attribute))


def places(library: ModuleType) -> Iterator[Place]:
    """The steps in Python that this release has."""
    for name, found in list(vars(_module(library, "autograd._functions")).items()):
        if inspect.isclass(found) and hasattr(found, "apply") and hasattr(found, "backward"):
            yield from (Place(label=f"{name}.{each}", owner=found, attribute=each) for each in ("forward", "backward"))
    for reference in FRAMES:
        owner, attribute = _owner(library, reference)
        if hasattr(owner, attribute):
            yield Place(label=attribute, owner=owner, attribute=attribute)


def steps(library: ModuleType, device_type: str, backend: Callable[[str], str]) -> list[Step]:
    """Every step that a layer can take on a device, in order.

    Args:
        library: bitsandbytes as it was imported, its backends loaded.
        device_type: torch's name of the device, without an index.
        backend: who serves an operator there: the type of the device, `default` or `NO_KERNEL`.
    """
    known = {place.label: place for place in places(library)}
    native = getattr(_module(library, "cextension"), "lib", None)
    asked = getattr(_module(library, "nn.modules"), "has_avx512bf16", None)
    packs = device_type == "cpu" and asked is not None and bool(asked())
    source = Source(
        library=library.__name__,
        device_type=device_type,
        backend=backend,
        native=native,
        frames={place.function: label for label, place in known.items()},
        unset=frozenset() if packs else OF_PACKED_WEIGHTS,
    )
    reasons = OUT_OF_REACH if packs else (*OUT_OF_REACH, *UNPACKED)
    taken: dict[str, set[str]] = {}
    for layer, roots in ROOTS.items():
        for path in _from(source, known, [_owner(library, root) for root in roots]):
            taken.setdefault(path, set()).add(layer)
    binary = getattr(native, "_lib", None)
    return [
        Step(
            path=path,
            layers=tuple(sorted(layers)),
            built=(called := path.partition(LINKS)[2]) not in source.symbols or hasattr(binary, called),
            unreached={layer: why for layer, pattern, why in reasons if layer in layers and fnmatchcase(path, pattern)},
        )
        for path, layers in sorted(taken.items())
    ]


def _from(source: Source, known: Mapping[str, Place], roots: Sequence[tuple[Any, str]]) -> Iterator[str]:
    """Every step from these functions on; some more than once."""
    waiting: list[str] = []
    for owner, attribute in roots:
        if not hasattr(owner, attribute):
            continue  # this release has no such layer, or none that can be saved
        run = _given_no_output(source.function(getattr(owner, attribute), owner))
        waiting += run.leads
        # Of a layer that takes steps, a pass without one leaves nothing to note: no rows, no work.
        yield from _paths(LAYER, replace(run, bare=attribute == "forward" and not run.leads))
    seen: set[str] = set()
    while waiting:
        caller = waiting.pop()
        if caller in seen:
            continue
        seen.add(caller)
        if caller.endswith(".forward"):
            backward = f"{caller.removesuffix('.forward')}.backward"
            waiting.append(backward)
            yield f"{LAYER}{LINKS}{backward}"
        if caller in known:
            place = known[caller]
            run = source.function(place.function, place.owner)
        else:
            operator, _, backend = caller.partition(":")
            run = source.kernel(operator, backend) or Run()
        run = _given_no_output(run)
        waiting += run.leads
        yield from _paths(caller, run)


def _given_no_output(run: Run) -> Run:
    """Without the overloads that write into a tensor of the caller's: no layer passes one."""
    return replace(run, leads=frozenset(step for step in run.leads if ".out:" not in step))


def _paths(caller: str, run: Run) -> Iterator[str]:
    yield from (f"{caller}{LINKS}{called}" for called in run.leads)
    if run.bare:
        yield f"{caller}{LINKS}{TORCH}"


def _owner(library: ModuleType, reference: str) -> tuple[Any, str]:
    """The module or class that binds what `module:name` or `module:class.name` says, and the name there."""
    where, _, name = reference.partition(":")
    owner_name, _, attribute = name.rpartition(".")
    module = _module(library, where)
    return (getattr(module, owner_name, None) if owner_name else module), attribute


def _module(library: ModuleType, name: str) -> ModuleType:
    """A module of the library; an empty one where this release has none of that name."""
    try:
        return importlib.import_module(f"{library.__name__}.{name}")
    except ModuleNotFoundError:
        return ModuleType(name)
