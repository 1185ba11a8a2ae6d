"""Failures grouped by cause: the earliest failing stage of a case accounts for the later ones.

A wrong code shows again in the weight and in the output. So each failing (id, device) counts once,
for the first stage that it breaks, and a cause is one quantity of one stage of one layer.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from accuracy.case import Stage, Status, Verdict
from reports import coded, known, trigger, words
from reports.coded import Coded
from reports.frames import Cell, Frames, records
from reports.trigger import Trigger

SAME_CASES = 0.9
"""Share of the failing cases from which a second quantity belongs to the cause of the first."""

SCALE_FAULT = 0.5
"""Share of the error's energy from which a constant factor describes it: "2 % too large"."""

ENDS = {Status.CRASH.value: "crashes", Status.TIMEOUT.value: "does not end in time"}
"""What is said of a layer that gave no answer."""

CODES = "codes"

LONGEST_REASON = 110

VARIABLE = re.compile(r"\([^)]*\)|\[[^]]*\]|(b?float|u?int)?[0-9]+")
"""What differs between messages of one kind: shapes, numbers, dtypes."""

FEATURE_ORDER = (
    "device", "dtype", "mode", "moves", "rows", "in_features", "out_features", "bias", "threshold", "blocksize",
    "nested", "quant_type", "compute_dtype", "quant_storage", "has_fp16_weights", "num_embeddings",
    "embedding_dim", "lookups", "weight", "activation", "rank", "even_k", "whole_lanes",
    "whole_tiles", "whole_rows", "whole_blocks", "whole_dim_lanes", "whole_dim_blocks", "blocks",
    "steps", "accumulate", "layers", "single_rank", "first",
)  # fmt: skip
"""Where two conditions separate equally well, the one named first is told."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One group of failures.

    `failing` of `total` measured (case, device) pairs of the layer fail here first; `also` names
    what else fails in the same cases, as a consequence or beside it.
    """

    kind: Verdict
    layer: str
    stage: str
    quantities: tuple[str, ...]
    manner: str
    failing: int
    total: int
    devices: tuple[str, ...]
    dtypes: tuple[str, ...]
    everywhere: bool
    trigger: Trigger | None
    also: tuple[tuple[str, str, int], ...]
    cells: tuple[Cell, ...]
    worst_id: str
    known: str
    members: frozenset[tuple[str, str]]


def find(frames: Frames) -> tuple[Cause, ...]:
    """All causes: failures before warnings, then those of the earliest stage, then those with most cases."""
    broken = np.flatnonzero(frames.columns["failing"])
    if not broken.size:
        return ()
    pair = coded.numbers(frames.coded["id"], frames.coded["device"])
    failing = frames.observations.iloc[broken].assign(pair=pair[broken])
    failing["rank"] = failing["stage"].map(words.stage_rank)
    first = failing["rank"].groupby(failing["pair"]).transform("min")
    primary = failing[failing["rank"] == first]
    primary = primary.assign(
        layer=primary["case"].map(frames.layers),
        ending=[_ending(row) for row in records(primary[["stage", "status", "reason"]])],
    )
    causes = [
        cause
        for _, group in primary.groupby(["layer", "stage", "ending"], sort=True)
        for quantities in _together(group)
        for cause in _causes(frames, pair, failing, group[group["quantity"].isin(quantities)], quantities)
    ]
    return tuple(sorted(causes, key=_rank))


def _rank(cause: Cause) -> tuple[int, bool, int, int, str]:
    """Wrong numbers come before exceptions: an exception tells its user, a wrong number nobody."""
    loud = cause.stage == Stage.CONTRACT.value
    return words.SEVERITY.index(cause.kind), loud, -cause.failing, words.stage_rank(cause.stage), cause.layer


def _ending(row: Mapping[str, Any]) -> str:
    """What sets apart causes that a quantity cannot: the message, with its numbers left out."""
    if row["stage"] != Stage.CONTRACT.value:
        return ""
    return f"{row['status']} {VARIABLE.sub('…', row['reason'])}"


def _together(group: pd.DataFrame) -> list[tuple[str, ...]]:
    """Quantities of one stage, put together where nearly the same cases fail; most cases first.

    One that fails only where another of the stage does is no cause of its own, and is left out.
    """
    cases = {str(name): set(rows["pair"].tolist()) for name, rows in group.groupby("quantity", sort=True)}
    together: list[list[str]] = []
    for name in sorted(cases, key=lambda name: (-len(cases[name]), name)):
        for family in together:
            larger = cases[family[0]]
            shared = len(cases[name] & larger)
            if shared >= SAME_CASES * len(larger):
                family.append(name)
                break
            if shared == len(cases[name]):
                break
        else:
            together.append([name])
    return [tuple(family) for family in together]


def _causes(
    frames: Frames,
    pair: NDArray[np.int64],
    failing: pd.DataFrame,
    members: pd.DataFrame,
    quantities: tuple[str, ...],
) -> list[Cause]:
    """One cause, or several where a condition sets part of the failing cases apart.

    A pair is a number that stands for one id on one device; `pair` has that of each observation.
    """
    layer, stage = str(members["layer"].iloc[0]), str(members["stage"].iloc[0])
    own = members["pair"].unique()
    elsewhere = np.setdiff1d(_failing_elsewhere(failing, stage, quantities[0]), own)
    compared = _measured(frames, layer, stage, quantities[0])
    compared = compared[~np.isin(pair[compared], elsewhere)]
    hit = np.isin(pair[compared], own)
    parts = trigger.split(_inputs(frames, compared), hit, copies=_copies(frames, compared, hit))
    return [
        _cause(
            frames,
            failing,
            members[np.isin(members["pair"], pair[compared[mask]])],
            quantities,
            found,
            compared=compared,
        )
        for found, mask in parts
    ]


