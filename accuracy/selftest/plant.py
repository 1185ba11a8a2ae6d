"""Puts faults into the library from outside: a folder on the path whose `sitecustomize` patches what is imported.

The pipeline does not know of it. Its workers inherit the path, and the patches are in place before any of them
sees the library. All faults are planted at once and asleep; a task wakes one, so that thousands of
trials share one import of the library.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

from accuracy.selftest.library import Library

LIBRARY: Final = "bitsandbytes"
FAULTS: Final = "accuracy.selftest.faults:FAULTS"
_PLANTED: list[Library] = []


def write_overlay(folder: Path, *, faults: str = FAULTS, awake: str = "") -> None:
    """Makes `folder` one that plants these faults in every interpreter that has it first on its path.

    They sleep until a task wakes one, but for the one of the name `awake`, which acts from the start.
    It also turns off compilation: the library compiles its decoder for odd shapes and falls back to the same
    code uncompiled, and compiling takes each new process longer than all the rest.
    """
    text = (
        'import os\n\nos.environ["TORCH_COMPILE_DISABLE"] = "1"\n\n'
        f"from accuracy.selftest import plant\n\nplant.arrange({str(folder)!r}, {faults!r}, {awake!r})\n"
    )
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")


def arrange(folder: str, faults: str, awake: str) -> None:
    """Plants the faults of this list, `module:name`, as soon as this interpreter has imported the library."""
    sys.meta_path.insert(0, _Finder(Path(folder), faults, awake))


def wake(fault: str, size: float, *, proving: bool) -> None:
    """Has this fault of this size act from now on, and no other; "" for none. What it does is proof if `proving`."""
    for library in _PLANTED:
        library.active, library.size, library.proving = fault, size, proving


def failure(folder: Path, fault: str) -> Path:
    """The file that says why a fault could not be planted."""
    return folder / f"failed-{fault}"


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the library where it is, once, and has it patched when its import ends."""

    def __init__(self, folder: Path, faults: str, awake: str) -> None:
        self._folder = folder
        self._faults = faults
        self._awake = awake

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The library's own spec, its loader patched; nothing for any other module."""
        del path, target
        if fullname != LIBRARY:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self._plant(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # this loader, for this one import
        return spec

    def _plant(self, module: ModuleType) -> None:
        library = Library(module, self._folder)
        for fault in pkgutil.resolve_name(self._faults):
            library.planting = fault.name
            try:
                fault.plant(library)
            except Exception as error:  # noqa: BLE001 - a release without the place still has all the others
                failure(self._folder, fault.name).write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
        _PLANTED.append(library)
        if self._awake:
            wake(self._awake, library.size, proving=False)
