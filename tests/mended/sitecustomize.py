"""With this folder on PYTHONPATH, every interpreter sees a bitsandbytes whose findings on the CPU are mended.

Nothing is written to the installed library: it is patched in memory when its import ends, the way one
would try a build in which docs/findings.md is worked off.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType


class _Finder(importlib.abc.MetaPathFinder):
    """Finds bitsandbytes where it is, once, and has it mended when its import ends."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The library's own spec, its loader patched; nothing for any other module."""
        del path, target
        if fullname != "bitsandbytes":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                import mending  # needs torch, which no interpreter imports for nothing

                mending.mend(module)
                for name in ("planting", "cornering"):
                    if importlib.util.find_spec(name) is not None:
                        importlib.import_module(name).plant(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # this loader, for this one import
        return spec


sys.meta_path.insert(0, _Finder())
