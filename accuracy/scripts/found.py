"""From a run and the id of a case to the failure, its script, and an issue around it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from accuracy import plan
from accuracy.case import Status
from accuracy.cases import CASES
from accuracy.limits import Bounds
from accuracy.rows import plain
from accuracy.scripts import failure, program
from accuracy.scripts.failure import Failure, ScriptError
from accuracy.store import Run
from accuracy.verdicts import STAGE_ORDER

BROKEN: Final = (Status.FAIL.value, Status.CRASH.value, Status.TIMEOUT.value)
SHOWN: Final = ("device_name", "cpu_capability", "platform", "system")
"""Facts of an environment that an issue names, where a run has them."""


def failing(run: Run, task_id: str, *, device: str = "", check: str = "") -> Failure:
    """What fails first of a case: the earliest stage, of it the worst quantity; or what `check` and `device` name.

    Raises:
        PlanError: if the run has no such case, or one that this version does not know.
        ScriptError: if nothing of the kind fails.
    """
    planned = run.plan[run.plan["id"] == task_id]
    if planned.empty:
        raise plan.PlanError(f"{run.folder} has no case {task_id!r}; the report and plan.parquet list its ids")
    task = plan.task({str(name): text for name, text in planned.iloc[0].items()}, CASES)
    rows = run.observations[(run.observations["id"] == task_id) & run.observations["status"].isin(BROKEN)]
    found: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()}
        for row in rows.to_dict("records")
        if device in ("", row["device"]) and check in ("", f"{row['stage']}/{row['quantity']}")
    ]
    if not found:
        what = " ".join(filter(None, [check, device and f"on {device}"])) or "anything"
        raise ScriptError(f"case {task_id} of {run.folder} does not fail in {what}; see the report for what does")
    return failure.of(task, CASES[task.case], min(found, key=_order), run.manifest["versions"])


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
    basis = run.observations.loc[run.observations["id"] == found.id, ["stage", "quantity", "basis"]]
    mine = basis[(basis["stage"] == found.stage.value) & (basis["quantity"] == found.quantity)]["basis"]
    why = run.manifest.get("bases", {}).get(mine.iloc[0] if len(mine) else "", "")
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
