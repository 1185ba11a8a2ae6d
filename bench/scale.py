"""How time, memory and bytes grow: `python -m bench.scale HOSTS DEVICES NIGHTS`, on folders of `bench.fleet`.

Each size is measured in a process of its own, on the first so many folders. The exponent of a column is the slope of
its logarithm over that of the number of rows, between the smallest size and the largest: 1 is in proportion.
"""

import argparse
import datetime
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from accuracy import history, store, whole
from accuracy.case import CELL
from accuracy.limits import load
from bench.table import Section, seconds
from reports import publish

SHARES: Final = (1 / 16, 1 / 4, 1)
"""Sizes that are measured, as shares of the folders that there are."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What one size took: seconds by the clock and of processors, and bytes at the peak and on disk."""

    folders: int
    rows: int
    wall: float
    cpu: float
    peak: int
    disk: int


def merge(folders: Sequence[Path], scratch: Path) -> tuple[int, int]:
    """Merges the folders without a page; rows, and bytes of the whole."""
    today = datetime.datetime.now(datetime.UTC).date()
    asked = whole.Request(runs=folders, limits=load(), waivers=(), wanted=(), today=today)
    found = whole.opened(asked)
    whole.write(scratch / "whole", found, asked)
    return len(found.found.rows), _bytes([scratch / "whole"])


def page(folders: Sequence[Path], scratch: Path) -> tuple[int, int]:
    """Merges the folders and reports on the whole; rows, and bytes of the page."""
    merge(folders, scratch)
    run = store.read(scratch / "whole")
    publish.write(scratch / "whole", run.manifest, run.observations, run.verdicts, run.summary, scratch / "page.html")
    return len(run.observations), (scratch / "page.html").stat().st_size


def cell(folders: Sequence[Path], scratch: Path) -> tuple[int, int]:
    """One cell's trend; its verdicts, and bytes of what is read."""
    _, verdicts = store.read_verdicts(folders[0], CELL)
    place = history.place(verdicts.to_pandas().iloc[verdicts.num_rows // 2])
    return len(history.read(_linked(folders, scratch), cell=place).rows), _read(folders)


def index(folders: Sequence[Path], scratch: Path) -> tuple[int, int]:
    """The index of all nights; its verdicts, and bytes of what is read."""
    publish.write_history(_linked(folders, scratch), scratch / "history.html")
    return sum(store.read_verdicts(folder, CELL)[1].num_rows for folder in folders), _read(folders)


THINGS: Final[dict[str, Callable[[Sequence[Path], Path], tuple[int, int]]]] = {
    "merge": merge,
    "page": page,
    "cell": cell,
    "index": index,
}


def _linked(folders: Sequence[Path], scratch: Path) -> Path:
    """A folder with these nights alone. Files are linked: links to folders would be followed by nothing."""
    root = scratch / "nights"
    for folder in folders:
        (root / folder.name).mkdir(parents=True)
        for name in (store.MANIFEST, store.VERDICTS):
            (root / folder.name / name).hardlink_to(folder / name)
    return root


def _read(folders: Sequence[Path]) -> int:
    return sum((folder / name).stat().st_size for folder in folders for name in (store.MANIFEST, store.VERDICTS))


def _bytes(folders: Sequence[Path]) -> int:
    return sum(path.stat().st_size for folder in folders for path in folder.iterdir())


def one(thing: str, root: Path, number: int) -> Taken:
    """Measures one thing on the first `number` folders of `root`, in this process."""
    folders = sorted(path for path in root.iterdir() if path.is_dir())[:number]
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        began, before = time.perf_counter(), _processors()
        rows, disk = THINGS[thing](folders, Path(scratch))
        wall, cpu = time.perf_counter() - began, _processors() - before
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Taken(folders=number, rows=rows, wall=wall, cpu=cpu, peak=1024 * peak, disk=disk)


def _processors() -> float:
    """Seconds of processors that this process and its ended children have taken."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def grown(thing: str, root: Path) -> list[Taken]:
    """One thing at each size, each in a process of its own."""
    there = sum(path.is_dir() for path in root.iterdir())
    taken = []
    for number in sorted({max(1, round(share * there)) for share in SHARES}):
        command = [sys.executable, "-m", "bench.scale", str(root), "--one", thing, "--number", str(number)]
        said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
        taken.append(Taken(**json.loads(said.stdout.splitlines()[-1])))
    return taken


def exponent(taken: Sequence[Taken], name: str) -> str:
    """The slope of log `name` over log rows, from the smallest size to the largest."""
    first, last = asdict(taken[0]), asdict(taken[-1])
    if first["rows"] == last["rows"]:
        return ""
    return f"{math.log(last[name] / first[name]) / math.log(last['rows'] / first['rows']):.2f}"


def section(heading: str, taken: Sequence[Taken]) -> Section:
    """One thing as a table, with the exponents last."""
    rows = [
        (
            f"{each.folders:,}",
            f"{each.rows:,}",
            seconds(each.wall),
            seconds(each.cpu),
            f"{each.peak / 2**20:,.0f} MiB",
            f"{each.disk / 1e6:,.1f} MB",
        )
        for each in taken
    ]
    last = ("exponent", "", *(exponent(taken, name) for name in ("wall", "cpu", "peak", "disk")))
    return Section(
        heading=heading,
        words="",
        columns=("folders", "rows", "wall", "processors", "peak memory", "bytes"),
        rows=(*rows, last),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints tables in Markdown of folders of hosts, devices and nights, or with `--one` one measurement as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=main.__doc__)
    parser.add_argument("roots", type=Path, nargs="+", help="the three folders, as bench.fleet makes them")
    parser.add_argument("--one", choices=THINGS)
    parser.add_argument("--number", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.one:
        sys.stdout.write(json.dumps(asdict(one(options.one, options.roots[0], options.number))) + "\n")
        return 0
    hosts, devices, nights = options.roots
    growing = (
        ("hosts", "merge", hosts),
        ("devices", "merge", devices),
        ("devices", "page", devices),
        ("nights", "cell", nights),
        ("nights", "index", nights),
    )
    for of, thing, root in growing:
        made = section(f"{thing}, by {of}", grown(thing, root))
        lines = [made.columns, ["---"] * len(made.columns), *made.rows]
        sys.stdout.write(f"### {thing}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
