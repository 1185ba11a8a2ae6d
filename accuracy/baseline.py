"""The run that a night is held against: which one it is, whether the two can be compared, and what that decides."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from platformdirs import user_data_path

from accuracy import change, histogram, lists, store
from accuracy.case import CELL, EXPLORED, Stage, Verdict
from accuracy.cell import Cell
from accuracy.change import CellChange, Outcome
from accuracy.files import StoreError, read_file, write_file
from accuracy.limits import Change
from accuracy.verdicts import CHANGED

LARGEST: Final = 1 << 16
QUANTITY: Final = "baseline"
"""What stands for the comparison in the contract stage where it could not be made."""


SCALE: Final = ("accuracy", "bounds", "published")
"""Entries of a manifest on which the limit of an element rests, and with it what error ÷ limit means."""


@dataclass(frozen=True, kw_only=True)
class Against:
    """What a comparison with a baseline gave.

    `name` is the baseline in words. `paired` says whether pairs were compared, or sizes of different plans;
    `why_not` why neither could be, empty if one was.
    """

    name: str
    paired: bool = True
    why_not: str = ""
    changes: Sequence[CellChange] = field(default=())

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"paired": self.paired, "why_not": self.why_not, "counts": change.counts(self.changes)}


def name(manifest: Mapping[str, Any]) -> str:
    """A run in words: its library and the moment of its making."""
    moment = str(manifest["created"])[:16].replace("T", " ")
    return f"bitsandbytes {manifest['versions'].get('bitsandbytes', 'not importable')} of {moment}"


def compared(base: store.Run, candidate: pd.DataFrame, scale: Mapping[str, Any], by: Change) -> Against:
    """Hold judged observations against a baseline, of which only the same cases and devices count.

    Pairs are compared where the baseline has all tasks of the candidate, else the sizes of all that was drawn,
    which are exchangeable as long as the same version of accuracy drew them. `scale` has the entries `SCALE` of
    the candidate's manifest.
    """
    from accuracy import compare, unpaired  # SciPy's statistics take half a second, which no other command has to wait

    devices, cases = set(candidate["device"]), set(candidate["case"])
    before = base.observations[base.observations["case"].isin(cases) & base.observations["device"].isin(devices)]
    found = Against(name=name(base.manifest))
    if before.empty:
        return replace(found, why_not="no case on any device is in both runs")
    known, planned = (set(rows.loc[rows["origin"] != EXPLORED, "id"]) for rows in (before, candidate))
    if planned <= known:
        before = before[before["id"].isin(planned)]
        changes = compare.compare(before, candidate, by)
        return replace(found, changes=drawn(changes, before, (base.manifest, scale)))
    if base.manifest["accuracy"] != scale["accuracy"]:
        drew = f"accuracy {base.manifest['accuracy']} drew its plan and {scale['accuracy']} this one"
        return replace(found, paired=False, why_not=f"the plans differ, and {drew}; make a new baseline")
    if not same_scale(base.manifest, scale):
        return replace(found, paired=False, why_not="the plans differ, and so do the bounds; make a new baseline")
    changes = unpaired.compare(before, candidate, by)
    if all(each.outcome is Outcome.NOT_COMPARED for each in changes):
        few = f"no cell has {by.least_pairs:.0f} cases of the sample in both; run the baseline's seed, or more examples"
        return replace(found, paired=False, why_not=f"the plans differ, and {few}")
    return replace(found, paired=False, changes=drawn(changes, before, (base.manifest, scale)))


def same_scale(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether error ÷ limit means the same in two runs, by their manifests."""
    return all(one.get(name) == other.get(name) for name in SCALE)


