"""Columns of lists as Arrow holds them: all values one after another, and how many of them each row has."""

from collections.abc import Iterable
from typing import Any, Final, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

APART: Final = "\x1f"
"""Stands between names where a list of them is one text, which Arrow can number and a list it cannot."""


def named(texts: Iterable[str]) -> list[tuple[str, ...]]:
    """The lists of names that `APART` has joined, as tuples."""
    return [tuple(text.split(APART)) if text else () for text in texts]


def kept(kind: pa.DataType) -> pd.ArrowDtype | None:
    """How pandas holds a column: lists as Arrow does, which makes no object of any; what is none as usual."""
    return pd.ArrowDtype(kind) if pa.types.is_list(kind) else None


def of(column: pd.Series, values: pa.DataType) -> "pa.ListArray[Any]":
    """The column of a frame, whether it holds lists, arrays or Arrow's own lists; its values have this type."""
    lists: Any = pa.array(column, type=pa.list_(values))
    if isinstance(lists, pa.ChunkedArray):  # Arrow's own, in the pieces in which they were read
        lists = lists.combine_chunks()
    return cast("pa.ListArray[Any]", lists)


def lengths(lists: "pa.ListArray[Any]") -> NDArray[np.int64]:
    """How many values each row has."""
    return np.asarray(pc.list_value_length(lists), dtype=np.int64)


def values(lists: "pa.ListArray[Any]") -> NDArray[Any]:
    """The values of all rows, one after another."""
    return np.asarray(lists.flatten())


def parts(column: pd.Series, kind: pa.DataType) -> list[NDArray[Any]]:
    """The list of each row of a frame's column, as an array; its values have this type."""
    lists = of(column, kind)
    return np.split(values(lists), np.cumsum(lengths(lists))[:-1]) if len(lists) else []
