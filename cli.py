"""The command line: parses, calls, writes, exits. No decision about accuracy is made here."""

import datetime
import gc
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from accuracy.arguments import load_baseline, load_library, load_limits, load_waivers, opened, seconds, sharing
from commands import baselines, evidence, fleet, releases, stored
from commands.options import HistoryFolder, LibraryOption, LimitsFile, PythonOption, RunFolder, WaiversFile
from reports.terminal import INTERRUPTED, conclude, fail, not_measured, one_line_errors

app = typer.Typer(
    help="Differential numerical accuracy of bitsandbytes' quantized layers.",
    epilog="Exit codes: 0 within limits, 1 a limit exceeded, 2 usage or internal error, 3 incomplete, 130 interrupted.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


@app.command()
def nightly(
    *,
    profile: Annotated[str, typer.Option(help="How long: smoke, nightly or release.")] = "nightly",
    device: Annotated[
        list[str] | None, typer.Option(help="Device or variant; repeat for more. All by default.")
    ] = None,
    cases: Annotated[list[str] | None, typer.Option(help="Glob over case names; repeat for more.")] = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="Draws of the sample of each case, instead of the profile's number.")
    ] = None,
    explore: Annotated[
        str | None,
        typer.Option(
            help="After the plan, search for the worst case so long (30s, 10m), with so many examples of each case "
            "(200), or not at all (off). By default not in smoke, 25s in nightly, 10m in release."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the plan; the date (YYYYMMDD) by default.")] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only this share of the plan, as 2/3; `accuracy merge` joins all.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of this run; a new one under runs/ by default.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Workers on the CPU and on each accelerator; by default one a core, and as many as pay."
        ),
    ] = None,
    bitsandbytes: LibraryOption = None,
    python: PythonOption = None,
    time_budget: Annotated[str | None, typer.Option(help="Begin no case after this long, as 90s, 10m or 2h.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out where it was cut off.")] = False,
    events: Annotated[
        Path | None, typer.Option(help="Also write what happens here, one JSON object a line; - is stdout.")
    ] = None,
    limits: LimitsFile = None,
    waivers: WaiversFile = None,
    history: HistoryFolder = None,
    engine: Annotated[str, typer.Option(help="Where to measure: local, or ray, on every node of a cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Address of the Ray cluster, host:port or auto; by default one of this machine.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Run to hold this one against, or none; by default that of `accuracy baseline set`, if any."),
    ] = None,
) -> None:
    """Draw random layers, measure them on every device, judge them and write the report."""
    with one_line_errors(), ExitStack() as stack:
        from accuracy import devices, early

        for name in device or ():
            devices.parse(name)
        by, library = load_limits(limits), load_library(bitsandbytes, python)
        first = None
        if engine == "local":  # before anything else is imported here: what it imports is waited for
            overlay = () if library is None else (library.overlay,)
            interpreter, bounds = python or sys.executable, by.measuring
            first = stack.enter_context(
                early.server(device or (), interpreter=interpreter, overlay=overlay, bounds=bounds)
            )

        from accuracy import engine as engines
        from accuracy import events as told
        from accuracy import nightly, plan, progress, storing, unfinished
        from accuracy.cases import CASES
        from accuracy.journal import Journal
        from accuracy.prepared import Request, prepare
        from commands import folders
        from reports import publish

        created = datetime.datetime.now(datetime.UTC)
        if profile not in plan.PROFILES:
            fail(f"unknown profile {profile!r}; choose one of {', '.join(plan.PROFILES)}")
        budget = None if time_budget is None else seconds(time_budget)
        using = stack.enter_context(engines.started(engine, address))
        request = Request(
            cases=plan.select(CASES, cases or ()),
            profile=profile,
            examples=examples,
            explore=using.budget(explore, plan.PROFILES[profile].explore_s),
            shard=sharing(shard),
            seed=int(f"{created:%Y%m%d}") if seed is None else plan.checked_seed(seed),
            devices=device or (),
            limits=by,
            waivers=load_waivers(waivers),
            jobs=jobs,
            deadline=None if budget is None else time.monotonic() + budget,
            created=created,
            library=library,
            interpreter=python or sys.executable,
            baseline=load_baseline(baseline),
        )
        folder = out or nightly.default_folder(Path("runs"), created, profile, request.seed)
        if history is not None and not history.is_dir():
            fail(f"{history} is no folder; a folder of run folders is wanted for --history")
        if resume and out is None:
            fail("--resume needs --out: name the folder of the run to go on with")
        ahead = resume or events is not None or not using.draws  # the first event says how many cases there are
        prepared = prepare(request, using.probe(request), ahead=ahead)
        for reason in (*(() if device else devices.unusable()), *using.notes()):
            typer.echo(f"accuracy: {reason}", err=True)
        storing.prepare(folder, resume=resume)
        typer.echo(f"seed {request.seed}, profile {profile}, run folder {folder}", err=True)
        about = unfinished.about(prepared)
        with told.stream(events) as emit, Journal(folder, prepared.key, about=about, resume=resume) as journal:
            if events is not None:
                emit(told.started(folder.name, prepared))
            with progress.shown() as show:
                result = nightly.run(prepared, journal, told.progress(emit, show), using.execute, first)
            page = folders.written(folder, result, journal, nights_in=history)
            exit_code = INTERRUPTED if result.interrupted else result.summary["exit_code"]
            for event in (*told.cells(result.verdicts), told.done(result.summary, exit_code=exit_code)):
                emit(event)
        not_measured(result.manifest)
    publish.announce(page, os.environ)
    conclude(folder, result.summary, exit_code=exit_code, quiet=str(events) == "-")


