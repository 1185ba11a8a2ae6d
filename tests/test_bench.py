"""The benchmark says what it measured: medians turn by turn, tables that keep their place, the same work."""

import itertools
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_nightly import HERE, requested, small

from accuracy import nightly, packing, store, storing, wire
from accuracy.case import Task
from accuracy.prepared import prepare
from accuracy.selftest.published import kinds
from bench import clock, drawn, faults, layers, pages, published, runs, several, table, work
from bench.__main__ import main
from bench.clock import Sample
from bench.runs import Answered
from bench.table import Section


def sample(*seconds: float) -> Sample:
    return Sample(seconds=seconds)


def test_things_take_turns_in_an_order_that_goes_round() -> None:
    """Once each for nothing, then every turn begins with another; the clock is read around each."""
    called: list[str] = []
    ticks: Iterator[int] = itertools.count()
    seen = clock.in_turn(
        {"a": lambda: called.append("a"), "b": lambda: called.append("b")}, turns=3, now=lambda: float(next(ticks))
    )

    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert seen == {"a": sample(1, 1, 1), "b": sample(1, 1, 1)}


def test_samples_by_hand() -> None:
    """The median of five, half the distance of the quartiles over it, and sums turn by turn."""
    five = sample(1, 2, 3, 4, 5)

    assert (five.median, five.spread) == (3, 0.5)
    assert sample(7).spread == 0
    assert clock.ratio(sample(6, 8), sample(2, 4)) == sample(3, 2)
    assert clock.difference(sample(6, 8), sample(2, 5)) == sample(4, 3)
    assert clock.total([sample(1, 2), sample(10, 20)]) == sample(11, 22)


def test_the_standard_error_of_a_share_by_hand() -> None:
    """Twice a floor of 1, to which 1 and 3 are added: residuals of 1 each, √4 over a sum of 2. None of one case."""
    assert layers.standard_error([(1.0, 1.0), (1.0, 3.0)], 2.0) == 1.0
    assert layers.standard_error([(2.0, 1.0)], 0.5) == 0.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.234, "1.23 s"), (0.01, "10 ms"), (0.0012345, "1.23 ms"), (2.5e-5, "25 µs"), (-0.25, "-250 ms"), (0.0, "0 µs")],
)
def test_seconds_have_the_unit_that_suits_them(value: float, text: str) -> None:
    assert table.seconds(value) == text


def test_a_part_is_written_in_its_place() -> None:
    """What stands around it, and the part of another device, stay as they are."""
    page = table.placed("# Mine\n", "one\n", name="cpu")
    page = table.placed(page, "two\n", name="cuda")
    assert page.startswith("# Mine\n")

    again = table.placed(page + "after\n", "three\n", name="cpu")
    assert "one" not in again
    assert again == (page + "after\n").replace("one", "three")
    assert table.placed(again, "three\n", name="cpu") == again


def test_a_section_is_a_table() -> None:
    section = Section(heading="H", words="W.", columns=("a", "b"), rows=(("1", "2"),))
    assert table.part("T", "head", [section]) == "## T\n\nhead\n\n### H\n\nW.\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n"


@pytest.mark.parametrize("task", [task for _, task in layers.tasks(layers.SIZES[:1])], ids=lambda task: task.case)
def test_the_floor_makes_the_references_of_all_that_the_harness_compares(task: Task) -> None:
    """As many comparisons as the answer has rows, those about the contract aside."""
    each = work.of(task, "cpu")
    _, text = wire.decode(work.whole(each).removesuffix(b"\n"))
    answer = packing.rows_of([packing.unpack(text, task_id=task.id, device="cpu")])

    assert work.answered(each) == len(answer)
    assert work.referenced(each) == sum(row["stage"] != "contract" for row in answer)
    assert 0 < work.bare(each) <= work.referenced(each)
    compared = [row["count"] for row in answer if row["stage"] != "contract"]
    assert work.compared(each) == (sum(compared), len(compared))


def test_two_devices_have_a_rate_while_both_are_there() -> None:
    """By hand: two answers in the second and a half in which both are at work; each task is measured by one of them."""
    one = Answered(moments=[0.0, 1.0, 2.0, 4.0], own=[], rows=8)
    other = Answered(moments=[2.0, 3.0, 3.5], own=[], rows=6)
    assert several.rate([one, other]) == 2 / 1.5
    assert several.rate([one]) == 3 / 4
    with pytest.raises(ValueError, match="at the same time"):
        several.rate([one, Answered(moments=[5.0, 6.0], own=[], rows=4)])

    shares = several.dealt([task for _, task in layers.tasks(layers.SIZES[:1])], ["cpu", "cpu"], jobs=1)
    assert [len(share.moments) for share in shares] == [3, 3]
    assert all(share.rows > 3 for share in shares)


