"""The columns of the tables in a run folder, with their types."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import pyarrow as pa

from accuracy.case import Verdict
from accuracy.cell import Cell
from accuracy.change import CellChange, Outcome
from accuracy.rows import NAMES, TYPES

_ARROW: Final[Mapping[Any, pa.DataType]] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[int, ...]: pa.list_(pa.int64()),
    tuple[float, ...]: pa.list_(pa.float64()),
}
OBSERVATION: Final = pa.schema([pa.field(name, _ARROW[TYPES[name]], nullable=False) for name in NAMES])
ADDED: Final[Mapping[str, object]] = {
    "digest": "",
    "sample_values": [],
    "sample_bounds": [],
    "p99": float("nan"),
    "largest": float("nan"),
    "before_bins": [],
    "before_counts": [],
}
"""Columns that runs of an earlier version lack, with the value that says that nothing was recorded."""

PLAN: Final = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("id", "case", "origin", "config", "seed")]
)
VERDICT: Final = pa.schema(
    [
        pa.field(field.name, _ARROW[str if field.type is Verdict else field.type], nullable=False)
        for field in fields(Cell)
    ]
)
COMPARISON: Final = pa.schema(
    [
        pa.field(field.name, _ARROW[str if field.type is Outcome else field.type], nullable=False)
        for field in fields(CellChange)
    ]
)
