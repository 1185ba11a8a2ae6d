"""The data that the filter reads in the page: every cell, every case, as compact JSON that is safe in HTML."""

import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reports import caselist, features, words
from reports.coded import Coded
from reports.columns import GROUP
from reports.frames import Cell, Frames

LEFT_OUT = (
    "dtype", "even_k", "whole_lanes", "whole_tiles", "whole_rows", "whole_blocks", "whole_dim_lanes",
    "whole_dim_blocks", "blocks",
)  # fmt: skip
"""Inputs that the cell names, or that follow from others."""


ESCAPED = re.compile(r"\\[ubfr]")
"""What JSON makes of letters outside of ASCII and of control characters."""


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """The cases of one layer, and which inputs it has; `configs` is [id, value, ..., id, value, ...]."""

    ids: list[str]
    inputs: tuple[str, ...]
    configs: list[Any]


def build(frames: Frames, cells: Mapping[Cell, Mapping[str, Any]], run: str) -> dict[str, Any]:
    """What the filter reads: every cell in the order of the page, every case and every (id, device).

    A check is [quantity, verdict, margin] and, where they fit, the known findings. `features` names the inputs:
    [name, label, short name, whether its values are places in `levels`].
    `layers` says which of them a layer has, `configs` holds for each layer [id, value, ..., id, value, ...]. `rows`
    is the worst of each (id, device): [cell, quantity, whether they fail, config, margin, config, margin, ...], each
    group worst first; a margin that is no number is a word.
    """
    names = [name for name in frames.inputs if name not in LEFT_OUT]
    numeric = {name: all(map(_is_number, frames.inputs[name].levels)) for name in names}
    texts = {
        name: [features.value_text(name, level) for level in frames.inputs[name].levels]
        for name in names
        if not numeric[name]
    }
    levels = sorted({text for each in texts.values() for text in each})
    level = {text: number for number, text in enumerate(levels)}
    values = {
        name: replace(column, levels=tuple(level[text] for text in texts[name])) if name in texts else column
        for name, column in frames.inputs.items()
        if name not in LEFT_OUT
    }
    layers = _layers(frames, values)
    place_of = {identity: place for place, identity in enumerate(itertools.chain(*(each.ids for each in layers)))}
    numbered = {cell: index for index, cell in enumerate(cells)}
    quantities = sorted(set(zip(frames.verdicts["stage"], frames.verdicts["quantity"], strict=True)))
    quantity = {pair: index for index, pair in enumerate(quantities)}
    return {
        "replay": words.replay(run, ""),
        "cells": [
            dict(zip(cell._fields, cell, strict=True))
            | dict(about)
            | {"checks": [[quantity[stage, name], *said] for stage, name, *said in about["checks"]]}
            for cell, about in cells.items()
        ],
        "quantities": [[*pair, words.quantity(*pair)] for pair in quantities],
        "features": [
            [name, features.label(name), features.FILTER_NAMES.get(name, ""), not numeric[name]] for name in names
        ],
        "levels": levels,
        "layers": [[names.index(name) for name in each.inputs] for each in layers],
        "configs": [each.configs for each in layers],
        "rows": [
            [numbered[Cell(*key[:3])], quantity[key[3], key[4]], int(key[5]), *pairs]
            for key, pairs in _grouped(frames, place_of).items()
        ],
    }


def _layers(frames: Frames, values: Mapping[str, Coded]) -> list[_Layer]:
    """The layers by name, their ids sorted."""
    identity, case = frames.coded["id"], frames.coded["case"]
    first = np.unique(identity.codes, return_index=True)[1]
    layer_of = np.array([frames.layers[name] for name in case.levels], dtype=object)[case.codes[first]]
    rows = frames.columns["place"][first]
    found = []
    for layer in sorted(set(layer_of)):
        mine = np.flatnonzero(layer_of == layer)
        ids = [identity.levels[place] for place in mine]
        there = {name: column.at(rows[mine]) for name, column in values.items()}
        owned = {name: column.values().tolist() for name, column in there.items() if (column.codes >= 0).any()}
        configs = list(itertools.chain(*zip(ids, *owned.values(), strict=True)))
        found.append(_Layer(ids=ids, inputs=tuple(owned), configs=configs))
    return found


def _grouped(frames: Frames, place_of: Mapping[str, int]) -> dict[tuple[Any, ...], list[int | float | str]]:
    """The places and margins of the worst rows, one after the other, by cell, quantity and whether they fail."""
    groups: dict[tuple[Any, ...], list[int | float | str]] = {}
    columns = (frames.columns[name][frames.worst].tolist() for name in ("id", "ratio", "status", *GROUP, "failing"))
    for identity, ratio, status, *key in zip(*columns, strict=True):
        groups.setdefault(tuple(key), []).extend((place_of[identity], _margin(key[3], status, ratio)))
    return groups


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _margin(stage: str, status: str, ratio: float) -> float | str:
    if math.isfinite(ratio) and ratio > 0:
        return words.margin_value(ratio)
    return caselist.ended(status) or words.standing(stage, ratio)


def text(value: object) -> str:
    """JSON that cannot end the script element it stands in: ASCII, with `<`, `>` and `&` escaped."""
    plain = json.dumps(value, separators=(",", ":"), allow_nan=False)
    if ESCAPED.search(plain):  # most pages hold no letter that could be one of those that are made visible
        plain = json.dumps(_visible(value), separators=(",", ":"), allow_nan=False)
    return plain.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _visible(value: object) -> object:
    if isinstance(value, str):
        return words.visible(value)
    if isinstance(value, dict):
        return {_visible(key): _visible(entry) for key, entry in value.items()}
    return [_visible(entry) for entry in value] if isinstance(value, list) else value