@app.command()
def report(
    run: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="Where to write the page; report.html in the run by default.")
    ] = None,
    history: HistoryFolder = None,
    limits: Annotated[Path | None, typer.Option(help="Limits that a run which is not finished was begun with.")] = None,
) -> None:
    """Render a stored run, or what there is of an unfinished one, as one HTML page. Needs no torch."""
    with one_line_errors():
        from reports import opening

        with opening.uncollected():
            stored = opening.opened(run, limits)
            from reports import publish

            publish.write_stored(run, stored, out, nights_in=history)
    typer.echo(out or run / publish.PAGE)


@app.command()
def judge(
    run: RunFolder, *, limits: LimitsFile = None, waivers: WaiversFile = None, history: HistoryFolder = None
) -> None:
    """Judge a stored run again, with these limits and waivers, and write its verdicts and report anew."""
    with one_line_errors():
        from accuracy import baseline, judgement, storing
        from reports import publish

        stored = opened(run)
        by = load_limits(limits)
        published = by.measuring["published"]
        if (vars(by.bounds), published) != (stored.manifest["bounds"], stored.manifest.get("published", published)):
            fail(
                f"{run} was measured with other [bounds] or [[published]] than the limits file has; "
                "measure again with these limits"
            )
        today = datetime.datetime.now(datetime.UTC).date()
        known = load_waivers(waivers)
        parts, against = stored.manifest.get("parts"), baseline.stored(stored)
        cases = stored.manifest["cases"]
        judged = judgement.judged_run(stored.observations, cases, by, known, today, parts=parts, against=against)
        changed = judgement.judged_by(by, known)
        manifest = storing.rewrite_verdicts(stored, judged.observations, judged.verdicts, judged.summary, **changed)
        page = publish.write(
            run,
            manifest,
            judged.observations,
            judged.verdicts,
            judged.summary,
            comparison=stored.comparison,
            nights_in=history,
        )
    publish.announce(page, os.environ)
    conclude(run, judged.summary, exit_code=judged.summary["exit_code"])


@app.command()
def sign(
    run: RunFolder,
    *,
    name: Annotated[str, typer.Option(help="Who decides.")],
    decision: Annotated[str, typer.Option(help="release or reject.")],
    note: Annotated[str, typer.Option(help="Why; wanted for a release against the verdict.")] = "",
    history: HistoryFolder = None,
) -> None:
    """Record a decision on a run, bound to its rows, verdicts, limits and waivers, and show it in the report."""
    with one_line_errors():
        from accuracy import signature
        from reports import publish

        stored = opened(run)
        moment = datetime.datetime.now(datetime.UTC)
        made = signature.sign(stored, name=name, decision=decision, note=note, moment=moment)
        signature.add(run, stored.manifest, made)
        publish.write_stored(run, stored, nights_in=history)
    typer.echo(f"{made.decision}, signed by {made.name} on {made.signed} for run {made.run[:16]}")


