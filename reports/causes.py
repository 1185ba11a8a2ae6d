"""Failures grouped by cause: the earliest failing stage of a case accounts for the later ones.

A wrong code shows again in the weight and in the output. So each failing (id, device) counts once,
for the first stage that it breaks, and a cause is one quantity of one stage of one layer.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from accuracy.case import Stage, Status, Verdict
from reports import coded, known, manner, trigger, words
from reports.coded import Coded
from reports.frames import Cell, Frames
from reports.trigger import Trigger

SAME_CASES = 0.9
"""Share of the failing cases from which a second quantity belongs to the cause of the first."""

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


@dataclass(frozen=True, kw_only=True)
class _Failing:
    """The failing rows of a run, as places in its columns; and of every row, failing or not, `rank` and `pair`.

    `rank` is the place of its stage in the flow, `pair` a number that stands for its id on its device.
    """

    frames: Frames
    rows: NDArray[np.int64]
    rank: NDArray[np.int64]
    pair: NDArray[np.int64]

    def pairs(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pairs some rows are of."""
        found = np.zeros(len(self.pair), dtype=bool)
        found[self.pair[rows]] = True
        return found

    def first(self) -> NDArray[np.int64]:
        """The rows in the earliest stage that fails of each pair."""
        pair, rank = self.pair[self.rows], self.rank[self.rows]
        earliest = np.full(len(self.pair), len(words.STAGES), dtype=np.int64)
        np.minimum.at(earliest, pair, rank)
        first: NDArray[np.int64] = self.rows[rank == earliest[pair]]
        return first

    def checked(self, stage: str, quantities: Sequence[str]) -> NDArray[np.bool_]:
        """Which of `rows` are of one of these quantities of a stage."""
        stages, names = (self.frames.coded[name].at(self.rows) for name in ("stage", "quantity"))
        return stages.among([stage]) & names.among(quantities)


def find(frames: Frames) -> tuple[Cause, ...]:
    """All causes: failures before warnings, then those of the earliest stage, then those with most cases."""
    broken = np.flatnonzero(frames.columns["failing"])
    if not broken.size:
        return ()
    stage = frames.coded["stage"]
    rank = np.array([words.stage_rank(level) for level in stage.levels], dtype=np.int64)[stage.codes]
    pair = np.unique(coded.numbers(frames.coded["id"], frames.coded["device"]), return_inverse=True)[1]
    failing = _Failing(frames=frames, rows=broken, rank=rank, pair=pair)
    causes = [
        cause
        for (layer, _, _), group in sorted(_groups(failing).items())
        for quantities in _together(failing, group)
        for cause in _causes(failing, layer, group, quantities)
    ]
    return tuple(sorted(causes, key=_rank))


def _groups(failing: _Failing) -> dict[tuple[str, str, str], NDArray[np.int64]]:
    """The rows that fail first, by layer, stage and what else sets causes apart."""
    columns, first = failing.frames.columns, failing.first()
    groups: dict[tuple[str, str, str], list[int]] = {}
    told = zip(*(columns[name][first].tolist() for name in ("case", "stage", "status", "reason")), strict=True)
    for row, (case, stage, status, reason) in zip(first.tolist(), told, strict=True):
        key = failing.frames.layers[case], stage, _ending(stage, status, reason)
        groups.setdefault(key, []).append(row)
    return {key: np.array(rows, dtype=np.int64) for key, rows in groups.items()}


def _rank(cause: Cause) -> tuple[int, bool, int, int, str]:
    """Wrong numbers come before exceptions: an exception tells its user, a wrong number nobody."""
    loud = cause.stage == Stage.CONTRACT.value
    return words.SEVERITY.index(cause.kind), loud, -cause.failing, words.stage_rank(cause.stage), cause.layer


def _ending(stage: str, status: str, reason: str) -> str:
    """What sets apart causes that a quantity cannot: the message, with its numbers left out."""
    return f"{status} {VARIABLE.sub('…', reason)}" if stage == Stage.CONTRACT.value else ""


def _together(failing: _Failing, group: NDArray[np.int64]) -> list[tuple[str, ...]]:
    """Quantities of one stage, put together where nearly the same cases fail; most cases first.

    One that fails only where another of the stage does is no cause of its own, and is left out.
    """
    cases: dict[str, set[int]] = {}
    for name, pair in zip(failing.frames.columns["quantity"][group], failing.pair[group].tolist(), strict=True):
        cases.setdefault(name, set()).add(pair)
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


