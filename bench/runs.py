"""Whole runs: how workers scale, what the parent takes, how long the first result is waited for, and memory."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from accuracy import limits
from accuracy.case import Task
from accuracy.executor import execute
from accuracy.files import JOURNAL
from accuracy.journal import Journal
from accuracy.record import Execution, Progress
from accuracy.rows import Row
from bench import clock, floors
from bench.clock import Sample
from bench.nights import night
from bench.table import Section, seconds, times

ROOT: Final = Path(__file__).resolve().parent.parent
PATIENCE_S: Final = 120.0
FLOORS: Final = 600
"""Cases of which the floor is scaled."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A run of workers: outcomes a second from the first to the last, and the parent's processor time for each.

    `first` is seconds until the first outcome, `rows` how many rows each has.
    """

    rate: float
    own: float
    first: float
    rows: float


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The moment of each answer, by the machine's monotonic clock, which all processes share, and rows in all.

    `own` is what time the parent had taken of its processor by then.
    """

    moments: Sequence[float]
    own: Sequence[float]
    rows: int


def measured(
    tasks: Sequence[Task],
    device: str,
    *,
    jobs: int = 4,
    journal: Journal | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Execution:
    """Measures tasks in so many workers."""
    return execute(
        tasks,
        [device],
        timeout_s=60.0,
        bounds=limits.load().measuring,
        jobs=jobs,
        accelerator_jobs=jobs,
        journal=journal,
        on_progress=on_progress,
    )


def completed(tasks: Sequence[Task], rows: Sequence[Row]) -> list[Task]:
    """The tasks that ran to their end, by the rows of workers: another might take this process' device with it."""
    ended = {row["id"] for row in rows if row["quantity"] == "completes" and row["ratio"] == 0}
    return [task for task in tasks if task.id in ended]


def answered(tasks: Sequence[Task], device: str, jobs: int) -> Answered:
    """Measures tasks in workers and keeps their answers in a journal."""
    moments: list[float] = []
    own: list[float] = []

    def note(progress: Progress) -> None:
        if progress.done:
            moments.append(time.monotonic())
            own.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder), {}) as journal:
        execution = measured(tasks, device, jobs=jobs, journal=journal, on_progress=note)
    return Answered(moments=moments, own=own, rows=len(execution.rows))


def timed(tasks: Sequence[Task], device: str, *, jobs: int) -> Timed:
    """How fast tasks were answered. What comes before the first answer is imports."""
    began = time.monotonic()
    seen = answered(tasks, device, jobs)
    number = len(seen.moments) - 1
    return Timed(
        rate=number / (seen.moments[-1] - seen.moments[0]),
        own=(seen.own[-1] - seen.own[0]) / number,
        first=seen.moments[0] - began,
        rows=seen.rows / len(tasks),
    )


