"""Every step that a layer can take on each device, hit or not, with the cases that took it, by layer and dtype."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accuracy import path as paths
from accuracy.case import Verdict
from reports import coded, words
from reports.coded import Coded
from reports.frames import Frames

Place = tuple[str, str]
"""Layer and dtype of a case."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One row: a step, what became of it in a word, why where that is known, and the cases that took it.

    `counts` are texts with how many columns each spans: layers that cannot take the step share one dash.
    """

    path: str
    kind: str
    symbol: str
    word: str
    why: str
    counts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The steps of one device. `layers` are headings over `dtypes` columns each; `open` are the steps not hit."""

    device: str
    sentence: str
    layers: tuple[tuple[str, int], ...]
    dtypes: tuple[str, ...]
    steps: tuple[Step, ...]
    open: tuple[Step, ...]


def build(manifest: Mapping[str, Any], frames: Frames) -> tuple[Coverage, ...]:
    """The coverage of each device that said which steps it can take, or that noted some.

    Counts are of cases, whichever of their parts took the step.
    """
    path, case = frames.coded["path"], frames.coded["case"]
    noted = np.flatnonzero(path.codes != path.code(""))
    layer = coded.of_text(pd.Series([frames.layers[name] for name in case.levels], dtype=object)).at(case.codes)
    columns = {**{name: frames.coded[name] for name in ("id", "device", "dtype", "path")}, "layer": layer}
    rows = {name: column.at(noted) for name, column in columns.items()}
    listed: Mapping[str, Sequence[Mapping[str, Any]]] = manifest.get("paths", {})
    devices = [*listed, *sorted(set(rows["device"].occurring()) - set(listed))]
    of_device = {device: rows["device"].codes == rows["device"].code(device) for device in devices}
    return tuple(
        _coverage(device, listed.get(device, ()), {name: column.at(mine) for name, column in rows.items()})
        for device, mine in of_device.items()
        if listed.get(device) or mine.any()
    )


def _taken(rows: Mapping[str, Coded]) -> dict[str, Counter[Place]]:
    """For each step how many cases of each layer and dtype took it; those of a device."""
    layer, dtype, path = rows["layer"], rows["dtype"], rows["path"]
    places = [(one, other) for one in layer.levels for other in dtype.levels]
    cases, first, case = np.unique(coded.numbers(rows["id"], layer, dtype), return_index=True, return_inverse=True)
    place = coded.numbers(layer, dtype)[first]
    took: dict[str, NDArray[np.bool_]] = {}
    by_path = case[np.argsort(path.codes, kind="stable")]
    for text, taking in zip(path.levels, np.split(by_path, np.cumsum(path.counts()))[:-1], strict=True):
        for step in paths.steps(text) if len(taking) else ():
            took.setdefault(step, np.zeros(len(cases), dtype=bool))[taking] = True
    number = {step: np.bincount(place[mine], minlength=len(places)).tolist() for step, mine in took.items()}
    return {step: +Counter(dict(zip(places, counts, strict=True))) for step, counts in number.items()}


def _coverage(device: str, listed: Sequence[Mapping[str, Any]], rows: Mapping[str, Coded]) -> Coverage:
    taken = _taken(rows)
    known = {str(step["path"]): step for step in listed}
    able = {path: set(step["layers"]) for path, step in known.items()}
    layers = sorted({*(layer for each in able.values() for layer in each), *rows["layer"].occurring()})
    dtypes = [dtype for dtype in words.DTYPES if dtype in rows["dtype"].occurring()] or list(words.DTYPES)
    places = [(layer, dtype) for layer in layers for dtype in dtypes]
    found = tuple(_step(path, known.get(path), taken.get(path, Counter()), places) for path in sorted({*known, *taken}))
    missed = tuple(step for step in found if step.kind != Verdict.PASS.value)
    return Coverage(
        device=device,
        sentence=_sentence(found, listed=bool(listed)),
        layers=tuple((layer, len(dtypes)) for layer in layers),
        dtypes=tuple(words.dtype(dtype) for _, dtype in places),
        steps=found,
        open=missed,
    )


def _step(path: str, known: Mapping[str, Any] | None, taken: Counter[Place], places: Sequence[Place]) -> Step:
    hitting = {layer for layer, _ in taken}
    able = hitting | set(known["layers"] if known else ())
    reasons = {layer: why for layer, why in (known["unreached"] if known else {}).items() if layer not in hitting}
    unhit = sorted(able - hitting - set(reasons))
    kind, word = _state(path, known, hit=bool(taken), unhit=unhit)
    notes = [f"not by {words.listed(unhit)}"] if unhit and taken else []
    if taken and path.endswith(f":{paths.NO_KERNEL}"):
        notes.append("no kernel is registered for this device: the call raises")
    return Step(
        path=path,
        kind=kind.value,
        symbol=words.SYMBOLS[kind],
        word=word,
        why="; ".join([*notes, *(f"{layer}: {why}" for layer, why in sorted(reasons.items()))]),
        counts=tuple(_counts(taken, places, able - set(reasons))),
    )


def _counts(taken: Counter[Place], places: Sequence[Place], able: set[str]) -> Iterator[tuple[str, int]]:
    for can, group in itertools.groupby(places, key=lambda place: place[0] in able):
        span = list(group)
        yield from ((words.count(taken[place]), 1) for place in span) if can else (("–", len(span)),)


def _state(path: str, known: Mapping[str, Any] | None, *, hit: bool, unhit: Sequence[str]) -> tuple[Verdict, str]:
    """What is said of a step. What can be taken and was not is never green."""
    if known is None:
        return Verdict.WARN, "hit, but not listed"
    if hit and path.endswith(f":{paths.NO_KERNEL}"):
        return Verdict.WARN, "hit: no kernel"
    if hit:
        return (Verdict.NOT_RUN, "hit in part") if unhit else (Verdict.PASS, "hit")
    if not known["built"]:
        return Verdict.NOT_SUPPORTED, "not in this build"
    return (Verdict.NOT_RUN, "not hit") if unhit else (Verdict.NOT_SUPPORTED, "out of reach")


def _sentence(found: Sequence[Step], *, listed: bool) -> str:
    number = Counter(step.word for step in found)
    if not listed:
        return f"{words.counted(len(found), 'step')} taken; which others there are is not known."
    others = [f"{words.count(count)} {word}" for word, count in sorted(number.items()) if word != "hit"]
    rest = f", {words.listed(others)}" if others else ""
    return f"{words.count(number['hit'])} of {words.counted(len(found), 'step')} hit{rest}."
