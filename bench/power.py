"""What a comparison of runs of different plans cries wolf at, and what it sees: `python -m bench.power`.

Null: every two of some runs of one library under other seeds. Power: in one cell of a run the error is made larger by
a known factor (`bench.shifts`), and the run is compared with one of another seed. Draws do not depend on what else is
in a plan, so that only the cases of that cell are measured again; the rest of the run is as it was.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Final

import pandas as pd

from accuracy import executor, judge, limits, plan, tables, unpaired
from accuracy.case import Task
from accuracy.cases import CASES
from accuracy.change import BAD, CellChange, Outcome
from accuracy.nightly import TIMEOUT_S
from accuracy.selftest import plant
from bench import table
from bench.table import Section

DEVICE: Final = "cpu"
COLUMNS: Final = (
    "id", "case", "device", "dtype", "stage", "quantity", "origin", "status", "rel_fro", "ratio_bins", "ratio_counts",
)  # fmt: skip
"""What a comparison of runs of different plans looks at."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A shift in the errors of one case in one dtype, and the stage and quantity in which it has to be seen."""

    shift: str
    case: str
    dtype: str
    stage: str
    quantity: str
    words: str

    def is_cell(self, change: CellChange) -> bool:
        """Whether that is the cell."""
        return (change.case, change.dtype, change.stage, change.quantity) == (
            self.case,
            self.dtype,
            self.stage,
            self.quantity,
        )


PLANTED: Final = (
    Planted(
        shift="boundaries",
        case="linear4bit-nf4-train",
        dtype="float16",
        stage="quantization",
        quantity="weight",
        words="quantization error 5 % larger, by boundaries between codes",
    ),
    Planted(
        shift="scales",
        case="linear4bit-nf4-train",
        dtype="float16",
        stage="quantization",
        quantity="weight",
        words="quantization error 5 % larger, by scales",
    ),
    Planted(
        shift="kernel",
        case="linear4bit-nf4-train",
        dtype="float16",
        stage="compute",
        quantity="output",
        words="error of the kernel twice as large, float16",
    ),
    Planted(
        shift="kernel",
        case="linear4bit-nf4-train",
        dtype="float32",
        stage="compute",
        quantity="output",
        words="error of the kernel twice as large, float32",
    ),
)


def tasks(seed: int, cases: Sequence[str], examples: int) -> list[Task]:
    """The sample of a plan: all that a comparison of runs of different plans looks at."""
    planned = plan.make(plan.select(CASES, cases), plan.Profile(samples=examples, per_stratum=0), seed)
    return [task for task in planned if task.origin == unpaired.ORIGIN]


def measured(planned: Sequence[Task], *, jobs: int, overlay: Sequence[Path] = ()) -> pd.DataFrame:
    """Judged observations of a plan on the CPU."""
    by = limits.load()
    execution = executor.execute(
        planned, [DEVICE], timeout_s=TIMEOUT_S, bounds=by.measuring, jobs=jobs, overlay=overlay
    )
    return judge.judge_rows(tables.observations(execution.columns()), by)[list(COLUMNS)]


