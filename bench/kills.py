"""Kills a real night at random moments, again and again, and resumes it to its end: `python -m bench.kills`.

A moment is a random while after one of four marks, so that the short phases are hit as often as the long one: the
command has started, the first new outcome is in the journal, the first file of the result is there, and the manifest,
after which the report is written.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from accuracy import limits, store, unfinished
from accuracy.files import JOURNAL, StoreError
from bench import processes, table
from bench.runs import ROOT, command
from bench.table import Section
from reports.render import render

CASES: Final = ("--cases", "embedding*", "--cases", "linear4bit-nf4-eval", "--examples", "40")
"""What a night of a campaign measures, in a few seconds. With one input feature `Linear8bitLt` returns memory that it
has not written (F15), so that its rows are not the same twice."""

PHASES: Final = {"start": 3.0, "measuring": 2.0, "storing": 0.2, "report": 0.5}
"""Seconds after the mark of each phase within which the kill falls."""

PATIENCE_S: Final = 300.0


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """A night that was killed in these phases and resumed to its end: what was found wrong on the way, in words."""

    phases: tuple[str, ...]
    wrong: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Kills a real night at random moments, resumes it to its end and compares it with one that nobody disturbed."""
    parser = argparse.ArgumentParser(prog="python -m bench.kills", description=main.__doc__)
    parser.add_argument("--kills", type=int, default=100, help="in all campaigns together")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--cases", action="append", help="glob over case names; one example of each then")
    parser.add_argument("--out", type=Path, help="page whose part about kills is written anew")
    options = parser.parse_args(arguments)
    measured: Sequence[str] = CASES
    if options.cases:
        measured = (*(word for glob in options.cases for word in ("--cases", glob)), "--examples", "1")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        campaigns, rows = hunt(Path(scratch), measured, kills=options.kills, dice=random.Random(options.seed))  # noqa: S311  moments, no secrets
    section = told(campaigns, rows, seconds=time.perf_counter() - began)
    part = table.part("Kills", f"`python -m bench.kills --kills {options.kills}`", [section])
    if options.out is None:
        sys.stdout.write(part)
    else:
        before = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
        options.out.write_text(table.placed(before, part, name="kills"), encoding="utf-8")
    return int(any(campaign.wrong for campaign in campaigns))


def hunt(
    scratch: Path, measured: Sequence[str], *, kills: int, dice: random.Random
) -> tuple[list[Campaign], pd.DataFrame]:
    """Campaigns with so many kills, and the rows of the night that nobody disturbed."""
    unbroken = scratch / "unbroken"
    with _started(unbroken, measured, resume=False) as process:
        process.wait(PATIENCE_S)
    wanted = comparable(unbroken)
    campaigns: list[Campaign] = []
    while (left := kills - sum(len(campaign.phases) for campaign in campaigns)) > 0:
        campaigns.append(campaign(scratch / str(len(campaigns)), measured, wanted, most=left, dice=dice))
        said = "; ".join(campaigns[-1].wrong) or "as the unbroken run"
        sys.stderr.write(f"campaign {len(campaigns)}, killed {' '.join(campaigns[-1].phases)}: {said}\n")
    return campaigns, store.read(unbroken).observations


def campaign(
    folder: Path, measured: Sequence[str], wanted: dict[str, list[str]], *, most: int, dice: random.Random
) -> Campaign:
    """One night, killed at most so often."""
    phases: list[str] = []
    wrong: list[str] = []
    while True:
        token = processes.mark()
        phase = dice.choice(list(PHASES)) if len(phases) < most else ""
        resume = (folder / JOURNAL).exists()
        before = _outcomes(folder) if resume else 0
        with _started(folder, measured, resume=resume) as process:
            killed = bool(phase) and _kill(process, folder, phase, before, dice.uniform(0.0, PHASES[phase]))
            process.wait(PATIENCE_S)
        if not processes.gone(token):
            wrong.append(f"{phase}: left behind {processes.left_behind(token)}")
        if not killed:
            break
        phases.append(phase)
        wrong += [f"{phase}: {words}" for words in _unreported(folder)]
    wrong += [f"{name} is not that of the unbroken run" for name in differing(folder, wanted)]
    return Campaign(phases=tuple(phases), wrong=tuple(wrong))


