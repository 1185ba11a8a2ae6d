"""The inputs of a case as columns: what a condition, a chart or the filter can speak about."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports import coded
from reports.coded import Coded

Value = str | int | float | bool

PLAIN = (str, int, bool)
"""Types of a config that are features as they are."""

LABELS = {
    "rows": "rows",
    "rank": "input rank",
    "blocks": "blocks of the weight",
    "nested": "double quantization",
    "has_fp16_weights": "fp16 weights",
    "weight": "weights",
    "activation": "activations",
    "lookups": "rows looked up",
    "whole_rows": "in_features is a multiple of blocksize",
    "whole_dim_lanes": "embedding_dim is a multiple of 16",
    "whole_dim_blocks": "embedding_dim is a multiple of 64",
    "whole_blocks": "the weight is made of whole blocks",
    "even_k": "in_features is even",
    "whole_lanes": "in_features is a multiple of 16",
    "whole_tiles": "out_features is a multiple of 32",
}
"""Names for readers, where the field's own name is not the best."""

NEGATIONS = {
    "whole_rows": "in_features is not a multiple of blocksize",
    "whole_dim_lanes": "embedding_dim is not a multiple of 16",
    "whole_dim_blocks": "embedding_dim is not a multiple of 64",
    "whole_blocks": "the weight has a partial block",
    "even_k": "in_features is odd",
    "whole_lanes": "in_features is not a multiple of 16",
    "whole_tiles": "out_features is not a multiple of 32",
}
"""How the opposite is said, where "no" before the name does not read."""

TILE = 32
"""Rows of the weight that the library's CPU kernels take at once."""

EMBEDDING_BLOCK = 64
"""Blocksize of an Embedding4bit, which its config does not name."""

LANES = 16
"""Values of a row that they take at once: 32-bit lanes of AVX-512."""

FILTER_NAMES = {"in_features": "k", "out_features": "n", "embedding_dim": "dim", "num_embeddings": "n"}
"""Short names the filter takes: K is the inner dimension of the product, N the outer."""


def negation(feature: str) -> str:
    """How the page says that a yes-or-no feature is no: `no bias`."""
    return NEGATIONS.get(feature, f"no {label(feature)}")


def label(feature: str) -> str:
    """What a feature is called on the page."""
    return LABELS.get(feature, feature)


def of_config(config: Mapping[str, Any]) -> dict[str, Value]:
    """A config as flat features: leading dimensions become their product and their number.

    A config of an embedding calls its table's height `rows`; here it is `num_embeddings`, so that
    `rows` always means rows of the input.
    """
    flat: dict[str, Value] = {}
    for name, value in config.items():
        if name == "batch":
            flat["rows"] = math.prod(value)
            flat["rank"] = len(value) + 1
        elif name == "index":
            flat["lookups"] = math.prod(value)
        elif "index" in config and name in ("rows", "dim"):
            flat[{"rows": "num_embeddings", "dim": "embedding_dim"}[name]] = value
        else:
            flat[name] = value if type(value) in PLAIN else _plain(value)
    if "embedding_dim" in flat and "quant_type" in flat:
        length = int(flat["embedding_dim"])
        flat["whole_dim_lanes"] = length % LANES == 0
        flat["whole_dim_blocks"] = length % EMBEDDING_BLOCK == 0
    if {"in_features", "out_features"} <= flat.keys():
        inner, outer = int(flat["in_features"]), int(flat["out_features"])
        flat["even_k"] = inner % 2 == 0
        flat["whole_lanes"] = inner % LANES == 0
        flat["whole_tiles"] = outer % TILE == 0
        if "blocksize" in flat:
            flat["whole_rows"] = inner % int(flat["blocksize"]) == 0
            flat["whole_blocks"] = inner * outer % int(flat["blocksize"]) == 0
            flat["blocks"] = math.ceil(inner * outer / int(flat["blocksize"]))
    return flat


def _plain(value: object) -> Value:
    """What is no text, truth or whole number: a float if it is one, else text, which NaN and infinities are too."""
    if value is None:
        return "not set"
    return value if isinstance(value, float) and math.isfinite(value) else str(value)


def columns(configs: Sequence[str]) -> dict[str, Coded]:
    """Features of configs, given as JSON, as columns in the order in which features occur; one row a config."""
    alike: dict[tuple[str, ...], tuple[list[int], list[Iterable[Value]]]] = {}
    for place, config in enumerate(configs):
        flat = of_config(json.loads(config))
        places, rows = alike.setdefault(tuple(flat), ([], []))
        places.append(place)
        rows.append(flat.values())
    parts: dict[str, list[tuple[NDArray[np.int64], Sequence[Value]]]] = {}
    for names, (places, rows) in alike.items():
        at = np.array(places, dtype=np.int64)
        for name, values in zip(names, zip(*rows, strict=True), strict=True):
            parts.setdefault(name, []).append((at, values))
    return {name: coded.scattered(len(configs), found) for name, found in parts.items()}


def value_text(feature: str, value: Value) -> str:
    """A value as the page writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if feature in ("dtype", "compute_dtype") and isinstance(value, str):
        return value.replace("bfloat", "bf").replace("float", "fp")
    return f"{value:g}" if isinstance(value, float) else str(value)


def sentence(config: Mapping[str, Any], *, without: Iterable[str] = ()) -> str:
    """A config in one line, as its author wrote the fields: `batch 2×3, in_features 64, no bias`."""
    left_out = set(without)
    parts = []
    for name, value in config.items():
        if name in left_out:
            continue
        if isinstance(value, bool):
            parts.append(label(name) if value else f"no {label(name)}")
        elif isinstance(value, list):
            parts.append(f"{name} {'×'.join(map(str, value)) or 'none'}")
        elif value is not None:
            parts.append(f"{label(name)} {value_text(name, value)}")
    return ", ".join(parts)


def points(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Configs in lines of words: first what they share, then for each what is its own."""
    first, *others = configs
    shared = {name for name, value in first.items() if all(other[name] == value for other in others)}
    common = sentence({name: first[name] for name in first if name in shared})
    return [common, *(line for config in configs if (line := sentence(config, without=shared)))]