def _causes(failing: _Failing, layer: str, group: NDArray[np.int64], quantities: tuple[str, ...]) -> list[Cause]:
    """One cause, or several where a condition sets part of the failing cases apart."""
    frames, pair = failing.frames, failing.pair
    stage = str(frames.columns["stage"][group[0]])
    members = np.intersect1d(group, failing.rows[failing.checked(stage, quantities)], assume_unique=True)
    own = failing.pairs(members)
    elsewhere = failing.pairs(_elsewhere(failing, stage, quantities[0])) & ~own
    compared = _measured(frames, layer, stage, quantities[0])
    compared = compared[~elsewhere[pair[compared]]]
    hit = own[pair[compared]]
    parts = trigger.split(_inputs(frames, compared), hit, copies=_copies(frames, compared, hit))
    return [
        _cause(failing, members[failing.pairs(compared[mask])[pair[members]]], quantities, found, compared=compared)
        for found, mask in parts
    ]


def _measured(frames: Frames, layer: str, stage: str, quantity: str) -> NDArray[np.int64]:
    """The rows of one layer, stage and quantity that gave an answer or failed."""
    mine = frames.coded["case"].among({case for case in frames.layers if frames.layers[case] == layer})
    for name, level in (("stage", stage), ("quantity", quantity)):
        mine &= frames.coded[name].among([level])
    answered = frames.coded["status"].among([Status.OK.value])
    return np.flatnonzero(mine & (answered | frames.columns["failing"]))


def _copies(frames: Frames, compared: NDArray[np.int64], hit: NDArray[np.bool_]) -> int:
    """On how many devices each case says the same: where devices agree, a case is evidence once."""
    identity = frames.coded["id"].codes[compared]
    number, hits = np.bincount(identity), np.bincount(identity, weights=hit)
    agree = bool(((hits == 0) | (hits == number)).all())
    return len(frames.coded["device"].at(compared).occurring()) if agree else 1


def _elsewhere(failing: _Failing, stage: str, quantity: str) -> NDArray[np.int64]:
    """Rows that fail earlier, or here in whatever way: in another way they say nothing about this cause."""
    earlier = failing.rank[failing.rows] < words.stage_rank(stage)
    return failing.rows[earlier | failing.checked(stage, (quantity,))]


def _cause(
    failing: _Failing,
    members: NDArray[np.int64],
    quantities: tuple[str, ...],
    found: Trigger | None,
    *,
    compared: NDArray[np.int64],
) -> Cause:
    frames = failing.frames
    mine = {name: column[members] for name, column in frames.columns.items()}
    stage = str(mine["stage"][0])
    pairs = frozenset(zip(mine["id"].tolist(), mine["device"].tolist(), strict=True))
    badness = np.where(np.isnan(mine["ratio"]), math.inf, mine["ratio"])
    _, worst_id, _ = min(zip((-badness).tolist(), mine["id"], mine["device"], strict=True))
    beside = failing.pairs(members)[failing.pair[failing.rows]] & ~failing.checked(stage, quantities)
    others = failing.rows[beside]
    also = Counter(zip(*(frames.columns[name][others].tolist() for name in ("stage", "quantity")), strict=True))
    devices, dtypes = (tuple(sorted(set(mine[name]))) for name in ("device", "dtype"))
    cells = sorted(set(zip(*(mine[name] for name in Cell._fields), strict=True)))
    keys = [(*cell, stage, name) for cell in cells for name in quantities]
    return Cause(
        kind=words.worst([frames.judged[key] for key in keys if key in frames.judged]),
        layer=frames.layers[mine["case"][0]],
        stage=stage,
        quantities=quantities,
        manner=manner.of(mine),
        failing=len(pairs),
        total=len(compared),
        devices=devices,
        dtypes=dtypes,
        everywhere=all(
            len(some) == len(frames.coded[name].at(compared).occurring())
            for name, some in (("device", devices), ("dtype", dtypes))
        ),
        trigger=found,
        also=tuple((str(later), str(name), number) for (later, name), number in also.items()),
        cells=tuple(Cell(*key) for key in cells),
        worst_id=str(worst_id),
        known=known.said(mine["fits"]),
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


def checked(cause: Cause) -> tuple[str, ...]:
    """The quantities of its stage that a cause accounts for: its own, and those that fail only beside them."""
    return cause.quantities + tuple(name for stage, name, _ in cause.also if stage == cause.stage)
