"""How far a run is, on stderr: a bar on a terminal, elsewhere a plain line now and then."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from accuracy.record import Progress

Show = Callable[[Progress], None]

LINE_EVERY_S = 10.0


@contextmanager
def shown() -> Iterator[Show]:
    """What to call with each progress, while it is shown with rate and time left."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    columns = (
        TextColumn("{task.fields[doing]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} cases/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, rate=0.0, doing="measuring")

        def show(now: Progress) -> None:
            doing = f"exploring, {now.explored} cases" if now.explored else "measuring"
            if now.waits:
                doing = _silent(now)
            bar.update(task, completed=now.done, total=None if now.drawing else now.total, rate=_rate(now), doing=doing)

        yield show


def _rate(now: Progress) -> float:
    """Cases a second, those taken from a journal left out."""
    return (now.done + now.explored - now.resumed) / now.seconds if now.seconds else 0.0


def _silent(now: Progress) -> str:
    return f"nothing new for {now.silent:.0f} s ({now.waits})"


def _lines() -> Show:
    """A plain line every ten seconds, and at the end of the plan; and one where nothing comes for long."""
    last = -LINE_EVERY_S

    def show(now: Progress) -> None:
        nonlocal last
        if now.seconds - last < LINE_EVERY_S and (now.done < now.total or now.explored or now.drawing):
            return
        last = now.seconds
        if now.waits:
            typer.echo(f"{now.done}/{now.total} cases, {_silent(now)}", err=True)
            return
        rate = _rate(now)
        if now.explored:
            typer.echo(f"{now.explored} cases explored, {rate:.0f}/s", err=True)
            return
        left = f"{(now.total - now.done) / rate:.0f} s left" if rate else "time left unknown"
        if now.drawing:
            left = "the plan is still being drawn"
        typer.echo(f"{now.done}/{now.total} cases, {rate:.0f}/s, {left}", err=True)

    return show
