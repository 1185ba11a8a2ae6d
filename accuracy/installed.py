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

    `packages` has the name and version of the package of each kind that has one, `unusable` the name of each
    entry point that cannot be used with what is wrong and what to do, in one line.
    """

    adapters: Mapping[str, Adapter]
    packages: Mapping[str, tuple[str, str]]
    unusable: tuple[tuple[str, str], ...]


@cache
def installed() -> Installed:
    """What is built in and what the entry points of the group `accuracy.devices` add."""
    return collect(BUILT_IN, entry_points(group=GROUP))


def collect(built_in: Iterable[Adapter], found: Iterable[EntryPoint]) -> Installed:
    """Built-in adapters, then those of the entry points, in the order of their names.

    An entry point that cannot be used costs its own device and no other. A built-in kind stays what it is, and
    a kind that is added twice is neither, since its name would not say what was measured.
    """
    adapters = {adapter.kind: adapter for adapter in built_in}
    points: dict[str, list[EntryPoint]] = {}
    for point in sorted(found, key=lambda point: (point.name, *_package(point), point.value)):
        points.setdefault(point.name, []).append(point)
    packages: dict[str, tuple[str, str]] = {}
    unusable: list[tuple[str, str]] = []
    for name, claims in points.items():
        sources = " and ".join(dict.fromkeys(" ".join(_package(point)) for point in claims))
        if name in adapters:
            unusable.append((name, f"{sources} adds the device {name!r}, which is built in: rename it there"))
        elif len(claims) > 1:
            unusable.append((name, f"the device {name!r} is added {len(claims)} times, by {sources}: keep one"))
        else:
            adapter = _load(claims[0])
            if isinstance(adapter, Adapter):
                adapters[name], packages[name] = adapter, _package(claims[0])
            else:
                unusable.append((name, f"the device {name!r} of {sources} cannot be used: {adapter}"))
    return Installed(adapters=adapters, packages=packages, unusable=tuple(unusable))


def _load(point: EntryPoint) -> Adapter | str:
    """The adapter, or why there is none."""
    try:
        adapter = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a stranger's import does is the answer
        first = next(iter(str(error).splitlines()), "")
        said = f"{point.value} raised {type(error).__name__}{f': {first}' if first else ''}"
        return f"{plain(said)}; mend or uninstall it"
    if not isinstance(adapter, Adapter):
        return f"{point.value} is a {type(adapter).__name__}, accuracy.adapter.Adapter is wanted"
    if adapter.kind != point.name:
        return f"{point.value} is the adapter of {adapter.kind!r}, the entry point is called {point.name!r}"
    return adapter


def _package(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist is not None else ("an unnamed package", "")
