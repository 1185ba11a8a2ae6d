"""Runs of one plan, from hosts that never met, as one: which belong together, and what the whole says of itself.

Everything here is about manifests and plans; rows are `accuracy.gather`'s.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accuracy import plan, shards
from accuracy.case import EXPLORED, canonical_json
from accuracy.devices import DeviceError, parse
from accuracy.files import StoreError
from accuracy.limits import Limits
from accuracy.shards import Shard, Whole
from accuracy.store import MOST_ROWS

T = TypeVar("T")

SAME: Final = ("profile", "examples", "seed", "accuracy", "limits_hash", "bounds", "published", "cases")
"""Entries of the manifest that runs of one plan share, besides the plan itself and the library."""

UNKNOWN: Final = "unknown"
"""The version of what could not be asked for it."""

_RELEASE: Final = re.compile(r"[\w.+!-]+")
_LONGEST: Final = 200

MOST_TOLD: Final = 5
"""Values of one entry in which runs differ that the whole names."""


class MergeError(ValueError):
    """Runs that cannot be one; the message says which, and what differs."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A run that is merged; `names` says what each of its devices is called in the whole."""

    folder: Path
    manifest: Mapping[str, Any]
    names: Mapping[str, str]

    @property
    def parts(self) -> shards.Parts:
        """What it holds of the plan; a run of all of it holds shard 1/1."""
        return _parts(self.manifest)


def sources(runs: Mapping[Path, Mapping[str, Any]], by: Limits) -> list[Source]:
    """The runs, from their manifests by folder, if they are of one plan.

    Raises:
        MergeError: if there is none, or one has another plan, library or limits than the first or than `by`.
    """
    if not runs:
        raise MergeError("no run can be read, so there is nothing to merge")
    first, *others = runs
    for folder, manifest in runs.items():
        if manifest["limits_hash"] != by.hash:
            theirs = manifest["limits_hash"]
            raise MergeError(f"{folder} was judged by the limits {theirs[:16]}, these are {by.hash}: give its --limits")
    for other in others:
        for name, one, two in _differences(runs[first], runs[other]):
            raise MergeError(
                f"{other} has another {name} than {first}: {_short(two)}, there {_short(one)}; "
                "merge runs of one plan, library and limits"
            )
    names = _device_names([manifest["devices"] for manifest in runs.values()])
    return [
        Source(folder=folder, manifest=manifest, names=mine)
        for (folder, manifest), mine in zip(runs.items(), names, strict=True)
    ]


def _differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterable[tuple[str, object, object]]:
    """What keeps two runs from being parts of one, as name and both values."""
    for name in ("plan_hash", "plan_size"):
        yield from _differs(name.replace("_", " "), _parts(one)[name], _parts(two)[name])
    for name in SAME:
        yield from _differs(name.replace("_", " "), one.get(name), two.get(name))
    versions = [run["versions"].get("bitsandbytes", UNKNOWN) for run in (one, two)]
    if UNKNOWN not in versions:
        yield from _differs("bitsandbytes", *versions)
    libraries = [run.get("library") or {} for run in (one, two)]
    if _build(one) == _build(two) or not all(map(_is_release, libraries)):
        yield from _differs("library", *libraries)


def _differs(name: str, one: object, two: object) -> Iterable[tuple[str, object, object]]:
    if one != two:
        yield name, one, two


def _build(manifest: Mapping[str, Any]) -> set[tuple[str, str]]:
    """For which machines and systems its library was built: one release has other files for each."""
    return {(str(facts.get("machine")), str(facts.get("system"))) for facts in manifest["environment"].values()}


def _is_release(library: Mapping[str, Any]) -> bool:
    return bool(_RELEASE.fullmatch(str(library.get("asked", ""))))


def _short(value: object) -> str:
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _parts(manifest: Mapping[str, Any]) -> shards.Parts:
    devices = [*manifest["devices"]["found"], *manifest["devices"]["missing"]]
    size, plan_hash = manifest["plan_size"], manifest["plan_hash"]
    whole = shards.asked(Shard(number=1, of=1), Whole(plan_hash, size), devices)
    return manifest.get("parts") or whole


