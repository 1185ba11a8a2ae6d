"""How much of the time an accelerator computes, and what it waits for."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import torch

from bench import clock, runs, work
from bench.layers import now_for, tasks
from bench.nights import night
from bench.runs import completed
from bench.table import Section, percent, seconds
from bench.work import Work

WAYS: Final[tuple[Callable[[Work], object], ...]] = (work.layer, work.referenced, work.whole)


def kernel_seconds(works: Sequence[Work]) -> float:
    """Seconds in which kernels and copies of these cases ran on the device, as its profiler adds them up."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for each in works:
            work.whole(each)
        torch.cuda.synchronize()
    microseconds: float = sum(event.self_device_time_total for event in profile.key_averages())
    return microseconds / 1e6


def idle(device: str, *, sizes: Sequence[tuple[int, int]], count: int = 60, turns: int = 2) -> Section:
    """Where the time of a case goes with one worker, the share in which the device has nothing to do, and why."""
    named = [(name, [work.of(task, device)]) for name, task in tasks(sizes)]
    sound = completed(night(2 * count), runs.measured(night(2 * count), device).rows)[:count]
    named.append((f"mix of {len(sound)} cases", [work.of(task, device) for task in sound]))
    rows = []
    for name, works in named:
        ways = {way.__name__: partial(_each, way, works) for way in WAYS}
        seen = clock.in_turn(ways, turns=turns, now=now_for(device))
        whole, referenced, layer = (seen[way].median for way in ("whole", "referenced", "layer"))
        kernels = min(whole, kernel_seconds(works))
        compared = sum(work.answered(each) for each in works)
        parts = {
            "kernels": kernels,
            "launching and copying": max(0.0, layer - kernels),
            "references on the host": max(0.0, referenced - layer),
            "metrics on the host": max(0.0, whole - referenced),
        }
        rows.append(
            (
                name,
                f"{len(works) / whole:,.0f}",
                f"{compared / whole:,.0f}",
                seconds(whole / len(works)),
                percent(layer / whole),
                percent(parts["references on the host"] / whole),
                percent(parts["metrics on the host"] / whole),
                seconds(kernels / len(works)),
                percent(1 - kernels / whole),
                max(parts, key=lambda part: parts[part]),
            )
        )
    return Section(
        heading=f"One worker on {device}",
        words="Shares of the wall time of a case: drawing the tensors and running the layer, float64 references on the "
        "host, metrics and the answer. *Kernels*: what the device's profiler adds up of kernels and copies; *idle*: "
        "the rest of the time. *Limited by*: the largest of kernels, what else running the layer takes, references and "
        "metrics. Several workers fill what one leaves idle, as the next table shows.",
        columns=(
            "layer, rows × in × out",
            "cases/s",
            "comparisons/s",
            "a case",
            "draw and run",
            "references",
            "metrics, answer",
            "kernels",
            "device idle",
            "limited by",
        ),
        rows=tuple(rows),
    )


def _each(way: Callable[[Work], object], works: Sequence[Work]) -> None:
    for each in works:
        way(each)
