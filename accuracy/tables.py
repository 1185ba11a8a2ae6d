"""What was planned and measured as tables, with the types that they have when they are stored."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from accuracy import lists, schemas
from accuracy.packing import Column, Ragged
from accuracy.rows import NAMES


def plan(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The plan, from the rows that `accuracy.plan.rows` makes of it."""
    return pa.Table.from_pylist(list(rows), schema=schemas.PLAN).to_pandas()


def observations(parts: Iterable[Mapping[str, Column]]) -> pd.DataFrame:
    """Observations from columns, as `Execution.columns` gives them. Rows of several parts come one after the other.

    Lists stay Arrow's: as an array each, those of a night would take gigabytes.
    """
    tables = [
        pa.table({name: _array(columns[name]) for name in NAMES}, schema=schemas.OBSERVATION) for columns in parts
    ]
    return pa.concat_tables([schemas.OBSERVATION.empty_table(), *tables]).to_pandas(types_mapper=lists.kept)


def _array(column: Column) -> Any:
    """A column as Arrow takes it."""
    if isinstance(column, Ragged):
        ends = pa.array(np.append(0, np.cumsum(column.lengths)), pa.int32())
        return pa.ListArray.from_arrays(ends, pa.array(column.elements))
    return column
