"""Commands on several releases of the library: what changed between them."""

import datetime
from pathlib import Path
from typing import Annotated

import typer

from accuracy.arguments import load_limits
from commands.options import LimitsFile
from reports.terminal import one_line_errors


def compare(
    base: Annotated[str, typer.Argument(help="A run folder, a version, a wheel or a checkout.")],
    candidate: Annotated[str, typer.Argument(help="Likewise; what is said is said of this one.")],
    *,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="Compare runs of different plans by their sizes.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for both runs, the page in candidate/, and comparison.json.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="As for nightly, or as in the RUN given.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="As for nightly.")] = None,
    cases: Annotated[list[str] | None, typer.Option(help="As for nightly.")] = None,
    seed: Annotated[int | None, typer.Option(help="As for nightly; both get the same.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Workers for each library.")] = None,
    limits: LimitsFile = None,
) -> None:
    """Compare two runs of one plan, or run it on two libraries side by side. Exits 1 if something got worse."""
    with one_line_errors():
        from accuracy import arms
        from commands import sides as both
        from reports import changes

        now = datetime.datetime.now(datetime.UTC)
        options = arms.Options(
            profile=profile,
            seed=seed,
            devices=device or (),
            cases=cases or (),
            jobs=jobs,
            limits=load_limits(limits),
            created=now,
        )
        sides = [both.side(asked) for asked in (base, candidate)]
        folder = out or (None if all(side.run for side in sides) else Path("runs") / f"{now:%Y%m%d-%H%M%S}-compare")
        runs = both.measured(sides, options, folder, unpaired=unpaired)
        found = arms.compared(runs[0], runs[1], options.limits.change, pairs=not unpaired)
        document = arms.document(runs[0].manifest, runs[1].manifest, found)
        page = folder and both.compared(folder, runs, found, document, paired=not unpaired)
    for line in changes.lines(found):
        typer.echo(line)
    if page:
        typer.echo(page)
    raise typer.Exit(document["exit_code"])
