"""Commands that show a failure to others: the program that fails, and the smallest config that does."""

from typing import Annotated

import typer

from accuracy.arguments import found_run, load_library, load_limits, opened, seconds
from commands.options import LibraryOption, LimitsFile, RunFolder
from reports.terminal import one_line_errors


def script(
    run: RunFolder,
    case: Annotated[str, typer.Argument(metavar="ID", help="Id of a failing case, as the report shows it.")],
    *,
    issue: Annotated[bool, typer.Option("--issue", help="As an issue for the library's tracker.")] = False,
    check: Annotated[
        str, typer.Option(help="Check as stage/quantity, where several fail; by default the first that failed.")
    ] = "",
    device: Annotated[str, typer.Option(help="Device, where a case fails on several; the first by default.")] = "",
    as_measured: Annotated[
        bool, typer.Option("--as-measured", help="Of the case itself, also where its cause was shrunk.")
    ] = False,
) -> None:
    """Print a program of at most 40 lines that shows what fails, with torch and bitsandbytes alone."""
    with one_line_errors():
        from accuracy.scripts import found

        stored = opened(found_run(run))
        failure = found.failing(stored, case, device=device, check=check, as_measured=as_measured)
        typer.echo((found.issue if issue else found.script)(stored, failure), nl=False)


def shrink(
    run: RunFolder,
    case: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of a failing case, as the report shows it.")
    ] = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="The worst case of every cause, instead of one.")] = False,
    time_budget: Annotated[str, typer.Option(help="How long to search, as 90s, 10m or 2h.")] = "3m",
    jobs: Annotated[int | None, typer.Option(min=1, help="Workers on the CPU; by default one a core.")] = None,
    bitsandbytes: LibraryOption = None,
    limits: LimitsFile = None,
) -> None:
    """Find the smallest config that fails as a stored case does, for its script and the report.

    Exits 1 if one is not seen to fail again.
    """
    with one_line_errors():
        from accuracy import progress, shrunk
        from accuracy import shrink as search
        from reports import distinct

        library, budget = load_library(bitsandbytes, None), seconds(time_budget)
        stored = opened(found_run(run))
        targets = distinct.targets(stored, distinct.wanted(stored, case, failed=failed))
        with progress.shown() as show:
            found = search.shrink(
                targets,
                load_limits(limits),
                seconds=budget,
                jobs=jobs,
                overlay=() if library is None else (library.overlay,),
                on_progress=show,
            )
        shrunk.write(stored.folder, found)
    for line in map(distinct.line, found):
        typer.echo(line)
    raise typer.Exit(int(not all(each.failed for each in found)))
