"""Commands on the run that nights are held against."""

import typer

from accuracy.arguments import found_run, opened
from commands.options import RunFolder
from reports.terminal import one_line_errors

app = typer.Typer(help="The run that nights are held against: set, show or clear it.", no_args_is_help=True)


@app.command("set")
def keep(run: RunFolder) -> None:
    """Hold every night from now on against this run, unless `--baseline` says otherwise."""
    with one_line_errors():
        from accuracy import baseline
        from reports.words import one_line

        stored = opened(found_run(run))
        baseline.keep(stored)
    typer.echo(one_line(f"{baseline.name(stored.manifest)}: {stored.folder.resolve()}"))


@app.command()
def show() -> None:
    """Show which run nights are held against."""
    with one_line_errors():
        from accuracy import baseline
        from reports.words import one_line

        named = baseline.kept()
    typer.echo("none" if named is None else one_line(str(named[0])))


@app.command()
def clear() -> None:
    """Hold nights against no run."""
    with one_line_errors():
        from accuracy import baseline

        baseline.forget()
    typer.echo("none")
