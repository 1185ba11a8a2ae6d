"""What was planned and measured as tables, with the types that they have when they are stored."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from accuracy import schemas
from accuracy.packing import Column, Ragged
from accuracy.rows import NAMES


def plan(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The plan, from the rows that `accuracy.plan.rows` makes of it."""
    return pa.Table.from_pylist(list(rows), schema=schemas.PLAN).to_pandas()


def observations(*parts: Mapping[str, Column]) -> pd.DataFrame:
    """Observations from columns, as `Execution.columns` gives them. Rows of several parts come one after the other."""
    tables = [
        pa.table({name: _array(columns[name]) for name in NAMES}, schema=schemas.OBSERVATION) for columns in parts
    ]
    return pa.concat_tables(tables).to_pandas()


def _array(column: Column) -> Any:
    """A column as Arrow takes it."""
    if isinstance(column, Ragged):
        ends = pa.array(np.append(0, np.cumsum(column.lengths)), pa.int32())
        return pa.ListArray.from_arrays(ends, pa.array(column.elements))
    return column