def _device_names(devices: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """For each run what its devices are called in the whole.

    Accelerators of one name but other hardware are different devices: the second `cuda` gets the next free index.
    A processor goes by its name alone, since those of a pool differ; so does a device that is unknown here.
    """
    taken = {name for run in devices for name in (*run["found"], *run["missing"])}
    given: dict[tuple[str, str], str] = {}
    renamed = []
    for run in devices:
        names = {name: name for name in run["missing"]}
        for name, hardware in run["found"].items():
            kind = _indexed_kind(name)
            key = (name, hardware if kind else "")
            if key not in given:
                given[key] = name if name not in given.values() else _next(kind, taken)
                taken.add(given[key])
            names[name] = given[key]
        renamed.append(names)
    return renamed


def _indexed_kind(name: str) -> str:
    """The kind of an accelerator of which there can be several; "" for any other device."""
    try:
        device = parse(name)
    except DeviceError:
        return ""
    return device.kind if device.adapter.indexed and not device.adapter.on_host and device.variant is None else ""


def _next(kind: str, taken: set[str]) -> str:
    return next(f"{kind}:{index}" for index in range(1, len(taken) + 2) if f"{kind}:{index}" not in taken)


def whole_plan(held: Sequence[tuple[Source, pd.DataFrame]]) -> pd.DataFrame:
    """The plan of the whole, in its order as far as it is there, then what was explored, from those of the runs.

    Raises:
        StoreError: if the plan of a run is not the one that its manifest names.
    """
    size, wanted = (held[0][0].parts[name] for name in ("plan_size", "plan_hash"))
    if size > MOST_ROWS:
        raise StoreError(f"{held[0][0].folder} says that its plan has {size} cases: too many to read")
    ids = np.full(size, "", dtype=object)
    planned, places, explored = [], [], []
    for source, rows in held:
        mine = rows[rows["origin"] != EXPLORED]
        place = _places(source.parts)
        sound = len(mine) == len(place) and plan.hash_of(mine["id"].tolist()) == source.manifest["plan_hash"]
        if not sound or ((ids[place] != "") & (ids[place] != mine["id"])).any():
            raise StoreError(f"{source.folder} holds another plan than its manifest says; ask for another copy")
        ids[place] = mine["id"]
        planned.append(mine)
        places.append(place)
        explored.append(rows[rows["origin"] == EXPLORED])
    _, first = np.unique(np.concatenate(places), return_index=True)
    whole = pd.concat(planned).iloc[first]
    if len(whole) == size and plan.hash_of(whole["id"].tolist()) != wanted:
        raise StoreError("the shards do not make the plan that their manifests name; ask for other copies")
    searched = pd.concat(explored).drop_duplicates("id").sort_values(["case", "id"])
    known = set(whole["id"].tolist())
    new = np.array([each not in known for each in searched["id"].tolist()], dtype=bool)
    return pd.concat([whole, searched[new]], ignore_index=True)


def _places(parts: shards.Parts) -> NDArray[np.int64]:
    """Where in the plan the tasks of a run stand, in order."""
    held = {text for names in parts["held"].values() for text in names}
    there = np.zeros(parts["plan_size"], dtype=bool)
    for text in held:
        there[shards.places(parts["plan_size"], shards.parse(text))] = True
    return np.flatnonzero(there)


def manifest(
    merged: Sequence[Source], planned: pd.DataFrame, refused: Mapping[str, str], wanted: Sequence[str]
) -> dict[str, Any]:
    """What the whole says of itself, but for its judgement.

    Args:
        merged: the runs, in order; the first speaks for what all share.
        planned: the plan of the whole.
        refused: folders that should have been among them, and why they are not.
        wanted: devices that must be in it.
    """
    first = merged[0].manifest
    ids = planned.loc[planned["origin"] != EXPLORED, "id"].tolist()
    parts = _held(merged, refused, wanted)
    absent = {name: "no run of it was merged" for name, texts in parts["held"].items() if not texts}
    found, missing = (
        _joined(_renamed(source, source.manifest["devices"][name]) for source in merged)
        for name in ("found", "missing")
    )
    requested = [source.names.get(name, name) for source in merged for name in source.manifest["devices"]["requested"]]
    return {
        **{name: first.get(name) for name in SAME},
        "schema": first["schema"],
        "created": max(source.manifest["created"] for source in merged),
        "devices": {
            "requested": list(dict.fromkeys([*requested, *wanted])),
            "found": found,
            "missing": {name: why for name, why in (missing | absent).items() if name not in found},
        },
        "versions": _joined(source.manifest["versions"] for source in merged),
        "environment": _environment(merged),
        "paths": _paths(merged),
        "unusable": _joined(_renamed(source, source.manifest["unusable"]) for source in merged),
        "incidents": [f"{source.folder.name}: {text}" for source in merged for text in source.manifest["incidents"]],
        "library": first.get("library"),
        "plan_hash": plan.hash_of(ids),
        "plan_size": len(ids),
        "parts": parts if shards.gaps(parts) else None,
        "merged": [_said(source) for source in merged],
        "exploration": _exploration([source.manifest.get("exploration") for source in merged], planned),
        "baseline": None,
        "selftest": first.get("selftest"),
        "duration_s": round(sum(source.manifest["duration_s"] for source in merged), 1),
    }


def _held(merged: Sequence[Source], refused: Mapping[str, str], wanted: Sequence[str]) -> dict[str, Any]:
    """The entry `parts` of the whole."""
    entries = [source.parts for source in merged]
    held: dict[str, set[str]] = {name: set() for name in wanted}
    for source, entry in zip(merged, entries, strict=True):
        for device, texts in _renamed(source, entry["held"]).items():
            held.setdefault(device, set()).update(texts)
    return {
        "asked": "",
        "plan_hash": entries[0]["plan_hash"],
        "plan_size": entries[0]["plan_size"],
        "held": {device: sorted(texts) for device, texts in held.items()},
        "refused": {**_joined(entry["refused"] for entry in entries), **refused},
    }


def _renamed(source: Source, by_device: Mapping[str, T]) -> dict[str, T]:
    """An entry by device under the names that devices have in the whole."""
    return {source.names.get(device, device): value for device, value in by_device.items()}


def _joined(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Texts by name; where runs differ all of them, since each is true of a part."""
    texts: dict[str, dict[str, None]] = {}
    for entry in entries:
        for name, text in entry.items():
            texts.setdefault(name, {})[str(text)] = None
    return {name: _few(list(seen)) for name, seen in texts.items()}


def _few(texts: Sequence[str]) -> str:
    more = [f"and {len(texts) - MOST_TOLD} others"] if len(texts) > MOST_TOLD else []
    return " | ".join([*texts[:MOST_TOLD], *more])


def _environment(merged: Sequence[Source]) -> dict[str, dict[str, Any]]:
    """By device what its runs say of what they ran on. What all say alike keeps its type."""
    by_device: dict[str, list[Mapping[str, Any]]] = {}
    for source in merged:
        for device, facts in _renamed(source, source.manifest["environment"]).items():
            by_device.setdefault(device, []).append(facts)
    return {
        device: {
            name: said[0].get(name, text) if all(facts.get(name) == said[0].get(name) for facts in said) else text
            for name, text in _joined(said).items()
        }
        for device, said in by_device.items()
    }


def _paths(merged: Sequence[Source]) -> dict[str, list[Any]]:
    """By device the steps that can be taken there; those of different builds together, the first of each name."""
    found: dict[str, dict[str, Any]] = {}
    for source in merged:
        for device, steps in _renamed(source, source.manifest.get("paths", {})).items():
            for step in steps:
                found.setdefault(device, {}).setdefault(str(step["path"]), step)
    return {device: list(steps.values()) for device, steps in found.items()}


def _said(source: Source) -> dict[str, Any]:
    """What the whole says of one of its runs."""
    kept = ("created", "hash", "versions", "duration_s", "plan_hash")
    return {
        "run": source.folder.name,
        "devices": source.names,
        "held": source.parts["held"],
        **{name: source.manifest.get(name) for name in kept},
    }


def _exploration(entries: Sequence[Any], planned: pd.DataFrame) -> dict[str, Any] | None:
    """What was explored, under the budget of the first run that did."""
    budget = next((entry["budget"] for entry in entries if entry), None)
    counts = planned.loc[planned["origin"] == EXPLORED, "case"].value_counts()
    cases = {str(case): {"examples": int(number)} for case, number in counts.items()}
    return None if budget is None else {"budget": budget, "cases": cases}
