"""Puts a fault into the library from outside: a folder on the path whose `sitecustomize` patches what is imported.

The pipeline does not know of it. Its workers inherit the path, and the patch is in place before any of them
sees the library.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

from accuracy.selftest.library import Library

LIBRARY: Final = "bitsandbytes"
_PLANTED: list[Library] = []


def write_overlay(folder: Path, fault: str) -> None:
    """Makes `folder` one that plants `fault` in every interpreter that has it first on its path."""
    text = f"from accuracy.selftest import plant\n\nplant.arrange({fault!r}, {str(folder)!r})\n"
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")


def arrange(fault: str, folder: str) -> None:
    """Plants `fault` as soon as this interpreter has imported the library."""
    sys.meta_path.insert(0, _Finder(fault, Path(folder)))


def set_size(size: float) -> None:
    """Sets the magnitude of the planted fault; nothing is planted in a run without one."""
    for library in _PLANTED:
        library.size = size


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the library where it is, once, and has it patched when its import ends."""

    def __init__(self, fault: str, folder: Path) -> None:
        self._fault, self._folder = fault, folder

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
        from accuracy.selftest.faults import FAULTS

        library = Library(module, self._folder)
        next(fault for fault in FAULTS if fault.name == self._fault).plant(library)
        _PLANTED.append(library)
