"""Commands on several releases of the library: what changed between them."""

import datetime
import json
from pathlib import Path
from typing import Annotated

import typer

from accuracy.arguments import load_library, load_limits, opened
from commands.options import LimitsFile
from reports.terminal import fail, one_line_errors


def compare(
    base: Annotated[str, typer.Argument(help="A run folder, a version, a wheel or a checkout.")],
    candidate: Annotated[str, typer.Argument(help="Likewise; what is said is said of this one.")],
    *,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="Compare runs of different plans by their sizes.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for both runs and comparison.json.")] = None,
    profile: Annotated[str, typer.Option(help="As for nightly, if libraries are to be run.")] = "nightly",
    device: Annotated[list[str] | None, typer.Option(help="As for nightly.")] = None,
    cases: Annotated[list[str] | None, typer.Option(help="As for nightly.")] = None,
    seed: Annotated[int | None, typer.Option(help="As for nightly; both get the same.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="As for nightly.")] = None,
    limits: LimitsFile = None,
) -> None:
    """Compare two runs of one plan, or run it on two libraries and compare. Exits 1 if something got worse."""
    with one_line_errors():
        from accuracy import arms
        from accuracy import compare as rules
        from accuracy.files import write_file

        by = load_limits(limits)
        now = datetime.datetime.now(datetime.UTC)
        folder = out or Path("runs") / f"{now:%Y%m%d-%H%M%S}-compare"
        options = ["--profile", profile, "--seed", str(int(f"{now:%Y%m%d}") if seed is None else seed)]
        options += [word for name in device or () for word in ("--device", name)]
        options += [word for glob in cases or () for word in ("--cases", glob)]
        options += ["--jobs", str(jobs)] if jobs else []
        options += ["--limits", str(limits)] if limits else []
        sides = []
        for name, asked in (("baseline", base), ("candidate", candidate)):
            side = Path(asked)
            if not (side / "manifest.json").is_file():
                load_library(asked, None)  # fetched before anything is run, so that a wrong name costs no time
                side = folder / name
            sides.append((asked, side))
        for asked, side in sides:
            if side != Path(asked) and (code := arms.measure(asked, side, options)) not in arms.MEASURED:
                raise typer.Exit(code)
        one, two = (opened(side) for _, side in sides)
        try:
            changes = arms.compared(one, two, by.change, unpaired=unpaired)
        except arms.ArmsError as error:
            fail(str(error))
        found = arms.document(one.manifest, two.manifest, changes)
        if out is not None or any(side != Path(asked) for asked, side in sides):
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder / "comparison.json", json.dumps(found, indent=1).encode())
    for change in changes:
        if change.outcome not in {rules.Outcome.IDENTICAL, rules.Outcome.NOT_COMPARED}:
            cell = f"{change.case} {change.device} {change.dtype} {change.stage}/{change.quantity}"
            typer.echo(f"{change.outcome.value:12} {cell} {change.worst_id} {change.reason}".rstrip())
    typer.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found["counts"].items() if count))
    raise typer.Exit(found["exit_code"])
