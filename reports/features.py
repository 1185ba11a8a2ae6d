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

PLAIN = frozenset({str, int, bool})
"""Types of values that are features as they are."""

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


def columns(configs: Sequence[str]) -> dict[str, Coded]:
    """Configs, given as JSON, as columns of features, one row a config; in the order in which features occur.

    Leading dimensions become their product and their number. A config of an embedding calls its table's height `rows`;
    here it is `num_embeddings`, so that `rows` always means rows of the input.
    """
    different = {text: place for place, text in enumerate(dict.fromkeys(configs))}
    alike: dict[tuple[str, ...], tuple[list[int], list[Iterable[Any]]]] = {}
    for text, place in different.items():
        config = json.loads(text)
        places, rows = alike.setdefault(tuple(config), ([], []))
        places.append(place)
        rows.append(config.values())
    parts: dict[str, list[tuple[NDArray[np.int64], Sequence[Value]]]] = {}
    for names, (places, rows) in alike.items():
        at = np.array(places, dtype=np.int64)
        for name, values in _flat(dict(zip(names, zip(*rows, strict=True), strict=True))).items():
            parts.setdefault(name, []).append((at, values))
    rows_of = np.array([different[text] for text in configs], dtype=np.int64)
    return {name: coded.scattered(len(different), found).at(rows_of) for name, found in parts.items()}


def _flat(fields: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Value]]:
    """The features of configs that have the same fields, of which it takes the values of each."""
    flat: dict[str, Sequence[Value]] = {}
    for name, values in fields.items():
        if name == "batch":
            flat["rows"] = [math.prod(shape) for shape in values]
            flat["rank"] = [len(shape) + 1 for shape in values]
        elif name == "index":
            flat["lookups"] = [math.prod(shape) for shape in values]
        elif "index" in fields and name in ("rows", "dim"):
            flat[{"rows": "num_embeddings", "dim": "embedding_dim"}[name]] = values
        else:
            flat[name] = values if PLAIN.issuperset(map(type, values)) else [_plain(value) for value in values]
    if "embedding_dim" in flat and "quant_type" in flat:
        lengths = [int(length) for length in flat["embedding_dim"]]
        flat["whole_dim_lanes"] = [length % LANES == 0 for length in lengths]
        flat["whole_dim_blocks"] = [length % EMBEDDING_BLOCK == 0 for length in lengths]
    if {"in_features", "out_features"} <= flat.keys():
        inner, outer = ([int(size) for size in flat[name]] for name in ("in_features", "out_features"))
        flat["even_k"] = [size % 2 == 0 for size in inner]
        flat["whole_lanes"] = [size % LANES == 0 for size in inner]
        flat["whole_tiles"] = [size % TILE == 0 for size in outer]
        if "blocksize" in flat:
            blocks = [int(size) for size in flat["blocksize"]]
            elements = [rows * size for rows, size in zip(outer, inner, strict=True)]
            flat["whole_rows"] = [size % block == 0 for size, block in zip(inner, blocks, strict=True)]
            flat["whole_blocks"] = [size % block == 0 for size, block in zip(elements, blocks, strict=True)]
            flat["blocks"] = [math.ceil(size / block) for size, block in zip(elements, blocks, strict=True)]
    return flat


def _plain(value: object) -> Value:
    """A value of a config as a feature: what is no text, truth or finite number becomes text."""
    if value is None:
        return "not set"
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


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
