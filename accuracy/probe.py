"""A process that imports torch and tells its parent which devices there are."""

import importlib.metadata
import importlib.util
import json
import os
import pkgutil
import platform
import sys
from typing import Any

import torch

from accuracy.worker import one_line


def look(listing: str, offers: str) -> dict[str, Any]:
    """What an adapter's functions say: `names`, `offers`, and `error`, what one of them raised.

    A kind whose functions raise has no devices, and the others are none the worse for it.
    """
    try:
        names = [str(name) for name in pkgutil.resolve_name(listing)()]
        offered = {str(name): str(why) for name, why in (pkgutil.resolve_name(offers)() if offers else {}).items()}
    except Exception as error:  # noqa: BLE001  whatever a driver or a stranger's function raises is the answer
        return {"names": [], "offers": {}, "error": f"looking for it raised {one_line(error)}"}
    return {"names": names, "offers": offered, "error": ""}


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
    asked: list[tuple[str, str, str]] = json.loads(sys.argv[2])
    seen = {"kinds": {kind: look(listing, offers) for kind, listing, offers in asked}, "versions": versions()}
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8") as answer:
        json.dump(seen, answer)
