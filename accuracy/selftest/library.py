"""The library under test as a fault sees it: what can be replaced in it, and proof that a replacement acted.

Runs in the process that measures. Nothing here is imported by the pipeline.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

Planted = Callable[..., Any]


def proof(folder: Path, fault: str, size: float) -> Path:
    """The file that shows that a fault of this size has changed a value."""
    return folder / f"acted-{fault}-{size!r}"


class Library:
    """bitsandbytes as it was imported, with the means to change it from outside.

    A target is `op:NAME` for an operator of `torch.ops.bitsandbytes`, `MODULE:NAME` for a function, replaced
    wherever a module of the library has bound it, or `MODULE:CLASS.NAME` for a method.
    What is replaced while `planting` names a fault acts only while `active` names the same one, with the
    magnitude `size`. Once a fault has changed a value, `folder` holds its proof.
    """

    def __init__(self, bitsandbytes: ModuleType, folder: Path) -> None:
        self.bnb: Any = bitsandbytes
        self.torch: Any = importlib.import_module("torch")
        self.planting = self.active = ""
        self.size = 0.0
        self.proving = True
        self._folder = folder
        self._proven: set[tuple[str, float]] = set()

    def acted(self) -> None:
        """Records that the active fault has changed a value, if this is where it has to show."""
        if not self._acted:
            proof(self._folder, self.active, self.size).touch()
            self._proven.add((self.active, self.size))

    @property
    def _acted(self) -> bool:
        return not self.proving or (self.active, self.size) in self._proven

    def after(self, target: str, change: Planted) -> None:
        """Replaces the result of `target` by `change(result, *arguments)`."""

        def planted(original: Planted, *args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            changed = change(result, *args, **kwargs)
            if not self._acted and self._differ(result, changed):
                self.acted()
            return changed

        self.instead(target, planted)

    def around(self, target: str, change: Planted) -> None:
        """Replaces `target` by `change(original, *arguments)`."""

        def planted(original: Planted, *args: Any, **kwargs: Any) -> Any:
            right = None if self._acted else original(*args, **kwargs)
            changed = change(original, *args, **kwargs)
            if not self._acted and self._differ(right, changed):
                self.acted()
            return changed

        self.instead(target, planted)

    def instead(self, target: str, change: Planted) -> None:
        """As `around` for what must run only once: `change` itself calls `acted`."""
        original, put = self._find(target)
        fault = self.planting

        def planted(*args: Any, **kwargs: Any) -> Any:
            if self.active != fault:
                return original(*args, **kwargs)
            return change(original, *args, **kwargs)

        put(planted)

    def _find(self, target: str) -> tuple[Planted, Callable[[Planted], None]]:
        where, _, name = target.partition(":")
        if where == "op":
            namespace = self.torch.ops.bitsandbytes
            packet = getattr(namespace, name)
            return packet.default, lambda planted: setattr(namespace, name, _Operator(packet, planted))
        module = importlib.import_module(f"{self.bnb.__name__}.{where}")
        if "." not in name:
            function: Planted = getattr(module, name)
            return function, lambda planted: self._rebind(function, planted)
        owner_name, _, attribute = name.partition(".")
        owner = getattr(module, owner_name)
        static = isinstance(inspect.getattr_static(owner, attribute), staticmethod)
        put: Callable[[Planted], None] = lambda planted: setattr(  # noqa: E731 - one of three alike
            owner, attribute, staticmethod(planted) if static else planted
        )
        return getattr(owner, attribute), put

    def _rebind(self, original: Planted, planted: Planted) -> None:
        """Puts `planted` under every name that a module of the library has for `original`."""
        own = self.bnb.__name__
        for name, module in list(sys.modules.items()):
            if name == own or name.startswith(f"{own}."):
                for key, value in list(vars(module).items()):
                    if value is original:
                        setattr(module, key, planted)

    def _differ(self, one: Any, other: Any) -> bool:
        """Whether any bit of two results differs; a NaN equals the same NaN, and 0 is not -0."""
        if isinstance(one, self.torch.Tensor) and isinstance(other, self.torch.Tensor):
            if one.dtype != other.dtype or one.shape != other.shape:
                return True
            bits = self.torch.uint8
            pair = [each.detach().contiguous().reshape(-1).view(bits) for each in (one, other)]
            return not self.torch.equal(*pair)
        if isinstance(one, tuple | list) and isinstance(other, tuple | list):
            return len(one) != len(other) or any(map(self._differ, one, other))
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            return one.keys() != other.keys() or any(self._differ(one[key], other[key]) for key in one)
        return False


class _Operator:
    """Stands for an operator: called by its name or by its default overload it runs what was planted."""

    def __init__(self, packet: Any, planted: Planted) -> None:
        self._packet = packet
        self.default = planted

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.default(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._packet, name)
