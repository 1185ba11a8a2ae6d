"""A process that imports torch and tells its parent which devices there are."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import sys

import torch

from accuracy.environment import processor


def devices() -> dict[str, list[str]]:
    """Device names by kind, in torch's order."""
    there: dict[str, list[str]] = {"cpu": [processor()]}
    for kind in ("cuda", "xpu", "hpu"):
        backend = getattr(torch, kind, None)
        if backend is not None and backend.is_available():
            there[kind] = [str(backend.get_device_name(index)) for index in range(backend.device_count())]
    if torch.backends.mps.is_available():
        there["mps"] = [platform.processor() or "Apple GPU"]
    return there


def versions() -> dict[str, str]:
    """Versions as installed; the library itself is not imported, since it may be broken."""
    known = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in ("bitsandbytes",):
        try:
            known[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            known[name] = "not installed" if importlib.util.find_spec(name) is None else "no metadata"
    return known


if __name__ == "__main__":
    seen = {
        "devices": devices(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "versions": versions(),
    }
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as answer:
        json.dump(seen, answer)
