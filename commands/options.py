"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[Path, typer.Argument(help="The folder of a run.")]
LimitsFile = Annotated[Path | None, typer.Option("--limits", help="Limits to judge by, instead of the built-in ones.")]
LibraryOption = Annotated[
    str | None,
    typer.Option("--bitsandbytes", help="Measure this version, wheel or checkout, not the installed library."),
]
PythonOption = Annotated[str | None, typer.Option("--python", help="Measure with this interpreter and what it has.")]
WaiversFile = Annotated[Path | None, typer.Option("--waivers", help="Known deviations, as TOML.")]
HistoryFolder = Annotated[
    Path | None, typer.Option("--history", help="Folder of run folders: since when, and trends, in the report.")
]
