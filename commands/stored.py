"""Commands on cases of stored runs: again."""

import sys
from typing import Annotated

import typer

from accuracy.arguments import found_run, load_library, load_limits, opened, wanted_ids
from commands.options import LibraryOption, LimitsFile, PythonOption, RunFolder
from reports.terminal import one_line_errors


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
        stored = opened(found_run(run))
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
