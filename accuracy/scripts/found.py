"""From a run and the id of a case to the failure, its script, and an issue around it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from accuracy import plan, shrunk
from accuracy.case import BROKEN
from accuracy.cases import CASES
from accuracy.limits import Bounds
from accuracy.rows import plain
from accuracy.scripts import failure, program
from accuracy.scripts.failure import Failure, ScriptError
from accuracy.shrunk import Shrunk
from accuracy.store import Run
from accuracy.verdicts import STAGE_ORDER

SHOWN: Final = ("device_name", "cpu_capability", "platform", "system")
"""Facts of an environment that an issue names, where a run has them."""


def failing(run: Run, task_id: str, *, device: str = "", check: str = "", as_measured: bool = False) -> Failure:
    """What fails first of a case: the earliest stage, of it the worst quantity; or what `check` and `device` name.

    Where its cause was shrunk it is the smallest config, unless it is asked for `as_measured`.

    Raises:
        PlanError: if the run has no such case, or one that this version does not know.
        StoreError: if what was shrunk cannot be read.
        ScriptError: if nothing of the kind fails.
    """
    mine = run.observations[run.observations["id"] == task_id]
    if mine.empty:
        raise plan.PlanError(f"{run.folder} has no case {task_id!r}; the report and plan.parquet list its ids")
    found: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()}
        for row in mine[mine["status"].isin(BROKEN)].to_dict("records")
        if device in ("", row["device"]) and check in ("", f"{row['stage']}/{row['quantity']}")
    ]
    if not found:
        what = " ".join(filter(None, [check and f"in {check}", device and f"on {device}"])) or "anywhere"
        raise ScriptError(f"case {task_id} of {run.folder} does not fail {what}; see the report for what does")
    row = min(found, key=_order)
    return of_row(row, run.manifest["versions"], () if as_measured else shrunk.read(run.folder))


def of_row(row: Mapping[str, Any], versions: Mapping[str, str], smaller: Sequence[Shrunk] = ()) -> Failure:
    """The failure that a row of observations tells of, by the smallest config that was found for its cause.

    Raises:
        PlanError: if this version knows no such case or config.
        ScriptError: if the config holds what none has.
    """
    known = shrunk.of_case(smaller, str(row["id"]), str(row["device"]), f"{row['stage']}/{row['quantity']}")
    if known is None:
        task = plan.task({name: str(row[name]) for name in ("id", "case", "origin", "config", "seed")}, CASES)
        return failure.of(task, CASES[task.case], row, versions)
    seen = {"status": known.status, "ratio": known.ratio, "structure_at": known.place, "reason": known.reason}
    return failure.of(known.task, CASES[known.task.case], {**row, **seen}, versions)


def _order(row: Mapping[str, Any]) -> tuple[int, float]:
    ratio = float(row["ratio"])
    return STAGE_ORDER[row["stage"]], -ratio if ratio == ratio else float("-inf")  # noqa: PLR0124  not for NaN


def bounds_of(manifest: Mapping[str, Any]) -> Bounds:
    """The bounds that a run was measured with.

    Raises:
        ScriptError: if the manifest holds something else.
    """
    values = manifest["bounds"]
    try:
        return Bounds(**{str(name): float(value) for name, value in values.items()})
    except (AttributeError, TypeError, ValueError) as error:
        raise ScriptError(f"the manifest has no usable bounds: {plain(str(error))}") from error


def script(run: Run, found: Failure) -> str:
    """The program that shows it.

    Raises:
        ScriptError: if there is none.
    """
    return program.text(found, bounds_of(run.manifest))


def issue(run: Run, found: Failure) -> str:
    """The same as an issue for the library's tracker: title, environment, expected, seen, script."""
    rows = run.observations
    rows = rows[(rows["case"] == found.case.name) & (rows["stage"] == found.stage.value)]
    basis = rows.loc[rows["quantity"] == found.quantity, "basis"]
    why = run.manifest.get("bases", {}).get(basis.iloc[0] if len(basis) else "", "")
    return program.filled(
        "issue",
        title=f"{found.case.layer}: {found.stage.value}/{found.quantity} is wrong on {found.device}",
        environment=[*_versions(found), *_facts(run.manifest["environment"].get(found.device, {}))],
        seen=_quoted(found.reason or found.status.value),
        expected=f"{found.case.claim} {_quoted(str(why)).capitalize()}".strip(),
        script=script(run, found),
    )


def _versions(found: Failure) -> Sequence[tuple[str, str]]:
    return [(name, text) for name, text in found.versions.items() if name in ("python", "torch", "bitsandbytes")]


def _facts(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in SHOWN:
        if name in facts:
            yield name.replace("_", " "), _quoted(str(facts[name]))


def _quoted(text: str) -> str:
    """A text from a run, on one line and without what would end a quotation."""
    return plain(text).replace("`", "'")
