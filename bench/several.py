"""What a second device of one host brings: the same cases on one, and dealt to two, each with its own process."""

import multiprocessing
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from accuracy.case import Task
from bench import clock
from bench.clock import Sample
from bench.nights import night
from bench.runs import Answered, answered, completed, measured
from bench.table import Section, times


def rate(shares: Sequence[Answered]) -> float:
    """Answers a second of all, from the moment that each has had its first to that at which the first has its last.

    Raises:
        ValueError: if one had its last before another had its first.
    """
    began = max(share.moments[0] for share in shares)
    ended = min(share.moments[-1] for share in shares)
    if ended <= began:
        raise ValueError("devices were not at work at the same time; more cases each are wanted")
    return sum(began < moment <= ended for share in shares for moment in share.moments) / (ended - began)


def dealt(tasks: Sequence[Task], devices: Sequence[str], *, jobs: int) -> list[Answered]:
    """Deals tasks to as many processes as devices, which measure at the same time."""
    number = len(devices)
    # Forked, so that nobody draws the plan again; no process of ours has touched a device.
    with ProcessPoolExecutor(number, mp_context=multiprocessing.get_context("fork")) as pool:
        return list(pool.map(answered, [tasks[place::number] for place in range(number)], devices, [jobs] * number))


def repeated(tasks: Sequence[Task], count: int) -> list[Task]:
    """So many tasks: these again and again, each time with other data."""
    return [replace(task, seed=task.seed ^ turn) for turn in range(-(-count // len(tasks))) for task in tasks][:count]


def section(devices: Sequence[str], *, count: int, each: int, turns: int, jobs: Sequence[int]) -> Section:
    """Cases a second on the first of `devices` and on all of them, by workers each.

    Of `count` cases of a night those that the layer completes, as often as gives each worker `each`: runs of many
    workers and devices last as long as those of few, so that their start weighs no more.
    """
    drawn = night(count)
    filtered = measured(drawn, devices[0], jobs=max(jobs)).rows
    sound = completed(drawn, filtered)
    if not sound:
        said = Counter(row["reason"] or row["observed"] for row in filtered).most_common(1)
        raise SystemExit(f"of {len(drawn)} cases none ran to its end on {devices[0]}; most say: {said}")
    rows = []
    for number in jobs:
        tasks = {among: repeated(sound, each * number * among) for among in (1, len(devices))}
        seen: dict[int, list[float]] = {1: [], len(devices): []}
        compared = 0.0
        for _ in range(turns):
            for among, rates in seen.items():
                shares = dealt(tasks[among], devices[:among], jobs=number)
                compared = sum(share.rows for share in shares) / len(tasks[among])
                rates.append(rate(shares))
        one, all_of_them = (Sample(seconds=tuple(rates)) for rates in seen.values())
        rows.append(
            (
                str(number),
                f"{one.median:,.0f}",
                f"{one.median * compared:,.0f}",
                f"{all_of_them.median:,.0f}",
                f"{all_of_them.median * compared:,.0f}",
                times(clock.ratio(all_of_them, one)),
            )
        )
    return Section(
        heading=f"{len(devices)} devices of one host",
        words=f"{len(sound)} cases of a night's plan, of those that the layer completes, again and again with other "
        f"data, {each:,} for each worker: on {devices[0]} alone, and on {' and '.join(devices)} at once, each with its "
        f"own process, workers and journal, as shards have; medians of {turns} turns. Rates are from when each has "
        "answered once to when the first has nothing left. Target: two devices at least 1.85 × one.",
        columns=("workers each", "cases/s of one", "comparisons/s", "cases/s of all", "comparisons/s", "all ÷ one"),
        rows=tuple(rows),
    )
