"""Failures grouped by cause: the earliest failing stage of a case accounts for the later ones.

A wrong code shows again in the weight and in the output. So each failing (id, device) counts once,
for the first stage that it breaks, and a cause is one quantity of one stage of one layer.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from accuracy.case import Status
from reports import trigger, words
from reports.frames import Cell, Frames
from reports.trigger import Condition, Trigger

SAME_CASES = 0.9
"""Share of the failing cases from which a second quantity belongs to the cause of the first."""

SCALE_FAULT = 0.5
"""Share of the error's energy from which a constant factor describes it: "2 % too large"."""

PLURAL = ("codes", "scales")
"""Quantities whose names take "are"."""

FEATURE_ORDER = (
    "device", "dtype", "mode", "rows", "in_features", "out_features", "bias", "threshold", "blocksize",
    "nested", "quant_type", "compute_dtype", "quant_storage", "has_fp16_weights", "num_embeddings",
    "embedding_dim", "lookups", "weight", "activation", "rank", "whole_rows", "whole_blocks",
)  # fmt: skip
"""Where two conditions separate equally well, the one named first is told."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One group of failures.

    `failing` of `total` measured (case, device) pairs of the layer fail here first; `also` names
    what else fails in the same cases, as a consequence or beside it.
    """

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
    worst_cell: Cell
    worst_ratio: float
    members: frozenset[tuple[str, str]]


def find(frames: Frames) -> tuple[Cause, ...]:
    """All causes, those of the earliest stage and with most failing cases first."""
    rows = frames.observations
    failing = rows[rows["failing"]]
    if failing.empty:
        return ()
    rank = failing["stage"].map(words.stage_rank)
    first = rank.groupby([failing["id"], failing["device"]]).transform("min")
    primary = failing[rank == first]
    primary = primary.assign(layer=primary["case"].map(frames.layers))
    causes = []
    for _, group in primary.groupby(["layer", "stage"], sort=True):
        for quantities in _together(group):
            members = group[group["quantity"].isin(quantities)]
            causes.append(_cause(frames, failing, members, quantities))
    return tuple(sorted(causes, key=lambda cause: (words.stage_rank(cause.stage), -cause.failing, cause.layer)))


def _together(group: pd.DataFrame) -> list[tuple[str, ...]]:
    """Quantities of one stage, put together where nearly the same cases fail; most cases first."""
    cases = {
        str(name): set(zip(rows["id"], rows["device"], strict=True))
        for name, rows in group.groupby("quantity", sort=True)
    }
    together: list[list[str]] = []
    for name in sorted(cases, key=lambda name: (-len(cases[name]), name)):
        for family in together:
            larger = cases[family[0]]
            if len(cases[name] & larger) >= SAME_CASES * len(larger):
                family.append(name)
                break
        else:
            together.append([name])
    return [tuple(family) for family in together]


def _cause(frames: Frames, failing: pd.DataFrame, members: pd.DataFrame, quantities: tuple[str, ...]) -> Cause:
    layer, stage = str(members["layer"].iloc[0]), str(members["stage"].iloc[0])
    pairs = frozenset(zip(members["id"], members["device"], strict=True))
    rows = frames.observations
    compared = rows[
        (rows["case"].map(frames.layers) == layer) & (rows["stage"] == stage) & (rows["quantity"] == quantities[0])
    ].drop_duplicates(["id", "device"])
    earlier = failing[failing["stage"].map(words.stage_rank) < words.stage_rank(stage)]
    keys = pd.MultiIndex.from_frame(compared[["id", "device"]])
    compared = compared[~keys.isin(list(zip(earlier["id"], earlier["device"], strict=True)))]
    inputs = _inputs(frames, compared)
    hit = pd.MultiIndex.from_frame(compared[["id", "device"]]).isin(list(pairs))
    order = members.assign(badness=members["ratio"].fillna(math.inf)).sort_values(
        ["badness", "id", "device"], ascending=[False, True, True]
    )
    worst = order.iloc[0]
    own = pd.MultiIndex.from_frame(failing[["id", "device"]]).isin(list(pairs))
    other = failing[own & ~((failing["stage"] == stage) & failing["quantity"].isin(quantities))]
    also = Counter(zip(other["stage"], other["quantity"], strict=True))
    devices, dtypes = (tuple(sorted(members[name].unique())) for name in ("device", "dtype"))
    return Cause(
        layer=layer,
        stage=stage,
        quantities=quantities,
        manner=_manner(members),
        failing=len(pairs),
        total=len(compared),
        devices=devices,
        dtypes=dtypes,
        everywhere=len(devices) == compared["device"].nunique() and len(dtypes) == compared["dtype"].nunique(),
        trigger=trigger.find(inputs, hit),
        also=tuple((str(later), str(name), number) for (later, name), number in also.items()),
        cells=tuple(Cell(*key) for key in sorted(set(zip(*(members[c] for c in Cell._fields), strict=True)))),
        worst_id=str(worst["id"]),
        worst_cell=Cell(str(worst["case"]), str(worst["device"]), str(worst["dtype"])),
        worst_ratio=float(worst["ratio"]),
        members=pairs,
    )


