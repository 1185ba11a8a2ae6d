"""Commands on what stored runs hold: cases again, since which release they fail, and over many nights."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from accuracy.arguments import found_run, load_library, load_limits, opened, wanted_ids
from commands.options import LibraryOption, LimitsFile, PythonOption, RunFolder
from reports.terminal import INCOMPLETE, one_line_errors


def replay(
    run: RunFolder,
    case: Annotated[str | None, typer.Argument(metavar="ID", help="Id of a case, as the report shows it.")] = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="All cases that failed, instead of one.")] = False,
    device: Annotated[list[str] | None, typer.Option(help="Of the run's devices only this; repeat for more.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Workers on the CPU; by default one a core.")] = None,
    bitsandbytes: LibraryOption = None,
    python: PythonOption = None,
    limits: LimitsFile = None,
) -> None:
    """Measure stored cases again, here or on another library. Exits 0 if what failed is fixed, 1 if something fails."""
    with one_line_errors():
        from accuracy import progress, remeasure
        from accuracy import replay as stored_cases
        from reports import replayed

        library = load_library(bitsandbytes, python)
        stored = opened(found_run(run), stored_cases.COLUMNS)
        ids = wanted_ids(case, stored_cases.failed(stored) if failed else None)
        with progress.shown() as show:
            rows = remeasure.measure(
                stored,
                ids,
                load_limits(limits),
                interpreter=python or sys.executable,
                overlay=() if library is None else (library.overlay,),
                devices=device or (),
                jobs=jobs,
                on_progress=show,
            )
    found = stored_cases.compared(stored.observations, rows)
    for line in (*([] if failed else replayed.checks(rows)), *replayed.lines(found)):
        typer.echo(line)
    raise typer.Exit(stored_cases.exit_code(found))


def bisect(
    run: RunFolder,
    case: Annotated[str, typer.Argument(metavar="ID", help="Id of a case that failed, as the report shows it.")],
    *,
    good: Annotated[str, typer.Option(help="A release that does not fail.")],
    bad: Annotated[str, typer.Option(help="A later release that does.")],
    device: Annotated[str, typer.Option(help="Device of the run; by default the first on which the case failed.")] = "",
    check: Annotated[str, typer.Option(help="Check as stage/quantity; by default the first that failed.")] = "",
    python: PythonOption = None,
    limits: LimitsFile = None,
) -> None:
    """Find the first release on which a stored case fails. Exits 3 if some release cannot be told."""
    with one_line_errors():
        from accuracy import remeasure
        from accuracy import replay as stored_cases
        from reports import replayed

        found = remeasure.first_bad(
            opened(found_run(run), stored_cases.COLUMNS),
            case,
            good,
            bad,
            load_limits(limits),
            device=device,
            check=check,
            interpreter=python or sys.executable,
            say=lambda probe: typer.echo(replayed.probed(probe)),
        )
    typer.echo(replayed.bisected(found))
    raise typer.Exit(0 if len(found.first_bad) == 1 else INCOMPLETE)


def history(
    runs: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of run folders.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Where to write the page; history.html in DIR by default.")] = None,
    case: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this case, as lines: where it was measured and failed.")
    ] = None,
) -> None:
    """Write an index of all nights: verdicts, counts, what changed when, and the trends of what moved."""
    with one_line_errors():
        from accuracy import recurrence
        from reports import publish, replayed
        from reports.words import one_line

        if case is not None:
            found, unreadable = recurrence.read(runs, case)
            for line in replayed.occurred(found):
                typer.echo(line)
            for name, why in unreadable.items():
                typer.echo(f"accuracy: {one_line(f'{name} left out: {why}')}", err=True)
            return
        page = out or runs / publish.HISTORY
        for name, why in publish.write_history(runs, page).items():
            typer.echo(f"accuracy: {one_line(f'{name} left out: {why}')}", err=True)
    typer.echo(page)
