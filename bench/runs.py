"""Whole runs: how workers scale, what the parent takes, how long the first result is waited for, and memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from accuracy import limits
from accuracy.case import Task
from accuracy.executor import execute
from accuracy.files import JOURNAL
from accuracy.journal import Journal
from bench import clock
from bench.clock import Sample
from bench.layers import night
from bench.table import Section, seconds, times
from bench.table import time as told

ROOT: Final = Path(__file__).resolve().parent.parent
PATIENCE_S: Final = 120.0


def run(tasks: Sequence[Task], device: str, *, jobs: int, recycle_after: int = 500) -> float:
    """Measures tasks in workers and keeps their answers in a journal; seconds of this process' own time."""
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder), {}) as journal:
        began = time.process_time()
        execute(
            tasks,
            [device],
            timeout_s=60.0,
            bounds=limits.load().measuring,
            jobs=jobs,
            accelerator_jobs=jobs,
            recycle_after=recycle_after,
            journal=journal,
        )
        return time.process_time() - began


def workers(device: str, *, count: int = 300, turns: int = 3, jobs: Sequence[int] = (1, 2)) -> Section:
    """Cases a second by number of workers, and what the parent takes a case. Starting is measured apart."""
    tasks = night(count)
    few, own = tasks[:1], dict[int, list[float]]()

    def whole(number: int) -> None:
        own.setdefault(number, []).append(run(tasks, device, jobs=number))

    things: dict[str, Any] = {f"{number}": partial(whole, number) for number in jobs}
    starts: dict[str, Any] = {f"start {number}": partial(run, few, device, jobs=number) for number in jobs}
    seen = clock.in_turn(things | starts, turns=turns)
    rates: dict[int, Sample] = {number: clock.difference(seen[f"{number}"], seen[f"start {number}"]) for number in jobs}
    rows = tuple(
        (
            str(number),
            f"{(count - 1) / rates[number].median:,.0f}",
            times(clock.ratio(rates[jobs[0]], rates[number])),
            seconds(sorted(own[number])[len(own[number]) // 2] / count),
            told(seen[f"start {number}"]),
        )
        for number in jobs
    )
    return Section(
        heading=f"Workers on {device}",
        words=f"{count} cases of a night's plan, journal included; medians of {turns} turns. A run of one case, which "
        "is mostly imports, is taken off. The parent's time is that of its processor, over all cases.",
        columns=("workers", "cases/s", f"against {jobs[0]}", "parent, a case", "a run of one case"),
        rows=rows,
    )


def replacement(device: str, *, count: int = 40, turns: int = 3) -> Section:
    """What it costs to replace a worker, as after a crash."""
    tasks = night(count)
    seen = clock.in_turn(
        {"kept": partial(run, tasks, device, jobs=1), "new": partial(run, tasks, device, jobs=1, recycle_after=1)},
        turns=turns,
    )
    more = clock.difference(seen["new"], seen["kept"])
    return Section(
        heading="A new worker",
        words=f"{count} cases with one worker, and with a new worker for each.",
        columns=("", "all", "a case"),
        rows=(
            ("one worker", told(seen["kept"]), seconds(seen["kept"].median / count)),
            ("a new one each", told(seen["new"]), seconds(seen["new"].median / count)),
            ("a new worker costs", "", seconds(more.median / (count - 1))),
        ),
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
        f"outcome in its journal. {turns} turns on a warm disk.",
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