def _inputs(frames: Frames, compared: pd.DataFrame) -> pd.DataFrame:
    """Features of the compared rows, in the order in which they should be told, constants left out."""
    table = frames.inputs.loc[compared["id"]].reset_index(drop=True)
    table["device"] = compared["device"].to_numpy()
    table["dtype"] = compared["dtype"].to_numpy()
    named = [name for name in FEATURE_ORDER if name in table.columns]
    rest = sorted(set(table.columns) - set(named))
    varying = [name for name in [*named, *rest] if len(set(table[name].dropna())) > 1]
    return table[varying].astype(object)


def _manner(members: pd.DataFrame) -> str:
    """What the failing rows have in common, in words: how they are wrong, or how they ended."""
    status = members["status"].mode().iloc[0]
    if status in (Status.CRASH.value, Status.TIMEOUT.value):
        ended = "crashes" if status == Status.CRASH.value else "does not end in time"
        reason = members.loc[members["reason"] != "", "reason"]
        return f"{ended}: {words.clipped(str(reason.mode().iloc[0]), 160)}" if len(reason) else ended
    ratios = members["ratio"]
    if ratios.isna().any():
        return "is not a number" if ratios.isna().all() else "is not a number in part"
    if members["stage"].iloc[0] == "contract":
        reason = members.loc[members["reason"] != "", "reason"]
        return (
            f"breaks its contract: {words.clipped(str(reason.iloc[0]), 160)}" if len(reason) else "breaks its contract"
        )
    if math.isinf(ratios.max()):
        return "is not exact"
    factor = members["slope"].median() - 1
    energy = (members["slope"] - 1).pow(2) / members["rel_fro"].pow(2)
    if energy.median() >= SCALE_FAULT and abs(factor) > 0:
        return f"is {words.percent(abs(factor))} too {'large' if factor > 0 else 'small'}"
    return f"exceeds its limit, at worst {words.number(float(ratios.max()))} times"


def sentence(cause: Cause) -> str:
    """The cause as one sentence, which says what, where, how wrong, when and how often."""
    what = words.listed(
        [words.quantity(cause.stage, name) if place == 0 else words.quantity(cause.stage, name).lower()
         for place, name in enumerate(cause.quantities)]
    )  # fmt: skip
    manner = cause.manner
    if len(cause.quantities) > 1 or cause.quantities[0] in PLURAL:
        manner = manner.replace("is ", "are ", 1) if manner.startswith("is ") else manner
        manner = manner.replace("exceeds its", "exceed their", 1)
    place, when = _place(cause), _when(cause)
    share = f"{cause.failing} of {words.counted(cause.total, 'case')}"
    return f"{what} of {cause.layer}{place} {manner}{when}: {share}."


def _place(cause: Cause) -> str:
    """Where: a device or dtype that the condition names, or where no condition is found, all that fail."""
    if cause.trigger is None:
        if cause.everywhere:
            return ""
        dtypes = words.listed(words.dtype(name) for name in cause.dtypes)
        return f" on {words.listed(cause.devices)} in {dtypes}"
    named = {condition.feature: str(condition.value) for condition in cause.trigger.conditions if _is_place(condition)}
    device = f" on {named['device']}" if "device" in named else ""
    return f"{device} in {words.dtype(named['dtype'])}" if "dtype" in named else device


def _is_place(condition: Condition) -> bool:
    return condition.feature in ("device", "dtype") and condition.relation == "="


def _when(cause: Cause) -> str:
    found = cause.trigger
    if found is None:
        return ""
    if not found.conditions:
        return " in every case"
    rest = [condition.text for condition in found.conditions if not _is_place(condition)]
    if not rest:
        return "" if found.necessary else " mostly"
    how = ("when" if found.sufficient else "only when") if found.necessary else "mostly when"
    return f" {how} {' and '.join(rest)}"


def evidence(cause: Cause) -> str:
    """How well the condition separates failing from passing cases; says so where there is none."""
    found = cause.trigger
    if found is None:
        return "No single condition, and no two together, separates the failing cases from the passing ones."
    if not found.conditions:
        return "Every case that was measured fails; no condition on the inputs can tell them apart."
    outside = found.failing - found.matching_failing
    text = (
        f"{found.matching_failing} of {words.counted(found.matching, 'case')} with {found.text} fail, "
        f"{outside} of {words.counted(found.total - found.matching, 'case')} without."
    )
    edges = [condition.edge for condition in found.conditions if condition.edge]
    return f"{text} Nearest cases: {'; '.join(edges)}." if edges else text


def consequences(cause: Cause) -> str:
    """What else fails in the same cases; empty where nothing does."""
    if not cause.also:
        return ""
    later = [f"{words.quantity(stage, name).lower()} ({stage}, {number})" for stage, name, number in cause.also]
    return f"The same cases also fail in {words.listed(later)}: look at {cause.stage} first."


def of_cell(causes: Sequence[Cause], cell: Cell) -> tuple[Cause, ...]:
    """The causes that reach into a cell."""
    return tuple(cause for cause in causes if cell in cause.cells)
