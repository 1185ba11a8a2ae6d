"""What is made of stored rows: reports, the history of nights, and how long the command line takes to say hello."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import cli
from accuracy import judgement, store, storing
from accuracy.case import short_hash
from accuracy.limits import load
from bench import clock, drawn
from bench.runs import ROOT, command
from bench.table import Section
from bench.table import time as told


def section(folder: Path, *, cases: int = 10_000, nights: int = 10, turns: int = 3) -> Section:
    """Times of commands that measure nothing; `folder` holds a run that is repeated until it has so many cases."""
    with tempfile.TemporaryDirectory() as scratch:
        large = Path(scratch) / "large"
        number = enlarged(folder, large, cases)
        few = int(store.read(folder).summary["counts"]["cases"])
        runs = {f"{few:,} cases": folder, f"{number:,} cases": large}
        written = {name: Path(scratch) / f"page-{place}.html" for place, name in enumerate(runs)}
        things: dict[str, tuple[str, ...]] = {
            "--help": ("--help",),
            **{f"report of {name}": ("report", str(run), "--out", str(written[name])) for name, run in runs.items()},
        }
        if "history" in {command.name for command in cli.app.registered_commands}:
            _nights(folder, Path(scratch) / "nights", nights)
            things[f"history of {nights} nights"] = ("history", str(Path(scratch) / "nights"))
        seen = clock.in_turn({name: _started(arguments) for name, arguments in things.items()}, turns=turns)
        pages = drawn.drawn(list(written.values()), turns=turns)
        size = written[f"{number:,} cases"].stat().st_size
    rows = [(f"`accuracy` {name}", told(sample)) for name, sample in seen.items()]
    for name, page in zip(written, pages or (), strict=False):
        rows += [(f"page of {name}, first paint", told(page.first)), (f"page of {name}, all of it", told(page.whole))]
    return Section(
        heading="Commands that measure nothing",
        words=f"Each in a process of its own, from start to exit; medians of {turns} turns. "
        f"The larger report has {size / 1e6:.2f} MB. "
        + ("Pages from the start of the navigation in Chromium. " if pages else "No Chromium here that draws a page. ")
        + "Targets: `--help` at most 0.5 s, a report of 10,000 cases at most 3 s, drawn within 1 s.",
        columns=("", "wall"),
        rows=tuple(rows),
    )


def _started(arguments: tuple[str, ...]) -> Callable[[], object]:
    def start() -> None:
        subprocess.run(command(*arguments), cwd=ROOT, env={**os.environ}, capture_output=True, check=True)

    return start


def enlarged(folder: Path, target: Path, cases: int) -> int:
    """Stores the run again with its cases as often as it takes, under new ids; how many there are on all devices."""
    run = store.read(folder)
    number = -(-cases // len(run.manifest["devices"]["found"]))
    copies = -(-number // max(1, len(run.plan)))
    observations, plan = (pd.concat([_renamed(frame, copy) for copy in range(copies)], ignore_index=True)
                          for frame in (run.observations, run.plan))  # fmt: skip
    plan = plan.iloc[: max(number, len(run.plan))]
    observations = observations[observations["id"].isin(plan["id"])].reset_index(drop=True)
    by = load()
    created = pd.Timestamp(run.manifest["created"]).date()
    judged = judgement.judged_run(observations, run.manifest["cases"], by, (), created)
    storing.prepare(target)
    storing.write(target, run.manifest, plan, judged.observations, judged.verdicts, judged.summary)
    return int(judged.summary["counts"]["cases"])


def _renamed(frame: pd.DataFrame, copy: int) -> pd.DataFrame:
    return frame.assign(id=[short_hash([name, copy]) for name in frame["id"]]) if copy else frame


def _nights(folder: Path, target: Path, number: int) -> None:
    for night in range(number):
        shutil.copytree(folder, target / f"night-{night}")