def test_cases_are_repeated_with_other_data() -> None:
    """Seven of three: all in order, again, and the first once more; no two are one case."""
    three = [task for _, task in layers.tasks(layers.SIZES[:1])][:3]
    seven = several.repeated(three, 7)
    assert seven[:3] == three
    assert [task.config for task in seven] == [three[place % 3].config for place in range(7)]
    assert len({task.id for task in seven}) == 7
    assert several.repeated(three, 2) == three[:2]


def test_the_published_loop_and_ours_have_the_same_shapes() -> None:
    """84→128 in batches of sixteen, every kind."""
    tasks = [published.task(kind, "float16", 3, "constant") for kind in kinds()]

    assert {task.config.batch for task in tasks} == {(3, 16)}  # type: ignore[union-attr]  # dense layers
    assert {(task.config.in_features, task.config.out_features) for task in tasks} == {(84, 128)}  # type: ignore[union-attr]  # dense layers
    assert sum(task.case.startswith("linear8bit") for task in tasks) == 1
    assert published.published("NF4", "float16", 2, "cpu")() > 0


def test_a_run_is_enlarged_by_cases_under_new_ids(tmp_path: Path) -> None:
    """Enough of them, each as it was, in a folder that can be read and reported."""
    result = nightly.run(prepare(requested([small("embedding8bit")]), HERE), None, lambda _: None)
    storing.prepare(tmp_path / "run")
    storing.write(tmp_path / "run", result.manifest, result.plan, result.observations, result.verdicts, result.summary)

    assert pages.enlarged(tmp_path / "run", tmp_path / "large", 30) == 30
    large = store.read(tmp_path / "large")
    assert large.observations["id"].nunique() == large.plan["id"].nunique() == 30
    assert large.summary["verdict"] == result.summary["verdict"]


@pytest.mark.skipif(
    shutil.which("chromium") is None and "CI" not in os.environ, reason="no Chromium here; CI must have one"
)
def test_pages_are_drawn_by_turns(tmp_path: Path) -> None:
    """The first paint comes before all is there; a page is drawn as often as there are turns."""
    for name in ("one", "other"):
        (tmp_path / f"{name}.html").write_text("<!doctype html><title>page</title><p>drawn", encoding="utf-8")
    seen = drawn.drawn([tmp_path / "one.html", tmp_path / "other.html"], turns=2)

    assert seen is not None
    assert [len(page.whole.seconds) for page in seen] == [2, 2]
    for page in seen:
        assert all(0 < a <= b for a, b in zip(page.first.seconds, page.whole.seconds, strict=True))


def test_it_runs_and_writes_its_tables(tmp_path: Path) -> None:
    """With next to no work: machine and versions, a table a section, and no cell without a number."""
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\nWritten by hand.\n", encoding="utf-8")
    wanted = ["layers", "mix", "published", "workers"]

    assert main(["--tiny", "--out", str(page), *(f"--only={name}" for name in wanted)]) == 0

    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Benchmarks\n\nWritten by hand.\n")
    assert "bitsandbytes 0." in text
    assert len(re.findall(r"(?m)^### ", text)) == len(wanted)
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| layer")]
    assert len(rows) > 15
    assert not any("nan" in line for line in rows)


def test_what_ran_to_its_end_is_known_from_rows_of_workers() -> None:
    """A layer that raised, a worker that died and a case that was refused are left out."""
    tasks = [task for _, task in layers.tasks(layers.SIZES[:1])][:4]
    ends: list[dict[str, object]] = [{"ratio": 0.0}, {"ratio": math.inf}, {"ratio": math.nan}]
    rows = [{"id": task.id, "quantity": "completes", **end} for task, end in zip(tasks, ends, strict=False)]

    assert runs.completed(tasks, [*rows, {"id": tasks[3].id, "quantity": "output", "ratio": 0.0}]) == tasks[:1]


def test_faults_among_good_cases_are_named_and_change_none_of_them() -> None:
    """Five faults in workers that measure real cases, and what the table says of them."""
    section = faults.section("cpu", good=4, cap=256 << 20, limit_s=2.0)

    said = {name: recorded for name, recorded, _ in section.rows}
    assert said == {
        "SIGSEGV": "crash: SIGSEGV",
        "os._exit(0)": "crash: exit code 0 without an answer",
        "a C loop that holds the GIL": "timeout: no answer within 2 s of starting",
        "a memory balloon": "oom: out of memory: MemoryError",
        "abort()": "crash: SIGABRT",
        "the 4 good cases are those of a run without faults": "yes",
        "processes left behind": "0",
    }
