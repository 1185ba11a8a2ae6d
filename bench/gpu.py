"""How much of the time an accelerator computes, and what it waits for."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import torch

from bench import clock, work
from bench.layers import night, now_for, tasks
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


def idle(device: str, *, sizes: Sequence[tuple[int, int]], count: int = 100, turns: int = 5) -> Section:
    """Where the time of a case goes with one worker, and the share in which the device has nothing to do."""
    named = [(name, [work.of(task, device)]) for name, task in tasks(sizes)]
    named.append((f"mix of {count} cases", [work.of(task, device) for task in night(count)]))
    rows = []
    for name, works in named:
        ways = {way.__name__: partial(_each, way, works) for way in WAYS}
        seen = clock.in_turn(ways, turns=turns, now=now_for(device))
        kernels = kernel_seconds(works)
        whole, referenced, layer = (seen[way].median for way in ("whole", "referenced", "layer"))
        number = len(works)
        rows.append(
            (
                name,
                f"{number / whole:,.0f}",
                seconds(whole / number),
                percent(layer / whole),
                percent((referenced - layer) / whole),
                percent((whole - referenced) / whole),
                seconds(kernels / number),
                percent(max(0.0, 1 - kernels / whole)),
            )
        )
    return Section(
        heading=f"One worker on {device}",
        words="Shares of the wall time of a case: drawing the tensors and running the layer, float64 references on the "
        "host, metrics and the answer. *Kernels*: what the device's profiler adds up of kernels and copies; *idle*: "
        "the rest of the time.",
        columns=(
            "layer, rows × in × out",
            "cases/s",
            "a case",
            "draw and run",
            "references",
            "metrics, answer",
            "kernels",
            "device idle",
        ),
        rows=tuple(rows),
    )


def _each(way: Callable[[Work], object], works: Sequence[Work]) -> None:
    for each in works:
        way(each)
