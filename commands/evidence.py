"""Commands that show a failure to others: the program that fails, and the smallest config that does."""

from typing import Annotated

import typer

from accuracy.arguments import found_run, opened
from commands.options import RunFolder
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
) -> None:
    """Print a program of at most 40 lines that shows what fails, with torch and bitsandbytes alone."""
    with one_line_errors():
        from accuracy.scripts import found

        stored = opened(found_run(run))
        failure = found.failing(stored, case, device=device, check=check)
        typer.echo((found.issue if issue else found.script)(stored, failure), nl=False)
