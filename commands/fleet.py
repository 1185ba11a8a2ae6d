"""Commands for runs that were made on several machines."""

import datetime
import os
from pathlib import Path
from typing import Annotated

import typer

from accuracy.arguments import load_limits, load_waivers
from commands.options import HistoryFolder, LimitsFile, WaiversFile
from reports.terminal import conclude, one_line_errors


def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs of one plan, or shards of it.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Folder of the whole; a new one under runs/ by default.")] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Device that must be in it, else it is NOT RUN; repeat for more.")
    ] = None,
    report: Annotated[
        bool, typer.Option(help="Write the report too; it reads all rows into memory, a merge by itself does not.")
    ] = True,
    limits: LimitsFile = None,
    waivers: WaiversFile = None,
    history: HistoryFolder = None,
) -> None:
    """Make one run with one report of runs of one plan, or shards of it, that were made on different machines."""
    with one_line_errors():
        from accuracy import nightly, store, whole
        from reports import publish
        from reports.words import one_line

        now = datetime.datetime.now(datetime.UTC)
        request = whole.Request(
            runs=runs,
            limits=load_limits(limits),
            waivers=load_waivers(waivers),
            wanted=device or (),
            today=now.date(),
        )
        found = whole.opened(request)
        for name, why in found.refused.items():
            typer.echo(f"accuracy: {one_line(f'{name} left out: {why}')}", err=True)
        folder = out or nightly.default_folder(Path("runs"), now, "merged", found.manifest["seed"])
        summary = whole.write(folder, found, request)
        if report:
            run = store.read(folder)
            page = publish.write(folder, run.manifest, run.observations, run.verdicts, summary, nights_in=history)
            publish.announce(page, os.environ)
    conclude(folder, summary, exit_code=summary["exit_code"])
