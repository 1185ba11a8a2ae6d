"""The frames of a run, put in one fixed order, with what every section of the page asks of them.

A *cell* of the page is (case, device, dtype); it holds one verdict row for each (stage, quantity).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accuracy import histogram
from accuracy.case import BROKEN, EXPLORED, Status, Verdict
from accuracy.histogram import Counts
from reports import features, known, words
from reports.features import Value

"""Statuses of rows that failed: over a limit, or without an answer."""

CELL = ["case", "device", "dtype"]
GROUP = [*CELL, "stage", "quantity"]

TEXT = ["id", "config", "origin", *GROUP, "status", "reason"]
NUMBERS = [
    "ratio", "slope", "rel_fro", "total_fro", "compute_fro", "quantization_fro", "special_mismatch", "theory_z",
]  # fmt: skip
"""Columns of observations that the page shows; the histograms are pooled first, the rest is left alone."""


class Cell(NamedTuple):
    """One place of the matrix."""

    case: str
    device: str
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Frames:
    """A run as the page reads it.

    `observations` has the columns of `accuracy.case.Observation` that the page shows, and
    `failing`; `verdicts` one row a group; both are sorted, so that equal data give equal pages
    whatever the order of the rows. `worst` is the worst observation of each (id, device) that was
    measured, worst first. `histograms` pools error ÷ limit over the planned cases of each group, `judged`
    has its verdict, both keyed like `GROUP`; `fits` holds, for each failing row of a group, the ids of the known
    findings that it fits, and stands in `observations` too. `columns` has the same columns as arrays, and `places`
    which of their rows are planned, by group: a page looks thousands of times, and a selection of a frame is not free.
    `features` holds the features of every id, `inputs` the same as a table, `layers` the layer of every case.
    """

    observations: pd.DataFrame
    verdicts: pd.DataFrame
    worst: pd.DataFrame
    histograms: Mapping[tuple[str, ...], Counts]
    judged: Mapping[tuple[str, ...], Verdict]
    fits: Mapping[tuple[str, ...], list[tuple[str, ...]]]
    columns: Mapping[str, NDArray[Any]]
    places: Mapping[tuple[str, ...], NDArray[np.int64]]
    features: Mapping[str, Mapping[str, Value]]
    inputs: pd.DataFrame
    layers: Mapping[str, str]


def prepare(manifest: Mapping[str, Any], observations: pd.DataFrame, verdicts: pd.DataFrame) -> Frames:
    """Sort both frames, pool the histograms and read the configs."""
    layers = {case: str(about["layer"]) for case, about in manifest["cases"].items()}
    used = {*verdicts["case"], *observations["case"]}
    ordered = in_order(observations, [*GROUP, "id"])
    text = ordered[TEXT].astype(object)  # plain Python text: thousands of small selections of it follow
    rows = pd.concat([text, ordered[[*NUMBERS, "strata"]]], axis=1).assign(
        failing=ordered["status"].isin(BROKEN).to_numpy(dtype=bool)
    )
    rows["fits"] = _fits(rows)
    places = _places(ordered)
    known_features = features.by_id(rows)
    return Frames(
        observations=rows,
        verdicts=in_order(verdicts, GROUP).astype(dict.fromkeys([*GROUP, "verdict", "reason", "basis"], object)),
        worst=_worst(rows),
        histograms=_pooled(ordered, places),
        judged={
            key: Verdict(verdict)
            for *key_parts, verdict in zip(*(verdicts[name] for name in [*GROUP, "verdict"]), strict=True)
            for key in (tuple(key_parts),)
        },
        fits=_by_group(rows[rows["failing"]]),
        columns={str(name): rows[name].to_numpy() for name in rows.columns},
        places=places,
        features=known_features,
        inputs=features.table(known_features),
        layers={case: layers.get(case, case) for case in sorted({*layers, *used})},
    )


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame, by column name."""
    columns = {str(name): frame[name].tolist() for name in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def in_order(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The frame sorted by some columns; stages in the order of the flow."""
    codes, stages = pd.factorize(frame["stage"])
    rank = np.array([words.stage_rank(str(stage)) for stage in stages], dtype=np.int64)[codes]
    place = pd.DataFrame({key: rank if key == "stage" else frame[key].to_numpy() for key in keys})
    order = place.reset_index(drop=True).sort_values(keys, kind="stable").index
    return frame.iloc[order.to_numpy()].reset_index(drop=True)


def by_cell(rows: Iterable[Mapping[str, Any]]) -> dict[Cell, list[Mapping[str, Any]]]:
    """Rows as `records` gives them, by cell, in their order."""
    found: dict[Cell, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(Cell(row["case"], row["device"], row["dtype"]), []).append(row)
    return found


def planned(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that statistics may be made of: those that no search chose."""
    explored = rows["origin"] == EXPLORED
    return rows[~explored] if explored.any() else rows


def _fits(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """For each row the known findings that it fits; none for a row that does not fail."""
    fits: list[tuple[str, ...]] = [()] * len(rows)
    failing = rows.loc[rows["failing"], ["case", "device", "stage", "quantity", "reason"]]
    for at, case, device, stage, quantity, reason in failing.itertuples():
        fits[at] = known.fitting(case, device, f"{stage}/{quantity}", reason)
    return fits


def _by_group(failing: pd.DataFrame) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    fits: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for *key, names in failing[[*GROUP, "fits"]].itertuples(index=False):
        fits.setdefault(tuple(key), []).append(names)
    return fits


def _worst(rows: pd.DataFrame) -> pd.DataFrame:
    measured = rows[rows["failing"] | (rows["status"] == Status.OK.value)]
    badness = measured["ratio"].fillna(np.inf)
    ordered = measured.assign(badness=badness, passing=~measured["failing"], descending=-badness)
    by = ["passing", "descending", "id", "device"]
    return ordered.sort_values(by, kind="stable").drop_duplicates(["id", "device"]).reset_index(drop=True)


def _places(rows: pd.DataFrame) -> dict[tuple[str, ...], NDArray[np.int64]]:
    """Where the planned rows of each group stand."""
    members: dict[tuple[str, ...], list[int]] = {}
    for place, (origin, *key) in enumerate(zip(*(rows[name].tolist() for name in ["origin", *GROUP]), strict=True)):
        if origin != EXPLORED:
            members.setdefault(tuple(key), []).append(place)
    return {key: np.array(places, dtype=np.int64) for key, places in members.items()}


def _pooled(rows: pd.DataFrame, places: Mapping[tuple[str, ...], NDArray[np.int64]]) -> dict[tuple[str, ...], Counts]:
    bins, counts = rows["ratio_bins"].to_numpy(), rows["ratio_counts"].to_numpy()
    return {key: histogram.merge(zip(bins[at], counts[at], strict=True)) for key, at in places.items()}