def _measured(frames: Frames, layer: str, stage: str, quantity: str) -> NDArray[np.int64]:
    """The rows of one layer, stage and quantity that gave an answer or failed."""
    of_layer = np.array([frames.layers[case] == layer for case in frames.coded["case"].levels], dtype=bool)
    mine = of_layer[frames.coded["case"].codes]
    for name, level in (("stage", stage), ("quantity", quantity)):
        mine &= frames.coded[name].codes == frames.coded[name].code(level)
    answered = frames.coded["status"].codes == frames.coded["status"].code(Status.OK.value)
    return np.flatnonzero(mine & (answered | frames.columns["failing"]))


def _copies(frames: Frames, compared: NDArray[np.int64], hit: NDArray[np.bool_]) -> int:
    """On how many devices each case says the same: where devices agree, a case is evidence once."""
    identity = frames.coded["id"].codes[compared]
    number, hits = np.bincount(identity), np.bincount(identity, weights=hit)
    agree = bool(((hits == 0) | (hits == number)).all())
    return len(frames.coded["device"].at(compared).occurring()) if agree else 1


def _failing_elsewhere(failing: pd.DataFrame, stage: str, quantity: str) -> NDArray[np.int64]:
    """Pairs that fail earlier, or here in another way: they say nothing about this cause."""
    here = (failing["stage"] == stage) & (failing["quantity"] == quantity)
    return failing.loc[(failing["rank"] < words.stage_rank(stage)) | here, "pair"].unique()


def _cause(
    frames: Frames,
    failing: pd.DataFrame,
    members: pd.DataFrame,
    quantities: tuple[str, ...],
    found: Trigger | None,
    *,
    compared: NDArray[np.int64],
) -> Cause:
    stage = str(members["stage"].iloc[0])
    pairs = frozenset(zip(members["id"].tolist(), members["device"].tolist(), strict=True))
    badness = members["ratio"].fillna(math.inf)
    _, worst_id, _ = min(zip(-badness, members["id"], members["device"], strict=True))
    own = np.isin(failing["pair"], members["pair"].unique())
    other = failing[own & ~((failing["stage"] == stage) & failing["quantity"].isin(quantities))]
    also = Counter(zip(other["stage"], other["quantity"], strict=True))
    devices, dtypes = (tuple(sorted(members[name].unique())) for name in ("device", "dtype"))
    cells = sorted(set(zip(*(members[name] for name in Cell._fields), strict=True)))
    keys = [(*cell, stage, name) for cell in cells for name in quantities]
    return Cause(
        kind=words.worst([frames.judged[key] for key in keys if key in frames.judged]),
        layer=str(members["layer"].iloc[0]),
        stage=stage,
        quantities=quantities,
        manner=_manner(members),
        failing=len(pairs),
        total=len(compared),
        devices=devices,
        dtypes=dtypes,
        everywhere=all(
            len(mine) == len(frames.coded[name].at(compared).occurring())
            for name, mine in (("device", devices), ("dtype", dtypes))
        ),
        trigger=found,
        also=tuple((str(later), str(name), number) for (later, name), number in also.items()),
        cells=tuple(Cell(*key) for key in cells),
        worst_id=str(worst_id),
        known=known.said(members["fits"]),
        members=pairs,
    )


def _inputs(frames: Frames, compared: NDArray[np.int64]) -> dict[str, Coded]:
    """Features of the compared rows, in the order in which they should be told, constants left out."""
    place = frames.columns["place"][compared]
    table = {name: column.at(place) for name, column in frames.inputs.items()}
    table |= {name: frames.coded[name].at(compared) for name in ("device", "dtype")}
    named = [name for name in FEATURE_ORDER if name in table]
    rest = sorted(set(table) - set(named))
    return {name: table[name] for name in [*named, *rest] if np.count_nonzero(table[name].counts()) > 1}


def _manner(members: pd.DataFrame) -> str:
    """What the failing rows have in common, in words: how they are wrong, or how they ended."""
    status, stage = str(members["status"].iloc[0]), str(members["stage"].iloc[0])
    said = members.loc[members["reason"] != "", "reason"]
    reason = words.clipped(str(said.iloc[0]), LONGEST_REASON) if len(said) else "no reason given"
    if status != Status.FAIL.value:
        return f"{ENDS[status]} ({reason})"
    if stage == Stage.CONTRACT.value:
        return f"raises {reason}" if members["quantity"].iloc[0] == "completes" else f"is wrong ({reason})"
    ratios = members["ratio"]
    if ratios.isna().any():
        return "is not a number" if ratios.isna().all() else "is not a number in part"
    if math.isinf(ratios.median()):
        return f"is not exact{_extent(members)}"
    factor = members["slope"].median()
    energy = members["slope"].pow(2) / members["rel_fro"].pow(2)
    if energy.median() >= SCALE_FAULT:
        return f"is {words.percent(abs(factor))} too {'large' if factor > 0 else 'small'}"
    return f"exceeds its limit up to {words.number(float(ratios[ratios < math.inf].max()))}-fold"


def _extent(members: pd.DataFrame) -> str:
    """How far off what should be exact is, by the norm; nothing of codes, whose numbers are names of values."""
    if any(str(name).endswith(CODES) for name in members["quantity"]):
        return ""
    off = members["rel_fro"]
    off = off[(off > 0) & (off < math.inf)]
    return f" (up to {words.percent(float(off.max()))} off)" if len(off) else ""


def checked(cause: Cause) -> tuple[str, ...]:
    """The quantities of its stage that a cause accounts for: its own, and those that fail only beside them."""
    return cause.quantities + tuple(name for stage, name, _ in cause.also if stage == cause.stage)
