"""Which kernel served: notes the steps that the library takes while a layer runs, and changes none of its results.

Around each operator and a few functions of Python stands one that notes the call and passes everything on as it is; a
native function is noted when the library takes it. What was noted since it was last asked is a path (`accuracy.path`).
"""

import inspect
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial, wraps
from types import ModuleType
from typing import Any, Final

import torch

from accuracy import reachable
from accuracy.path import CHAINS, LINKS, NO_KERNEL, RAISED, TORCH
from accuracy.source import BOOKKEEPING

_NAMESPACE: Final = "bitsandbytes"

_NO_STEP: Final = "optimizer_"
"""Operators that are no layer's: training rows take real steps of the library's optimizers."""

Function = Callable[..., Any]


class _Step:
    """A step that has begun: its label, the chain that ends with it, and whether it has called another."""

    __slots__ = ("called", "chain", "label")

    def __init__(self, label: str) -> None:
        self.label = label
        self.chain = _chain(label)
        self.called = False


_chains: dict[str, None] = {}
_open: list[_Step] = []  # of all threads: an accelerator's backward pass runs in another one, while its caller waits


def taken() -> str:
    """The path since this was last called; empty if the library took no step."""
    path = CHAINS.join(_chains)
    _chains.clear()
    return path


@cache
def paths(library: ModuleType, device: str) -> list[dict[str, Any]]:
    """Every step that a layer can take on a device, as dictionaries with the fields of `reachable.Step`."""
    kind = device.partition(":")[0]
    return [asdict(step) for step in reachable.steps(library, kind, lambda operator: backend(operator, kind))]


@cache
def backend(operator: str, device_type: str) -> str:
    """Who serves an operator on a device: the type of the device, `default` or `NO_KERNEL`."""
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key  # noqa: SLF001  torch's registry has no other door
    key = torch._C._dispatch_key_for_device(device_type)  # noqa: SLF001  likewise
    try:
        if has_kernel(f"{_NAMESPACE}::{operator}", key):
            return device_type
        return "default" if has_kernel(f"{_NAMESPACE}::{operator}", "CompositeExplicitAutograd") else NO_KERNEL
    except RuntimeError:  # the source names an operator that is not defined
        return NO_KERNEL


@cache
def watch(library: ModuleType) -> None:
    """Notes from now on what `library` does, which is bitsandbytes as it was imported. Once is enough."""
    operators = getattr(torch.ops, _NAMESPACE)
    for qualified in torch._C._dispatch_get_all_op_names():  # noqa: SLF001  likewise
        namespace, _, name = qualified.partition("::")
        if namespace == _NAMESPACE and "." not in name and not name.startswith(_NO_STEP):
            setattr(operators, name, _Operator(getattr(operators, name), name))
    for place in list(reachable.places(library)):
        function = getattr(place.owner, place.attribute)
        noted = wraps(function)(_noted(function, partial(_named, place.label)))
        _rebind(library, place, function, noted)
    native = getattr(library.cextension, "lib", None)
    if native is not None:
        _watch_native(native)


class _Operator:
    """Stands for an operator: calls of it and of its overloads are noted, everything else is its own."""

    def __init__(self, operator: Any, name: str) -> None:
        self._operator = operator
        self._call = _noted(operator, partial(_served, name))
        for overload in operator.overloads():
            full_name = name if overload == "default" else f"{name}.{overload}"
            setattr(self, overload, _noted(getattr(operator, overload), partial(_served, full_name)))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operator, name)


def _watch_native(native: Any) -> None:
    """Has the library's object for its native functions note each that is asked of it, which is when it is called.

    The object stays the one that every module has bound; its class becomes one made from its own. The function
    itself is given out as it is, so that a crash in it is still seen to come from the library's own line.
    """
    kind = type(native)

    def found(self: Any, name: str) -> Any:
        function = kind.__getattr__(self, name)
        if name not in BOOKKEEPING and hasattr(vars(self).get("_lib"), name):
            _chains.setdefault(_chain(name))
        return function

    native.__class__ = type(kind.__name__, (kind,), {"__getattr__": found})


def _rebind(library: ModuleType, place: reachable.Place, function: Function, noted: Function) -> None:
    """Puts `noted` where `function` is, in a class or under every name that a module of the library has for it."""
    if isinstance(place.owner, ModuleType):
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == library.__name__:
                for key in [key for key, value in vars(module).items() if value is function]:
                    setattr(module, key, noted)
        return
    static = isinstance(inspect.getattr_static(place.owner, place.attribute), staticmethod)
    setattr(place.owner, place.attribute, staticmethod(noted) if static else noted)


def _named(label: str, _: tuple[Any, ...]) -> str:
    return label


def _served(operator: str, args: tuple[Any, ...]) -> str:
    """An operator with who serves it where its first tensor is."""
    kind = next((each.device.type for each in args if isinstance(each, torch.Tensor)), "cpu")
    return f"{operator}:{backend(operator, kind)}"


def _noted(function: Function, label: Callable[[tuple[Any, ...]], str]) -> Function:
    """`function`, each call of which is a step."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        name = label(args)
        if _open and _open[-1].label == name:  # torch hands an operator to a subclass of Tensor, which calls it again
            return function(*args, **kwargs)
        step = _Step(name)
        _open.append(step)
        try:
            result = function(*args, **kwargs)
        except BaseException:
            _end(step, RAISED)
            raise
        _end(step, TORCH)
        return result

    return noted


def _chain(label: str) -> str:
    if not _open:
        return label
    _open[-1].called = True
    return f"{_open[-1].chain}{LINKS}{label}"


def _end(step: _Step, word: str) -> None:
    _open.remove(step)
    if not step.called:
        _chains.setdefault(f"{step.chain}{LINKS}{word}")