def drawn(
    changes: Iterable[CellChange], before: pd.DataFrame, scales: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> list[CellChange]:
    """The entries with the distributions of the baseline, for a page to draw; its observations are `before`.

    `scales` has the entries `SCALE` of both manifests. Without a distribution where they differ: error ÷ limit then
    means another thing in each run. What a search chose is in no distribution.
    """
    if not same_scale(*scales):
        return list(changes)
    planned = before[before["origin"] != EXPLORED]
    pooled = {
        key: histogram.merge([(_all(rows["ratio_bins"]), _all(rows["ratio_counts"]))])
        for key, rows in planned.groupby(list(CELL), sort=False)
    }
    nothing = histogram.zeros(0)
    found = []
    for each in changes:
        bins, counts = pooled.get(tuple(getattr(each, part) for part in CELL), nothing)
        found.append(replace(each, before_bins=tuple(bins.tolist()), before_counts=tuple(counts.tolist())))
    return found


def _all(column: "pd.Series[Any]") -> NDArray[Any]:
    """The integers of all rows of a column of lists, one after another."""
    return lists.values(lists.of(column, pa.int64()))


def applied(cells: Sequence[Cell], against: Against) -> list[Cell]:
    """Cells with the comparison taken into account.

    What has grown against the baseline fails, and so does what is not measured any more; what may have grown
    is a warning. A failure that is newer than the baseline says so. Where nothing could be compared a cell of
    its own did not run.
    """
    if against.why_not:
        return [*cells, *(_uncompared(cell, against) for cell in cells[:1])]
    changes = {tuple(getattr(each, part) for part in CELL): each for each in against.changes}
    told = [_told(cell, changes.pop(_place(cell), None), against.name) for cell in cells]
    gone = [each for each in changes.values() if each.outcome is Outcome.GONE]
    return [*told, *(_gone(each, against.name) for each in gone)]


def stored(run: store.Run) -> Against | None:
    """What a stored run says of its comparison; None if it was compared with nothing.

    Raises:
        StoreError: if it is not as it was written.
    """
    if run.comparison is None:
        return None
    facts = run.manifest.get("comparison", {})
    try:
        changes = change.listed(run.comparison)
        paired, why_not = bool(facts["paired"]), str(facts["why_not"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{run.folder} has another comparison than this version writes: {error!r}") from error
    return Against(name=str(run.manifest["baseline"]), paired=paired, why_not=why_not, changes=changes)


def default_file() -> Path:
    """Where this user's baseline is named."""
    return user_data_path("bitsandbytes-accuracy") / "baseline.json"


def keep(run: store.Run) -> None:
    """Make a stored run this user's baseline.

    Raises:
        StoreError: if that cannot be written.
    """
    path = default_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}; free space or mend its rights") from error
    named = {"folder": str(run.folder.resolve()), "hash": run.manifest["hash"]}
    write_file(path, json.dumps(named, indent=1).encode() + b"\n")


def kept() -> tuple[Path, str] | None:
    """The folder of this user's baseline and the hash that it had; None if none is set.

    Raises:
        StoreError: if the file that names it is damaged.
    """
    path = default_file()
    if not path.exists():
        return None
    try:
        named = json.loads(read_file(path, LARGEST))
        return Path(named["folder"]), str(named["hash"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"{path} is damaged; name a baseline anew with `accuracy baseline set RUN`") from error


def forget() -> None:
    """Name no baseline any more."""
    default_file().unlink(missing_ok=True)


def _place(cell: Cell) -> tuple[str, ...]:
    return cell.case, cell.device, cell.dtype, cell.stage, cell.quantity


def _told(cell: Cell, found: CellChange | None, baseline: str) -> Cell:
    """The cell with what is said of it. A pair that newly fails has failed the cell, or is excused there."""
    if found is None or cell.verdict is Verdict.NOT_RUN:
        return cell
    if found.outcome is Outcome.REGRESSED:
        reason = f"newly worse than {baseline}: {found.reason}"
        if cell.verdict is Verdict.FAIL:
            return replace(cell, reason=f"{reason}; {cell.reason}" if found.broken == 0 else f"{reason}")
        return cell if found.broken else _changed(cell, Verdict.FAIL, reason, found.worst_id)
    if found.outcome is Outcome.GONE and cell.verdict is not Verdict.FAIL:
        return _changed(cell, Verdict.FAIL, f"newly worse than {baseline}: {found.reason}", found.worst_id)
    if found.outcome is Outcome.CHANGED and found.effect > 0 and cell.verdict is Verdict.PASS:
        return _changed(cell, Verdict.WARN, f"perhaps worse than {baseline}: {found.reason}", found.worst_id)
    return cell


def _changed(cell: Cell, verdict: Verdict, reason: str, worst_id: str) -> Cell:
    return replace(
        cell,
        verdict=verdict,
        reason=reason,
        worst_id=worst_id or cell.worst_id,
        caused_by="",
        limit_id=CHANGED,
        basis=CHANGED,
    )


def _gone(found: CellChange, baseline: str) -> Cell:
    return Cell(
        **{part: getattr(found, part) for part in CELL},
        verdict=Verdict.FAIL,
        worst_ratio=float("nan"),
        worst_id=found.worst_id,
        n=0,
        failing=0,
        caused_by="",
        limit_id=CHANGED,
        basis=CHANGED,
        reason=f"newly worse than {baseline}: {found.reason}",
    )


def _uncompared(cell: Cell, against: Against) -> Cell:
    return Cell(
        case=cell.case,
        device=cell.device,
        dtype=cell.dtype,
        stage=Stage.CONTRACT.value,
        quantity=QUANTITY,
        verdict=Verdict.NOT_RUN,
        worst_ratio=float("nan"),
        worst_id="",
        n=0,
        failing=0,
        caused_by="",
        limit_id="",
        basis=CHANGED,
        reason=f"not comparable with the baseline, {against.name}: {against.why_not}",
    )
