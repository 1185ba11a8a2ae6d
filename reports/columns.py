"""Names of the columns that a page is made from, without pandas: a table can be read while that is imported."""

from collections.abc import Mapping
from typing import Any

CELL = ["case", "device", "dtype"]
GROUP = [*CELL, "stage", "quantity"]

TEXT = ["id", "config", "origin", *GROUP, "status", "reason", "path"]
SIZES = ["abs_max", "kappa", "rel_fro", "structure_effect"]
"""How large the error of a row is, whatever its sign; one that is NaN is neither below nor above anything."""

NUMBERS = [
    "ratio", "slope", "total_fro", "compute_fro", "quantization_fro", "special_mismatch", "theory_z",
    *SIZES,
]  # fmt: skip
"""Columns of observations that the page shows; the histograms are pooled first, the rest is left alone."""

SHOWN = (
    *TEXT, *NUMBERS, "strata", "ratio_bins", "ratio_counts",
    "seed", "structure_at",  # of scripts
)  # fmt: skip
PAIRED = ("digest", "sample_values", "sample_bounds")
"""Of two devices; one has nothing to be held against."""


def shown(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """All that the page of a run is made from."""
    return (*SHOWN, *PAIRED) if len(manifest["devices"]["found"]) > 1 else SHOWN
