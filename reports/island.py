"""The data that the filter reads in the page: every cell, every case, as compact JSON that is safe in HTML."""

import itertools
import json
import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from reports import caselist, features, words
from reports.frames import GROUP, Cell, Frames, records

LEFT_OUT = (
    "dtype", "even_k", "whole_lanes", "whole_tiles", "whole_rows", "whole_blocks", "whole_dim_lanes",
    "whole_dim_blocks", "blocks",
)  # fmt: skip
"""Inputs that the cell names, or that follow from others."""


ESCAPED = re.compile(r"\\[ubfr]")
"""What JSON makes of letters outside of ASCII and of control characters."""


def build(frames: Frames, cells: Mapping[Cell, Mapping[str, Any]], run: str) -> dict[str, Any]:
    """What the filter reads: every cell in the order of the page, every case and every (id, device).

    A check is [quantity, verdict, margin] and, where they fit, the known findings. `features` names the inputs:
    [name, label, short name, whether its values are places in `levels`].
    `layers` says which of them a layer has, `configs` holds for each layer [id, value, ..., id, value, ...]. `rows`
    is the worst of each (id, device): [cell, quantity, whether they fail, config, margin, config, margin, ...], each
    group worst first; a margin that is no number is a word.
    """
    names = [name for name in frames.inputs.columns if name not in LEFT_OUT]
    inputs = frames.inputs.loc[:, names].sort_index()
    numeric = {name: all(_is_number(value) for value in inputs[name].dropna()) for name in names}
    texts = [inputs[name].dropna().map(partial(features.value_text, name)) for name in names if not numeric[name]]
    levels = sorted({text for column in texts for text in column})
    level = {text: place for place, text in enumerate(levels)}
    values = {
        name: [
            (value if numeric[name] else level[features.value_text(name, value)]) if there else None
            for value, there in zip(inputs[name], inputs[name].notna(), strict=True)
        ]
        for name in names
    }
    case_of = frames.observations.drop_duplicates("id").set_index("id")["case"]
    layers = [frames.layers[case] for case in case_of.loc[inputs.index]]
    kinds = sorted(set(layers))
    owned = {kind: [name for name in names if _occurs(values[name], layers, kind)] for kind in kinds}
    by_layer = {
        kind: [
            (identity, *(values[name][place] for name in owned[kind]))
            for place, (identity, layer) in enumerate(zip(inputs.index, layers, strict=True))
            if layer == kind
        ]
        for kind in kinds
    }
    numbered = {cell: index for index, cell in enumerate(cells)}
    place_of = {config[0]: place for place, config in enumerate(itertools.chain(*by_layer.values()))}
    worst = frames.worst
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
        "layers": [[names.index(name) for name in owned[kind]] for kind in kinds],
        "configs": [list(itertools.chain(*by_layer[kind])) for kind in kinds],
        "rows": [
            [numbered[Cell(*key[:3])], quantity[key[3], key[4]], int(key[5]), *pairs]
            for key, pairs in _grouped(worst, place_of).items()
        ],
    }


def _grouped(worst: pd.DataFrame, place_of: Mapping[str, int]) -> dict[tuple[Any, ...], list[int | float | str]]:
    """The places and margins of the worst rows, one after the other, by cell, quantity and whether they fail."""
    groups: dict[tuple[Any, ...], list[int | float | str]] = {}
    for row in records(worst[["id", *GROUP, "ratio", "status", "failing"]]):
        key = (*(row[name] for name in GROUP), row["failing"])
        groups.setdefault(key, []).extend((place_of[row["id"]], _margin(row)))
    return groups


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _occurs(values: list[Any], layers: list[str], kind: str) -> bool:
    return any(value is not None and layer == kind for value, layer in zip(values, layers, strict=True))


def _margin(row: Mapping[str, Any]) -> float | str:
    ratio = float(row["ratio"])
    if math.isfinite(ratio) and ratio > 0:
        return words.margin_value(ratio)
    return caselist.ended(row) or words.standing(str(row["stage"]), ratio)


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
