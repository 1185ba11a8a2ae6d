"""Planted faults as evidence: how small their config becomes, and whether its script tells the fault from none.

`python -m bench.evidence --faults 20` plants one fault at a time in the mended library, shrinks what fails first and
runs its script in fresh processes, with the fault and without it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from accuracy import executor, judge, limits, shrink, tables
from accuracy.case import BROKEN, Task
from accuracy.cases import CASES
from accuracy.scripts import found, program
from accuracy.scripts.failure import ScriptError
from accuracy.selftest import tasks
from accuracy.selftest.fault import Fault
from accuracy.selftest.faults import FAULTS
from accuracy.shrunk import Shrunk, Target
from accuracy.verdicts import STAGE_ORDER

MENDED = Path(__file__).parents[1] / "tests" / "mended"
PLANTING = """import importlib.util
from pathlib import Path

from accuracy.selftest.faults import FAULTS
from accuracy.selftest.library import Library


def mend(bitsandbytes):
    library = Library(bitsandbytes, Path(__file__).parent)
    fault = next(each for each in FAULTS if each.name == {name!r})
    library.planting = fault.name
    fault.plant(library)
    library.active, library.size, library.proving = fault.name, {size!r}, False
    spec = importlib.util.spec_from_file_location("mending_proper", {mending!r})
    proper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(proper)
    proper.mend(bitsandbytes)
"""
"""Stands before the module of this name in tests/mended: the fault goes in first, so that what mends wraps it."""

TIMEOUT_S = 60.0
SCRIPT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What came of one fault: its smallest config, and how often its script failed with the fault and without it."""

    fault: str
    check: str = ""
    shrunk: Shrunk | None = None
    with_fault: int = 0
    runs: int = 0
    without: int | None = None
    note: str = ""

    @property
    def good(self) -> bool:
        """Whether the script tells the fault from none, every time."""
        return self.runs > 0 and self.with_fault == self.runs and self.without == 0


def spread(count: int) -> list[Fault]:
    """So many faults that came first, evenly from all of the list."""
    first = [fault for fault in FAULTS if not fault.added_later]
    return [first[number * len(first) // count] for number in range(min(count, len(first)))]


def of_fault(fault: Fault, pool: Sequence[Task], *, seconds: float, runs: int, jobs: int) -> Evidence:
    """Plants a fault, finds what fails first, shrinks it, and runs its script."""
    by = limits.load(limits.DEFAULT_FILE)
    with tempfile.TemporaryDirectory(prefix="accuracy-evidence-") as name:
        folder, aside = Path(name) / "planted", Path(name) / "script"
        folder.mkdir()
        aside.mkdir()  # a script's own folder is on its path, and the fault must not be
        text = PLANTING.format(name=fault.name, size=tasks.sizes_of(fault)[0], mending=str(MENDED / "mending.py"))
        (folder / "mending.py").write_text(text, encoding="utf-8")
        overlay = [folder, MENDED]
        planned = tasks.reached(fault, pool)
        execution = executor.execute(
            planned, ["cpu"], timeout_s=TIMEOUT_S, bounds=by.measuring, jobs=jobs, overlay=overlay
        )
        rows = judge.judge_rows(tables.observations(execution.columns()), by)
        bad = rows[rows["status"].isin(BROKEN)].to_dict("records")
        if not bad:
            return Evidence(
                fault=fault.name, check="", shrunk=None, with_fault=0, runs=0, without=None, note="not found"
            )
        row = {str(key): value for key, value in min(bad, key=lambda each: STAGE_ORDER[each["stage"]]).items()}
        target = Target(
            task=next(task for task in planned if task.id == row["id"]),
            device="cpu",
            stage=row["stage"],
            quantity=row["quantity"],
            members=frozenset({(row["id"], "cpu")}),
        )
        check = f"{target.stage}/{target.quantity}"
        small = shrink.shrink([target], by, seconds=seconds, jobs=jobs, overlay=overlay)[0]
        try:
            text = program.text(found.of_row(row, {}, [small]), by.bounds)
        except ScriptError as error:
            return Evidence(fault=fault.name, check=check, shrunk=small, note=str(error))
        script = aside / "script.py"
        script.write_text(text, encoding="utf-8")
        with ThreadPoolExecutor(max_workers=jobs) as pool_of_threads:
            codes = list(pool_of_threads.map(lambda _: _exit(script, overlay), range(runs)))
        return Evidence(
            fault=fault.name,
            check=check,
            shrunk=small,
            with_fault=sum(code == 1 for code in codes),
            runs=runs,
            without=_exit(script, [MENDED]),
        )


def _exit(script: Path, path: Sequence[Path]) -> int:
    """The exit code of a fresh interpreter."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, path), str(MENDED.parents[1])])}
    ended = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, check=False, timeout=SCRIPT_S
    )
    return ended.returncode


def line(each: Evidence) -> str:
    """One fault, as a line."""
    if each.shrunk is None:
        return f"{each.fault}: {each.note}"
    before, after = each.shrunk.elements
    said = f"{before} to {after} elements ({100 * after / before:.2g} %)"
    seen = f"script fails {each.with_fault} of {each.runs} with the fault, exit {each.without} without"
    return f"{each.fault} {each.check}: {said}; {each.note or seen}"


def main() -> None:
    """Run the campaign, a line a fault, and the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0, help="to shrink each")
    parser.add_argument("--runs", type=int, default=10, help="fresh processes with each fault")
    parser.add_argument("--jobs", type=int, default=executor.cores())
    asked = parser.parse_args()
    pool = tasks.pool(list(CASES.values()))
    everything = []
    for fault in spread(asked.faults):
        everything.append(of_fault(fault, pool, seconds=asked.seconds, runs=asked.runs, jobs=asked.jobs))
        sys.stdout.write(line(everything[-1]) + "\n")
        sys.stdout.flush()
    shares = [each.shrunk.elements[1] / each.shrunk.elements[0] for each in everything if each.shrunk is not None]
    good = sum(each.good for each in everything)
    sys.stdout.write(
        f"{good} of {len(everything)} scripts right every time; "
        f"median {100 * statistics.median(shares or [1.0]):.2g} % of the elements left\n"
    )


if __name__ == "__main__":
    main()