def workers(
    device: str,
    *,
    count: int = 1200,
    turns: int = 3,
    jobs: Sequence[int] = (1, 2),
    most: int = 2400,
) -> Section:
    """Cases a second by number of workers, what the parent takes a case, and how the floor alone scales.

    All measure the same cases, `count` for each of the most workers: those of another sample cost a fifth more or less.
    Of 600 cases two workers were 1.54 to 1.73 × one, of 2,400 1.85 to 1.94: they begin apart, and at the end one waits
    for the other, for some 50 ms each.
    """
    tasks = night(min(most, count * max(jobs)))
    some = tasks[:FLOORS]
    sound = completed(some, measured(some, device).rows)
    seen: dict[int, list[Timed]] = {number: [] for number in jobs}
    alone: dict[int, list[float]] = {number: [] for number in jobs}
    for _ in range(turns):
        for number in jobs:
            seen[number].append(timed(tasks, device, jobs=number))
            alone[number].append(floors.rate(sound, device, processes=number))
    floor = {number: Sample(seconds=tuple(each)) for number, each in alone.items()}
    rates = {number: Sample(seconds=tuple(each.rate for each in runs)) for number, runs in seen.items()}
    rows = tuple(
        (
            str(number),
            f"{rates[number].median:,.0f}",
            f"{rates[number].median * runs[0].rows:,.0f}",
            times(clock.ratio(rates[number], rates[jobs[0]])),
            seconds(statistics.median(each.own for each in runs)),
            seconds(statistics.median(each.first for each in runs)),
            times(clock.ratio(floor[number], floor[jobs[0]])),
        )
        for number, runs in seen.items()
    )
    return Section(
        heading=f"Workers on {device}",
        words=f"The same {len(tasks)} cases of a night's plan, journal included; medians of {turns} turns. Rates are "
        "from the first answer to the last; before it are imports. The parent's time is that of its processor. "
        f"Targets: {jobs[-1]} workers {'at least 1.8 ×' if device.startswith('cpu') else 'at least 3 ×'} one, parent "
        "at most 0.15 ms a case. The last column is what the machine gives: as many processes without a parent that do "
        "nothing but the floor of these cases, in the same turns. They share its memory, and no harness around them "
        "scales better.",
        columns=(
            "workers",
            "cases/s",
            "comparisons/s",
            f"against {jobs[0]}",
            "parent, a case",
            "first answer after",
            "the floor alone",
        ),
        rows=rows,
    )


def command(*arguments: str, module: str = "accuracy") -> list[str]:
    """The command line that starts the command in a process of its own."""
    return [sys.executable, "-m", module, *arguments]


def first_result(device: str, *, profile: str = "nightly", turns: int = 3) -> Section:
    """Seconds from the command to the first outcome in the journal."""
    samples = [_until_first(device, profile) for _ in range(turns)]
    sample = Sample(seconds=tuple(samples))
    return Section(
        heading="The first result",
        words=f"`accuracy nightly --profile {profile} --device {device}`: from the start of the command to the first "
        f"outcome in its journal. {turns} turns on a warm disk. Target: at most 6 s.",
        columns=("", "median", "slowest"),
        rows=(("first result after", seconds(sample.median), seconds(max(samples))),),
    )


def _until_first(device: str, profile: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        began = time.perf_counter()
        with subprocess.Popen(
            command("nightly", "--profile", profile, "--device", device, "--seed", "1", "--out", str(out)),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while not _has_rows(out / JOURNAL):
                if process.poll() is not None or time.perf_counter() - began > PATIENCE_S:
                    process.kill()
                    return float("nan")
                time.sleep(0.01)
            taken = time.perf_counter() - began
            process.kill()
        return taken


def _has_rows(journal: Path) -> bool:
    return journal.is_file() and b"\trows\t" in journal.read_bytes()


def whole_night(device: str, folder: Path, *, arguments: Sequence[str] = ("--profile", "smoke")) -> Section:
    """A run from the command to the report, in `folder`: time, processor time and peak memory."""
    ended = subprocess.run(
        command("nightly", *arguments, "--device", device, "--seed", "1", "--out", str(folder), module="bench.night"),
        cwd=ROOT,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    taken = json.loads(ended.stdout.splitlines()[-1])
    counts = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["counts"]
    megabytes = 1 << 20
    return Section(
        heading="A run from the command to the report",
        words=f"`accuracy nightly {' '.join(arguments)} --device {device}`: {counts['cases']:,} cases, "
        f"{counts['observations']:,} comparisons, {counts['elements']:,} elements. Plan, judgement, files and report "
        "included.",
        columns=("wall", "parent's processor", "workers' processor", "parent's peak memory", "largest worker's"),
        rows=(
            (
                seconds(taken["wall"]),
                seconds(taken["cpu"]),
                seconds(taken["children_cpu"]),
                f"{taken['peak'] / megabytes:.0f} MiB",
                f"{taken['children_peak'] / megabytes:.0f} MiB",
            ),
        ),
    )
