"""The kinds of devices that are known here: the built-in ones, and those that installed packages add."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from accuracy.adapter import Adapter
from accuracy.adapters import BUILT_IN
from accuracy.rows import plain

GROUP: Final = "accuracy.devices"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """Adapters by kind, the packages that brought those that are not built in, and what cannot be used.

    `origins` has for each kind of a package the package's name and version. `unusable` has for each entry point
    that cannot be used its name and why, in one line.
    """

    adapters: Mapping[str, Adapter]
    origins: Mapping[str, str]
    unusable: tuple[tuple[str, str], ...]


@cache
def installed() -> Installed:
    """What is built in and what the entry points of the group `accuracy.devices` add."""
    return collect(BUILT_IN, entry_points(group=GROUP))


def collect(built_in: Iterable[Adapter], found: Iterable[EntryPoint]) -> Installed:
    """Built-in adapters, then those of the entry points, in the order of their names.

    A package that cannot be loaded costs its own device and no other. A built-in kind stays what it is, and
    a kind that two packages add is neither's, since its name would not say what was measured.
    """
    adapters = {adapter.kind: adapter for adapter in built_in}
    points: dict[str, list[EntryPoint]] = {}
    for point in sorted(found, key=lambda point: (point.name, _package(point), point.value)):
        points.setdefault(point.name, []).append(point)
    origins: dict[str, str] = {}
    unusable: list[tuple[str, str]] = []
    for name, claims in points.items():
        sources = " and ".join(dict.fromkeys(map(_package, claims)))
        if name in adapters:
            unusable.append((name, f"{sources} adds a device of this name, which is built in; rename it"))
        elif len(claims) > 1:
            unusable.append((name, f"{len(claims)} entry points add it, of {sources}; uninstall all but one"))
        else:
            adapter = _load(claims[0])
            if isinstance(adapter, Adapter):
                adapters[name], origins[name] = adapter, sources
            else:
                unusable.append((name, f"{sources} cannot be used: {adapter}; mend or uninstall it"))
    return Installed(adapters=adapters, origins=origins, unusable=tuple(unusable))


def _load(point: EntryPoint) -> Adapter | str:
    """The adapter, or why there is none."""
    try:
        adapter = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a stranger's import does is the answer
        first = next(iter(str(error).splitlines()), "")
        return plain(f"{point.value} raised {type(error).__name__}{f': {first}' if first else ''}")
    if not isinstance(adapter, Adapter):
        return f"{point.value} is a {type(adapter).__name__}, accuracy.adapter.Adapter is wanted"
    if adapter.kind != point.name:
        return f"{point.value} is the adapter of {adapter.kind!r}, the entry point is called {point.name!r}"
    return adapter


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unnamed package"
