"""The frames of a run, put in one fixed order, with what every section of the page asks of them.

A *cell* of the page is (case, device, dtype); it holds one verdict row for each (stage, quantity).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from accuracy import histogram, lists
from accuracy.case import BROKEN, EXPLORED, Status, Verdict
from accuracy.histogram import Counts
from reports import coded, features, known, words
from reports.coded import Coded
from reports.columns import GROUP, NUMBERS, SIZES, TEXT

AT_ONCE = 50
"""Groups whose histograms are laid side by side to be pooled: of all at once much memory would be wanted anew."""


class Cell(NamedTuple):
    """One place of the matrix."""

    case: str
    device: str
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Frames:
    """A run as the page reads it.

    `columns` has the columns of `accuracy.case.Observation` that the page shows, `failing`, `place`, the row of the
    case in `inputs`, and `fits`, for a failing row the ids of the known findings that it fits. `verdicts` has one row
    a group. Both are sorted, so that equal data give equal pages whatever the order of the rows. `worst` has the row of
    the worst observation of each (id, device) that was measured, worst first. `histograms` pools error ÷ limit over the
    planned cases of each group, `judged` has its verdict, `places` its planned rows and `fits` what its failing rows
    fit, all keyed like `GROUP`. `coded` has the names of the observations as codes, `strata` the strata that each
    meets. `inputs` holds the features of every id, one row each, `layers` the layer of every case.
    """

    columns: Mapping[str, NDArray[Any]]
    verdicts: pd.DataFrame
    worst: NDArray[np.int64]
    histograms: Mapping[tuple[str, ...], Counts]
    judged: Mapping[tuple[str, ...], Verdict]
    fits: Mapping[tuple[str, ...], list[tuple[str, ...]]]
    coded: Mapping[str, Coded]
    strata: "pa.ListArray[Any]"
    places: Mapping[tuple[str, ...], NDArray[np.int64]]
    inputs: Mapping[str, Coded]
    layers: Mapping[str, str]

    def rows(self, at: NDArray[Any]) -> pd.DataFrame:
        """Some observations as a frame, given as places or as a mask; for a few, as a frame is not free."""
        text = pd.DataFrame({name: self.columns[name][at] for name in TEXT}, dtype=object)
        return text.assign(**{name: column[at] for name, column in self.columns.items() if name not in TEXT})


def prepare(manifest: Mapping[str, Any], observations: pd.DataFrame, verdicts: pd.DataFrame) -> Frames:
    """Sort both frames, pool the histograms and read the configs."""
    layers = {case: str(about["layer"]) for case, about in manifest["cases"].items()}
    unordered = {name: coded.of_text(observations[name]) for name in TEXT}
    order = _order(unordered, [*GROUP, "id"])
    used = {*verdicts["case"].tolist(), *unordered["case"].levels}
    text = {name: column.at(order) for name, column in unordered.items()}
    numbers = {name: observations[name].to_numpy()[order] for name in NUMBERS}
    columns, first = _columns(text, numbers)
    places = _places(text)
    return Frames(
        columns=columns,
        verdicts=_in_order(verdicts).astype(dict.fromkeys([*GROUP, "verdict", "reason", "basis"], object)),
        worst=_worst(columns, text),
        histograms=_pooled(observations, order, places),
        judged={
            key: Verdict(verdict)
            for *key_parts, verdict in zip(*(verdicts[name].tolist() for name in [*GROUP, "verdict"]), strict=True)
            for key in (tuple(key_parts),)
        },
        fits=_by_group(columns),
        coded=text,
        strata=lists.of(observations["strata"], pa.string()).take(order),
        places=places,
        inputs=features.columns(columns["config"][first].tolist()),
        layers={case: layers.get(case, case) for case in sorted({*layers, *used})},
    )


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame, by column name."""
    columns = {str(name): frame[name].tolist() for name in frame.columns}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _in_order(verdicts: pd.DataFrame) -> pd.DataFrame:
    order = _order({name: coded.of_text(verdicts[name]) for name in GROUP}, GROUP)
    return verdicts.iloc[order].reset_index(drop=True)


def _order(columns: Mapping[str, Coded], keys: Sequence[str]) -> NDArray[np.int64]:
    """The rows in the order of some columns; stages in the order of the flow."""
    by = {name: columns[name].codes for name in keys}
    rank = [words.stage_rank(stage) for stage in columns["stage"].levels]
    by["stage"] = np.array(rank, dtype=np.int64)[by["stage"]]
    return np.lexsort([*by.values()][::-1])


