"""How commands end: errors as one line, the verdict last, and exit codes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer

from accuracy.arguments import UsageError
from accuracy.files import StoreError

USAGE, INCOMPLETE, INTERRUPTED = 2, 3, 130


def fail(message: str) -> NoReturn:
    """One line on stderr, exit code 2."""
    end(message, USAGE)


def end(message: str, exit_code: int) -> NoReturn:
    """One line on stderr; nothing in it, which may come from a file, can act on the terminal."""
    from reports.words import one_line

    typer.echo(f"accuracy: {one_line(message)}", err=True)
    raise typer.Exit(exit_code)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns what a user can mend into one line and exit code 2; anything else is our bug and shows as one."""
    try:
        yield
    except (ValueError, StoreError) as error:
        if not isinstance(error, _mendable()):
            raise
        fail(str(error))


def _mendable() -> tuple[type[Exception], ...]:
    """What a user can mend. Imported when something is wrong: most commands need few of these modules."""
    from accuracy.bisect import BisectError
    from accuracy.change import ComparisonError
    from accuracy.devices import DeviceError
    from accuracy.library import LibraryError
    from accuracy.limits import LimitsError
    from accuracy.merge import MergeError
    from accuracy.plan import PlanError
    from accuracy.scripts.failure import ScriptError
    from accuracy.signature import SignatureError
    from accuracy.waivers import WaiverError

    return (
        BisectError,
        ComparisonError,
        DeviceError,
        LibraryError,
        LimitsError,
        MergeError,
        PlanError,
        ScriptError,
        SignatureError,
        StoreError,
        WaiverError,
        UsageError,
    )


def not_measured(manifest: Mapping[str, Any]) -> None:
    """One line on stderr for each device on which nothing could be measured, with the reason."""
    from reports.words import one_line

    for device, reason in {**manifest["devices"]["missing"], **manifest["unusable"]}.items():
        typer.echo(one_line(f"accuracy: {device}: {reason}"), err=True)


def conclude(folder: Path, summary: dict[str, Any], *, exit_code: int, quiet: bool = False) -> NoReturn:
    """Verdict and path last, on stderr if stdout is taken, and the verdict as exit code."""
    counts = summary["counts"]
    typer.echo(
        f"{summary['verdict']}: {counts['fail']} of {counts['cells']} cells fail, {counts['not_run']} did not run, "
        f"{counts['warn']} warn; {counts['cases']} cases, {counts['observations']} observations, "
        f"{counts['elements']:,} elements",
        err=quiet,
    )
    page = folder / "report.html"
    typer.echo(page if page.exists() else folder, err=quiet)
    raise typer.Exit(exit_code)