def _started(folder: Path, measured: Sequence[str], *, resume: bool) -> "subprocess.Popen[bytes]":
    options = ("--profile", "smoke", "--device", "cpu", "--seed", "1", "--jobs", "2", "--out", str(folder))
    return subprocess.Popen(
        command("nightly", *options, *measured, *(("--resume",) if resume else ())),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _kill(process: "subprocess.Popen[bytes]", folder: Path, phase: str, before: int, after: float) -> bool:
    """Kills the night so long after the mark of the phase; says whether it came before its end."""
    started = time.time()
    marks: dict[str, Callable[[], bool]] = {
        "start": lambda: True,
        "measuring": lambda: _outcomes(folder) > before,
        "storing": partial(_written, folder, store.PLAN, started),
        "report": partial(_written, folder, store.MANIFEST, started),
    }
    while not marks[phase]():
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        return True
    return False


def _outcomes(folder: Path) -> int:
    journal = folder / JOURNAL
    return journal.read_bytes().count(b"\trows\t") if journal.is_file() else 0


def _written(folder: Path, name: str, since: float) -> bool:
    """Whether a file, or the unfinished one that will have its name, was begun since then."""
    if not folder.is_dir():
        return False
    for path in folder.iterdir():
        if path.name == name or path.name.startswith(f".{name}."):
            try:
                if path.stat().st_mtime >= since:
                    return True
            except FileNotFoundError:
                continue  # renamed meanwhile
    return False


def _unreported(folder: Path) -> list[str]:
    """What keeps a report of the unfinished run from being made; a run killed in its first line has none to make."""
    try:
        result = unfinished.result(folder, limits.load())
        page = render(result.manifest, result.observations, result.verdicts, result.summary)
    except StoreError as error:
        young = not (folder / JOURNAL).exists() or "has only begun" in str(error)
        return [] if young else [f"no report: {error}"]
    return [] if "<h1" in page else ["a report without a verdict"]


def comparable(folder: Path) -> dict[str, list[str]]:
    """A stored run as text, by part; without the time that things took."""
    run = store.read(folder)
    parts = {
        "plan": run.plan,
        "observations": run.observations.drop(columns="seconds"),
        "verdicts": run.verdicts,
        "summary": pd.DataFrame({"summary": [str(run.summary)]}),
    }
    return {
        name: [repr([v.tolist() if hasattr(v, "tolist") else v for v in row]) for row in frame.itertuples(index=False)]
        for name, frame in parts.items()
    }


def differing(folder: Path, wanted: dict[str, list[str]]) -> list[str]:
    """The parts of a stored run that are not as `wanted`; why it cannot be read."""
    try:
        seen = comparable(folder)
    except StoreError as error:
        return [str(error)]
    return [name for name in wanted if seen[name] != wanted[name]]


def told(campaigns: Sequence[Campaign], rows: pd.DataFrame, *, seconds: float) -> Section:
    """What the campaigns came to, as a table."""
    phases = Counter(phase for campaign in campaigns for phase in campaign.phases)
    wrong = [words for campaign in campaigns for words in campaign.wrong]
    timeouts = int((rows["status"] == "timeout").sum())
    return Section(
        heading="Nights killed and resumed",
        words=f"{rows['id'].nunique()} cases, {len(rows):,} rows, {timeouts} of them a timeout; {seconds:.0f} s. "
        "Plan, rows, verdicts and summary of each campaign are compared with those of a run that nobody disturbed; "
        "after each kill no process may be left after 5 s, and a report of what there is must be made.",
        columns=("", "number"),
        rows=(
            *((f"killed in phase *{phase}*", str(phases[phase])) for phase in PHASES),
            ("kills", str(phases.total())),
            ("campaigns", str(len(campaigns))),
            ("equal to the unbroken run", str(sum("unbroken" not in str(each.wrong) for each in campaigns))),
            ("anything wrong", str(len(wrong))),
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
