"""Two devices on the same task, observation by observation: equal to the last bit, within a bound, or apart.

The plan is the same on every device, so every difference is paired. It is seen without tensors: digests say whether
all elements are equal, a sample of them how far apart the devices are (docs/method.md, "device against device").
"""

from collections.abc import Sequence
from enum import StrEnum
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from accuracy import lists
from accuracy.case import Stage

KEY: Final = ["id", "stage", "quantity"]
"""What pairs two observations: on a device a task has one of each."""

COMPARED: Final = tuple(stage.value for stage in (Stage.ENCODE, Stage.DECODE, Stage.COMPUTE, Stage.QUANTIZATION))
"""Stages whose bound is a distance from one true value. A relation's is the distance from the device's other result."""

COLUMNS: Final = (*KEY, "case", "dtype", "first", "second", "agreement", "distance")


class Agreement(StrEnum):
    """What is said of a pair: equal to the last bit, no farther in the sample than a bound allows, or farther."""

    IDENTICAL = "identical"
    WITHIN = "within"
    APART = "apart"


def pairs(observations: pd.DataFrame, devices: Sequence[str]) -> pd.DataFrame:
    """Every observation that two devices both have, for each two of `devices`.

    Args:
        observations: columns as `accuracy.case.Observation`, of one run. Rows without a digest have no pair.
        devices: names, in the order in which pairs name them.

    Returns:
        One row a pair: `id, stage, quantity, case, dtype`, the devices `first` and `second`, `agreement` (an
        `Agreement`), and `distance`, the largest |a - b| ÷ max(bound of a, bound of b) in the sample. Rows are in
        the order of the devices, then of `case`, `id`, `stage` and `quantity`.
    """
    rows = observations[comparable(observations)].reset_index(drop=True)
    names = rows["device"].to_numpy(dtype=object)
    keys = rows.groupby(["case", *KEY]).ngroup().to_numpy(dtype=np.int64)
    there = {device: np.flatnonzero(names == device) for device in devices}
    found = []
    for first, second in combinations(devices, 2):
        ours, theirs = there[first], there[second]
        _, left, right = np.intersect1d(keys[ours], keys[theirs], return_indices=True)
        found.append(compared(rows.iloc[ours[left]], rows.iloc[theirs[right]], first, second))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))


def comparable(observations: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows can have a pair."""
    return observations["stage"].isin(COMPARED) & (observations["digest"] != "")


def compared(ours: pd.DataFrame, theirs: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """The pairs of two frames whose rows belong together in their order, as `pairs` gives them."""
    same = ours["digest"].to_numpy(dtype=object) == theirs["digest"].to_numpy(dtype=object)
    distance = np.zeros(len(same))
    distance[~same] = _distances(ours[~same], theirs[~same])
    far = np.where(distance > 1, Agreement.APART.value, Agreement.WITHIN.value)
    agreement = np.where(same, Agreement.IDENTICAL.value, far)
    return ours.assign(first=first, second=second, agreement=agreement, distance=distance)[list(COLUMNS)]


def _distances(ours: pd.DataFrame, theirs: pd.DataFrame) -> NDArray[np.float64]:
    """The largest distance in the sample of each row; +inf where the samples have different lengths."""
    samples = [
        lists.of(frame[name], pa.float64()) for name in ("sample_values", "sample_bounds") for frame in (ours, theirs)
    ]
    lengths = np.array([lists.lengths(column) for column in samples])
    alike = (lengths == lengths[0]).all(axis=0)
    largest = np.where(alike, 0.0, np.inf)
    held = np.flatnonzero(alike & (lengths[0] > 0))
    if held.size:
        flat = [lists.values(column.take(held)) for column in samples]
        starts = np.concatenate([[0], np.cumsum(lengths[0][held])[:-1]])
        largest[held] = np.maximum.reduceat(element_distances(*flat), starts)
    return largest


def element_distances(
    first: NDArray[Any], second: NDArray[Any], first_bound: NDArray[Any], second_bound: NDArray[Any]
) -> NDArray[np.float64]:
    """|a - b| ÷ max(bound of a, bound of b), elementwise.

    0 where both are equal, NaN being equal to NaN. +inf where they differ and one of them is NaN or infinite, or the
    larger bound is not above 0: nothing is allowed then, or nobody knows what.
    """
    equal = (first == second) | (np.isnan(first) & np.isnan(second))
    finite = np.isfinite(first) & np.isfinite(second)
    bound = np.maximum(first_bound, second_bound)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = np.abs(first - second) / bound
    known = finite & (bound > 0) & ~np.isnan(ratio)
    return np.where(equal, 0.0, np.where(known, ratio, np.inf))
