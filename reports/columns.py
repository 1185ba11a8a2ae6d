"""Names of the columns that a page is made from, without pandas: a table can be read while that is imported."""

CELL = ["case", "device", "dtype"]
GROUP = [*CELL, "stage", "quantity"]

TEXT = ["id", "config", "origin", *GROUP, "status", "reason", "path"]
NUMBERS = [
    "ratio", "slope", "rel_fro", "total_fro", "compute_fro", "quantization_fro", "special_mismatch", "theory_z",
]  # fmt: skip
"""Columns of observations that the page shows; the histograms are pooled first, the rest is left alone."""

SHOWN = (
    *TEXT, *NUMBERS, "strata", "ratio_bins", "ratio_counts",
    "digest", "sample_values", "sample_bounds",  # of two devices
    "seed", "structure_at",  # of scripts
)  # fmt: skip
"""All that a page is made from."""
