"""The harness against its floor, by layer and size and over the mix of a night."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from accuracy.case import Embedding4bitConfig, Embedding8bitConfig, Linear4bitConfig, Linear8bitConfig, Task
from bench import clock, work
from bench.clock import Sample
from bench.nights import night
from bench.runs import completed, measured
from bench.table import Section, percent, seconds, times
from bench.table import time as told
from bench.work import Work

NF4: Final = Linear4bitConfig(
    mode="eval",
    dtype="bfloat16",
    batch=(8,),
    in_features=64,
    out_features=64,
    bias=True,
    weight="normal",
    weight_dtype="bfloat16",
    activation="normal",
    quant_type="nf4",
    blocksize=64,
    nested=False,
    quant_storage="uint8",
    compute_dtype=None,
)
INT8: Final = Linear8bitConfig(
    **{name: value for name, value in vars(NF4).items() if name in Linear8bitConfig.__dataclass_fields__},
    threshold=0.0,
    has_fp16_weights=False,
)
SIZES: Final = ((8, 64), (32, 256), (32, 512), (32, 1024), (64, 1448))
"""Rows of the input, and features in and out."""

TABLE8: Final = Embedding8bitConfig(dtype="float32", rows=128, dim=64, index=(10, 10), weight="uniform")
TABLE4: Final = Embedding4bitConfig(**vars(TABLE8), quant_type="nf4", quant_storage="uint8")


def tasks(sizes: Sequence[tuple[int, int]]) -> list[tuple[str, Task]]:
    """Layers by name, each at each size."""
    found: list[tuple[str, Task]] = []
    for rows, features in sizes:
        size: dict[str, Any] = {"batch": (rows,), "in_features": features, "out_features": features}
        for name, config in (("nf4", NF4), ("int8", INT8)):
            for mode in ("eval", "train"):
                case = f"linear4bit-nf4-{mode}" if name == "nf4" else f"linear8bitlt-{mode}"
                drawn = replace(config, **size, mode=mode)
                task = Task(case=case, config=drawn, seed=7, origin="sample")
                found.append((f"{name} {mode}, {rows}×{features}×{features}", task))
    for case, table in (("embedding8bit", TABLE8), ("embedding4bit-nf4", TABLE4)):
        found.append((f"{case}, 128×64", Task(case=case, config=table, seed=7, origin="sample")))
    return found


def turns_of(each: Work, turns: int, now: Any) -> dict[str, Sample]:
    """Seconds of one case in each of its ways, taking turns."""
    ways = {way.__name__: partial(way, each) for way in (work.bare, work.referenced, work.whole)}
    return clock.in_turn(ways, turns=turns, now=now)


def by_size(device: str, *, sizes: Sequence[tuple[int, int]] = SIZES, turns: int = 9) -> Section:
    """The floor, the harness and their ratio, by layer and size."""
    rows = []
    for name, task in tasks(sizes):
        each = work.of(task, device)
        seen = turns_of(each, turns, now_for(device))
        count = work.referenced(each)
        rows.append(
            (
                name,
                told(seen["bare"]),
                told(seen["referenced"]),
                seconds(clock.difference(seen["whole"], seen["referenced"]).median),
                times(clock.ratio(seen["whole"], seen["referenced"])),
                times(clock.ratio(seen["whole"], seen["bare"])),
                str(count),
                f"{count / seen['whole'].median:,.0f}",
            )
        )
    return Section(
        heading="Harness against floor, by layer and size",
        words=f"{WAYS} One process, one thread; {_clock(device)}; medians of {turns} turns ± half the distance of the "
        "quartiles; ratios are taken turn by turn. Targets: at most 1.1 × a floor of 10 ms or more, else 0.4 ms added.",
        columns=(
            "layer, rows × in × out",
            "one reference",
            "floor: all references",
            "the harness adds",
            "harness ÷ floor",
            "harness ÷ one reference",
            "comparisons",
            "comparisons/s",
        ),
        rows=tuple(rows),
    )


WAYS: Final = (
    "*One reference*: draw the tensors, run the layer, multiply the decoded weight in float64 with its error bound, "
    "take the largest error of output and gradients. *All references*: the same with the float64 quantizer, decoder, "
    "products and bounds of every stage, and one largest error each; this is the floor of a harness that checks every "
    "stage. *Harness*: what a worker does, with full distributions, structured residuals, worst elements, and "
    "the answer as it goes over the wire."
)


def mix(device: str, *, count: int = 400, turns: int = 5) -> Section:
    """The harness against its floor over a sample of a night's plan."""
    drawn = night(2 * count)
    # By workers first: a layer that ends its process would end this one.
    sound = completed(drawn, measured(drawn, device).rows)
    works = [each for each in (work.of(task, device) for task in sound) if work.runs(each)][:count]
    each = [turns_of(each, turns, now_for(device)) for each in works]
    seen = {way: clock.total([case[way] for case in each]) for way in ("bare", "referenced", "whole")}
    whole, floor = seen["whole"], seen["referenced"]
    added = [(case["referenced"].median, clock.difference(case["whole"], case["referenced"]).median) for case in each]
    small = [more for below, more in added if below < LARGE]
    large = [more / below for below, more in added if below >= LARGE]
    share = sum(more for _, more in added) / sum(below for below, _ in added)
    number = len(works)
    compared = [work.referenced(case) for case in works]
    a_comparison = [more / of for (below, more), of in zip(added, compared, strict=True) if below < LARGE]
    return Section(
        heading="Harness against floor, over the mix of a night",
        words=f"{number} cases drawn from a plan, of those that the layer completes; totals, so that each weighs what "
        f"it costs; {len(large)} have a floor of {seconds(LARGE)} or more. A case has {sum(compared) / number:.3g} "
        "comparisons. What the harness adds in all is given with its standard error over cases, few of which are most "
        "of the floor. Targets: at most 5 % in all, 10 % of large cases, 0.4 ms for small ones.",
        columns=("", "a case", "÷ floor"),
        rows=(
            ("one reference", seconds(seen["bare"].median / number), times(clock.ratio(seen["bare"], floor))),
            ("floor: all references", seconds(floor.median / number), ""),
            ("harness", seconds(whole.median / number), times(clock.ratio(whole, floor))),
            (
                "the harness adds, in all",
                seconds(sum(more for _, more in added) / number),
                f"{percent(share)} ± {percent(standard_error(added, share))}",
            ),
            ("the harness adds, median of small cases", seconds(statistics.median(small or [0.0])), ""),
            ("that is a comparison", seconds(statistics.median(a_comparison or [0.0])), ""),
            ("the harness adds, median of large cases", "", percent(statistics.median(large or [0.0]))),
        ),
    )


def standard_error(pairs: Sequence[tuple[float, float]], ratio: float) -> float:
    """That of a ratio of sums Σy / Σx, from pairs (x, y) drawn at random (Cochran 1977, equation 2.39)."""
    number = len(pairs)
    apart = sum((y - ratio * x) ** 2 for x, y in pairs)
    return math.sqrt(apart * number / max(1, number - 1)) / sum(x for x, _ in pairs)


LARGE: Final = 0.010
"""Seconds of floor from which a case is a large one."""


def now_for(device: str) -> Any:
    """The clock of a device: the processor time of this thread where the work is done by it."""
    return time.thread_time if device.startswith("cpu") else time.perf_counter


def _clock(device: str) -> str:
    return "processor time" if device.startswith("cpu") else "wall time"
