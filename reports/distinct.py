"""One failure to show for each cause: the worst of its cases."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from accuracy import arguments, plan
from accuracy.case import BROKEN
from accuracy.cases import CASES
from accuracy.shrunk import Shrunk, Target
from accuracy.store import Run
from reports import causes, frames, words
from reports.causes import Cause


def targets(run: Run, ids: Sequence[str] = ()) -> list[Target]:
    """The worst case of each cause of a run, on one device; with `ids` only causes of these cases, and these as theirs.

    Raises:
        PlanError: if the run holds cases that this version does not know.
    """
    prepared = frames.prepare(run.manifest, run.observations, run.verdicts)
    planned = {str(row["id"]): {str(k): str(v) for k, v in row.items()} for row in run.plan.to_dict("records")}
    failing = prepared.rows(prepared.columns["failing"])
    found = []
    for cause in causes.find(prepared):
        row = _worst(failing, cause, ids)
        if row is not None:
            found.append(
                Target(
                    task=plan.task(planned[row["id"]], CASES),
                    device=row["device"],
                    stage=cause.stage,
                    quantity=row["quantity"],
                    members=cause.members,
                )
            )
    return found


def wanted(run: Run, case: str | None, *, failed: bool) -> tuple[str, ...]:
    """The ids that are asked for; none for the worst of every cause.

    Raises:
        UsageError: if both or neither are asked for, or nothing fails.
    """
    failing = run.observations.loc[run.observations["status"].isin(BROKEN), "id"]
    ids = arguments.wanted_ids(case, sorted(set(failing)) if failed else None)
    if case is not None and case not in set(failing):
        raise arguments.UsageError(f"{run.folder} has no failing case {case!r}; the report lists them")
    return () if failed else tuple(ids)


def line(found: Shrunk) -> str:
    """What became of one failure, in a line for a terminal."""
    before, after = found.elements
    size = f"{words.count(before)} to {words.count(after)} elements, {words.counted(found.measured, 'config')} measured"
    config = found.plan["config"] if found.failed else "not seen again"
    what = f"{found.original} {found.device} {found.stage}/{found.quantity}"
    return words.one_line(f"{what}: {size}, fails {found.failed} of {found.tried}: {found.plan['case']} {config}")


def _worst(failing: pd.DataFrame, cause: Cause, ids: Sequence[str]) -> Mapping[str, Any] | None:
    """The row of the cause's worst case, or of one of `ids`; None if it has none of these."""
    wanted = ids or [cause.worst_id]
    members = pd.MultiIndex.from_frame(failing[["id", "device"]]).isin(list(cause.members))
    mine = failing[members & failing["id"].isin(list(wanted)) & (failing["stage"] == cause.stage)]
    mine = mine[mine["quantity"].isin(cause.quantities)]
    if mine.empty:
        return None
    worst = mine.assign(badness=mine["ratio"].fillna(float("inf"))).sort_values("badness", ascending=False).iloc[0]
    return {str(name): value for name, value in worst.items()}