def by_cell(rows: Iterable[Mapping[str, Any]]) -> dict[Cell, list[Mapping[str, Any]]]:
    """Rows as `records` gives them, by cell, in their order."""
    found: dict[Cell, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(Cell(row["case"], row["device"], row["dtype"]), []).append(row)
    return found


def _columns(
    text: Mapping[str, Coded], numbers: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """The columns that the page shows, text as plain Python text, and where each id is first, in that order."""
    identity = text["id"].codes
    first = np.sort(np.unique(identity, return_index=True)[1])
    place = np.empty(len(text["id"].levels), dtype=np.int64)
    place[identity[first]] = np.arange(len(first))
    broken = np.array([status in BROKEN for status in text["status"].levels], dtype=bool)
    columns = {
        **{name: column.values() for name, column in text.items()},
        **numbers,
        "failing": broken[text["status"].codes],
        "place": place[identity],
    }
    return {**columns, "fits": _fits(columns)}, first


def _fits(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.object_]:
    """For each row the known findings that it fits; none for a row that does not fail."""
    failing = np.flatnonzero(columns["failing"])
    fits = np.empty(len(columns["failing"]), dtype=object)
    fits[:] = [()] * len(fits)
    names = ("case", "device", "stage", "quantity", "reason", "config", *SIZES)
    told = zip(*(columns[name][failing].tolist() for name in names), strict=True)
    for at, values in zip(failing.tolist(), told, strict=True):
        fits[at] = known.fitting(dict(zip(names, values, strict=True)))
    return fits


def _by_group(columns: Mapping[str, NDArray[Any]]) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    fits: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    failing = np.flatnonzero(columns["failing"])
    for *key, names in zip(*(columns[name][failing].tolist() for name in [*GROUP, "fits"]), strict=True):
        fits.setdefault(tuple(key), []).append(names)
    return fits


def _worst(columns: Mapping[str, NDArray[Any]], text: Mapping[str, Coded]) -> NDArray[np.int64]:
    """The worst of the measured rows of each (id, device): what fails first, then by ratio, NaN before any."""
    failing = columns["failing"]
    measured = np.flatnonzero(failing | (text["status"].codes == text["status"].code(Status.OK.value)))
    ratio = columns["ratio"][measured].astype(np.float64)
    badness = np.where(np.isnan(ratio), np.inf, ratio)
    identity, device = (text[name].codes[measured] for name in ("id", "device"))
    order = np.lexsort((device, identity, -badness, ~failing[measured]))
    pairs = coded.numbers(text["id"], text["device"])[measured[order]]
    worst = np.sort(np.unique(pairs, return_index=True)[1])
    return measured[order[worst]]


def _places(text: Mapping[str, Coded]) -> dict[tuple[str, ...], NDArray[np.int64]]:
    """Where the planned rows of each group stand."""
    planned = np.flatnonzero(text["origin"].codes != text["origin"].code(EXPLORED))
    keys = [text[name] for name in GROUP]
    group = coded.numbers(*keys)[planned]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    found = {}
    for places in np.split(planned[order], starts[1:]) if len(starts) else ():
        found[tuple(key.levels[key.codes[places[0]]] for key in keys)] = places
    return found


def _pooled(
    rows: pd.DataFrame, order: NDArray[np.int64], places: Mapping[tuple[str, ...], NDArray[np.int64]]
) -> dict[tuple[str, ...], Counts]:
    bins, counts = (lists.of(rows[name], pa.int64()) for name in ("ratio_bins", "ratio_counts"))
    length, number = lists.lengths(bins), lists.lengths(counts)
    for odd in np.flatnonzero(length != number)[:1]:
        raise ValueError(f"{length[odd]} bins but {number[odd]} counts; each bin needs one count")
    pooled = {}
    keys = list(places)
    for some in (keys[start : start + AT_ONCE] for start in range(0, len(keys), AT_ONCE)):
        at = order[np.concatenate([places[key] for key in some])]
        ends = np.cumsum(length[at])[np.cumsum([len(places[key]) for key in some]) - 1].tolist()
        flat = [lists.values(column.take(at)) for column in (bins, counts)]
        for key, start, end in zip(some, [0, *ends], ends, strict=False):
            pooled[key] = histogram.merge([(flat[0][start:end], flat[1][start:end])])
    return pooled