def planted_in(run: pd.DataFrame, shifted: pd.DataFrame, where: Planted) -> pd.DataFrame:
    """The run with the rows of one case in one dtype as they were measured with a shift."""
    there, new = (
        (frame["case"] == where.case) & (frame["dtype"] == where.dtype) & (frame["device"] == DEVICE)
        for frame in (run, shifted)
    )
    return pd.concat([run[~there], shifted[new]], ignore_index=True)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What came of one comparison: how many cells were compared, and those that block, as text."""

    names: tuple[str, str]
    cells: int
    blocking: tuple[str, ...]


def null(runs: Mapping[int, unpaired.Side], by: limits.Change) -> Iterator[Compared]:
    """Every run as the baseline of every other: what has shrunk one way has grown the other."""
    for one, other in permutations(runs, 2):
        changes = unpaired.changes((runs[one], runs[other]), by)
        yield Compared(
            names=(str(one), str(other)),
            cells=sum(change.outcome is not Outcome.NOT_COMPARED for change in changes),
            blocking=tuple(told(change) for change in changes if change.outcome in BAD),
        )


def told(change: CellChange) -> str:
    """A cell with what is said of it."""
    return f"{change.case} {change.dtype} {change.stage}/{change.quantity}: {change.outcome}, {change.reason}"


def seen(changes: Sequence[CellChange], where: Planted) -> tuple[CellChange, bool]:
    """The cell of a shift, and whether it is REGRESSED."""
    (found,) = (change for change in changes if where.is_cell(change))
    return found, found.outcome is Outcome.REGRESSED


def sections(
    compared: Sequence[Compared], power: Mapping[Planted, Sequence[tuple[CellChange, bool]]], *, runs: int
) -> list[Section]:
    """Both tables."""
    alarms = [each for each in compared if each.blocking]
    cells = sorted(each.cells for each in compared)
    return [
        Section(
            heading="Comparisons of equal runs",
            words=f"Every two of {runs} runs of one library under different seeds, either way round: {len(compared)} "
            "comparisons, which share runs and are not independent. Target: at most 1 with a blocking alarm.",
            columns=("", "number"),
            rows=(
                ("comparisons", str(len(compared))),
                ("cells compared in each", f"{cells[0]} to {cells[-1]}" if cells else "0"),
                ("comparisons with a blocking alarm", str(len(alarms))),
                *((f"{' and '.join(each.names)}: {line}", "") for each in alarms for line in each.blocking),
            ),
        ),
        Section(
            heading="Errors made larger in one cell",
            words="Each run is compared with one of another seed. *Cases* are those of the cell in the smaller run, "
            "the medians over the comparisons. Target: at least 9 of 10 flagged.",
            columns=("", "cell", "cases", "seen as", "largest adjusted p", "flagged"),
            rows=tuple(
                (
                    where.words,
                    f"{where.case} {where.dtype} {where.stage}/{where.quantity}",
                    str(int(pd.Series([change.n for change, _ in found]).median())),
                    ", ".join(sorted({change.metric for change, _ in found})),
                    f"{max(change.p for change, _ in found):.1e}",
                    f"{sum(flagged for _, flagged in found)} of {len(found)}",
                )
                for where, found in power.items()
            ),
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures runs, compares every two, plants shifts and compares again; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.power", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=8, help="so many seeds: 8 make 56 comparisons")
    parser.add_argument("--repeats", type=int, default=10, help="of each shift")
    parser.add_argument("--examples", type=int, default=240, help="draws of each case; with 60 most shifts are missed")
    parser.add_argument("--cases", action="append", help="glob over case names; all by default")
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder that keeps what was measured, and from which it is taken")
    parser.add_argument("--out", type=Path, help="page whose part about comparisons is written anew")
    options = parser.parse_args(arguments)
    by, began = limits.load().change, time.perf_counter()
    seeds = range(options.seed, options.seed + options.runs)
    with tempfile.TemporaryDirectory() as scratch:
        keep = options.keep or Path(scratch)
        keep.mkdir(parents=True, exist_ok=True)
        globs = options.cases or ()
        runs = {
            seed: _kept(keep / f"{seed}.parquet", tasks(seed, globs, options.examples), jobs=options.jobs)
            for seed in seeds
        }
        sides = {seed: unpaired.side(rows) for seed, rows in runs.items()}
        compared = list(null(sides, by))
        power = {
            where: _power(where, runs, sides, keep, options.examples, jobs=options.jobs, repeats=options.repeats)
            for where in PLANTED
            if where.case in {task.name for task in plan.select(CASES, globs)}
        }
    head = f"`python -m bench.power {' '.join(sys.argv[1:] if arguments is None else arguments)}`"
    took = f"{options.examples} draws of each case a run; {table.seconds(time.perf_counter() - began)}."
    part = table.part("Runs of different plans", f"{head}. {took}", sections(compared, power, runs=len(runs)))
    if options.out is None:
        sys.stdout.write(part)
    else:
        before = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
        options.out.write_text(table.placed(before, part, name="power"), encoding="utf-8")
    wolf = sum(bool(each.blocking) for each in compared)
    missed = any(sum(flagged for _, flagged in found) < 0.9 * len(found) for found in power.values())
    return int(wolf > max(1, len(compared) // 50) or missed)


def turned(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """Each seed as the candidate of the one before it, the last being before the first; then of the one before that."""
    steps = range(1, len(seeds))
    return [(seeds[place - step], seeds[place]) for step in steps for place in range(len(seeds))]


def _power(
    where: Planted,
    runs: Mapping[int, pd.DataFrame],
    sides: Mapping[int, unpaired.Side],
    keep: Path,
    examples: int,
    *,
    jobs: int,
    repeats: int,
) -> list[tuple[CellChange, bool]]:
    """Each run with the shift against the one before it, as far as `repeats`; the cases of all are measured at once."""
    by, turns = limits.load().change, turned(list(runs))[:repeats]
    planned = {
        seed: [task for task in tasks(seed, [where.case], examples) if task.config.dtype == where.dtype]
        for seed in dict.fromkeys(seed for _, seed in turns)
    }
    with tempfile.TemporaryDirectory() as name:
        plant.write_overlay(Path(name), faults="bench.shifts:SHIFTS", awake=where.shift)
        shifted = _kept(
            keep / f"{where.shift}-{where.case}-{where.dtype}.parquet",
            [task for each in planned.values() for task in each],
            jobs=jobs,
            overlay=(Path(name),),
        )
    found = []
    for base, seed in turns:
        rows = shifted[shifted["id"].isin([task.id for task in planned[seed]])]
        candidate = unpaired.side(planted_in(runs[seed], rows, where))
        found.append(seen(unpaired.changes((sides[base], candidate), by), where))
        sys.stderr.write(f"{where.shift} {base} {seed}: {told(found[-1][0])}\n")
    return found


def _kept(path: Path, planned: Sequence[Task], *, jobs: int, overlay: Sequence[Path] = ()) -> pd.DataFrame:
    """What was measured before, else what is measured now."""
    if not path.exists():
        measured(planned, jobs=jobs, overlay=overlay).to_parquet(path)
        sys.stderr.write(f"measured {path.name}\n")
    return pd.read_parquet(path)


if __name__ == "__main__":
    sys.exit(main())