app.command("history")(stored.history)
app.command()(stored.replay)
app.command()(stored.bisect)
app.command()(evidence.script)
app.command()(evidence.shrink)
app.command()(releases.compare)
app.command()(fleet.merge)
app.add_typer(baselines.app, name="baseline")


@app.command("limits")
def show_limits(limits: LimitsFile = None) -> None:
    """Show every limit with its basis: what must hold, for which cells, why, and what breaking it earns."""
    from reports import catalogue

    with one_line_errors():
        known = load_limits(limits)
    for line in catalogue.of_limits(known):
        typer.echo(line)


@app.command()
def calibrate(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs that are held to be good.")],
    out: Annotated[Path, typer.Option(help="Where to write the limits: the built-in ones and the calibrated.")],
) -> None:
    """Write a limits file with run-level limits from what the worst of these runs reached."""
    with one_line_errors():
        from accuracy import calibrate, limits
        from accuracy.files import write_file

        stored = [opened(run) for run in runs]
        sources = [
            calibrate.Source(
                observations=run.observations,
                versions=" ".join(f"{name} {value}" for name, value in run.manifest["versions"].items()),
                day=run.manifest["created"][:10],
            )
            for run in stored
        ]
        text = (
            limits.DEFAULT_FILE.read_text(encoding="utf-8")
            + "\n"
            + calibrate.as_toml(sources, limits.load().calibration)
        )
        write_file(out, text.encode())
        typer.echo(f"{out}: {len(limits.load(out).limits)} limits, hash {limits.load(out).hash}")


@app.command("cases")
def list_cases() -> None:
    """List the experiments: name, claim, strata and published points; those of upstream's behaviours in full."""
    from accuracy.cases import CASES
    from reports import catalogue

    for line in catalogue.of_cases(CASES.values()):
        typer.echo(line)


@app.command("devices")
def list_devices() -> None:
    """List the devices and variants found here, and why the others are not."""
    from accuracy.devices import parse, probe
    from accuracy.installed import installed
    from reports.words import one_line

    found, here = probe(), installed()
    for name, description in found.devices.items():
        by = " ".join(here.packages.get(parse(name).kind, ()))
        typer.echo(f"{name:12} {one_line(f'{description}, by {by}' if by else description)}")
    for name, reason in found.missing.items():
        typer.echo(f"{name:12} not here: {one_line(reason)}")
    for name, reason in here.unusable:
        typer.echo(f"{name:12} not usable: {one_line(reason)}")


@app.command()
def selftest(
    *,
    fault: Annotated[list[str] | None, typer.Option(help="Glob over faults or areas; repeat for more.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Workers; one a core by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the matrix here, as JSON.")] = None,
    limits: LimitsFile = None,
) -> None:
    """Plant faults in the library, one at a time, and show which of them a run finds. Exits 1 if too few."""
    with one_line_errors():
        from accuracy import progress
        from accuracy.selftest import campaign, matrix, show, trial

        faults = campaign.select(fault or ())
        created = datetime.datetime.now(datetime.UTC)
        try:
            with progress.shown() as on_progress:
                measuring = trial.Measuring(limits=load_limits(limits), jobs=jobs, on_progress=on_progress)
                found = campaign.run(faults, measuring, created=created, say=lambda line: typer.echo(line, err=True))
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        if fault is None:
            matrix.keep(found)
        if out is not None:
            matrix.write(out, found)
    show.table(found)
    raise typer.Exit(0 if matrix.reaches_goals(found) else 1)


def main() -> None:
    """Run the command line."""
    try:
        app()
    finally:
        if "duckdb" not in sys.modules:  # which tells of all that is left of its own when the process ends
            gc.freeze()  # to look through all that the process holds for garbage would take a fifth of a second


if __name__ == "__main__":
    main()
