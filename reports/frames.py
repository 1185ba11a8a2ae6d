"""The frames of a run, put in one fixed order, with what every section of the page asks of them.

A *cell* of the page is (case, device, dtype); it holds one verdict row for each (stage, quantity).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from accuracy.case import Status, Verdict
from reports import features, words

BROKEN = (Status.FAIL.value, Status.CRASH.value, Status.TIMEOUT.value)
"""Statuses of rows that count against the limit whatever their numbers say."""

JUDGED = (Status.OK.value, *BROKEN)
"""Statuses of rows that a verdict can rest on."""

CELL = ["case", "device", "dtype"]
GROUP = [*CELL, "stage", "quantity"]


class Cell(NamedTuple):
    """One place of the matrix."""

    case: str
    device: str
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Frames:
    """A run as the page reads it.

    `observations` has the columns of `accuracy.case.Observation` and `failing`; `verdicts` one row a
    group. Both are sorted, so that equal data give equal pages whatever the order of the rows.
    `inputs` holds the features of every id, `layers` the layer of every case.
    """

    observations: pd.DataFrame
    verdicts: pd.DataFrame
    inputs: pd.DataFrame
    layers: Mapping[str, str]

    def groups(self) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
        """Observations of each verdict row, keyed like `GROUP`."""
        grouped = self.observations.groupby(GROUP, sort=False, observed=True)
        return ((tuple(map(str, key)), rows) for key, rows in grouped)


def prepare(manifest: Mapping[str, Any], observations: pd.DataFrame, verdicts: pd.DataFrame) -> Frames:
    """Sort both frames, find the failing rows and read the configs."""
    known_layers = {case: str(about["layer"]) for case, about in manifest["cases"].items()}
    used = [*verdicts["case"].unique(), *observations["case"].unique()]
    ordered = _sorted(observations, [*GROUP, "id"])
    return Frames(
        observations=ordered.assign(failing=_failing(ordered, verdicts)),
        verdicts=_sorted(verdicts, GROUP),
        inputs=features.table(ordered),
        layers={case: known_layers.get(case, case) for case in sorted({*known_layers, *used})},
    )


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame, by column name."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _sorted(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    rank = {stage: words.stage_rank(stage) for stage in frame["stage"].unique()}
    by = [frame["stage"].map(rank) if key == "stage" else frame[key] for key in keys]
    columns = {f"key{place}": values.to_numpy() for place, values in enumerate(by)}
    order = pd.DataFrame(columns).sort_values(list(columns), kind="stable").index
    return frame.iloc[order.to_numpy()].reset_index(drop=True)


def _failing(observations: pd.DataFrame, verdicts: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Rows that broke, or exceed the limit in a group whose verdict says so.

    The judge decides which groups have a limit on the ratio; a row alone cannot tell.
    """
    suspect = verdicts.loc[verdicts["verdict"].isin([Verdict.FAIL.value, Verdict.WARN.value]), [*GROUP]]
    groups = pd.MultiIndex.from_frame(observations[GROUP])
    in_suspect_group = groups.isin(pd.MultiIndex.from_frame(suspect)) if len(suspect) else np.zeros(len(groups), bool)
    broken = observations["status"].isin(BROKEN).to_numpy(dtype=bool)
    measured = (observations["status"] == Status.OK.value).to_numpy(dtype=bool)
    beyond = ~(observations["ratio"].to_numpy(dtype=np.float64) <= 1)
    return broken | (in_suspect_group & measured & beyond)
