"""Failures made smaller: the strategy leads from any config to the simplest, a real search to one that still fails."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import InMemoryExampleDatabase, choices_to_bytes
from typer.testing import CliRunner

import cli
from accuracy import limits, plan, shrink, shrunk, store
from accuracy.case import Status, Task
from accuracy.cases import CASES
from accuracy.files import SHRUNK, StoreError
from accuracy.rows import DEFAULTS, Row
from accuracy.scripts import failure, found
from accuracy.simpler import elements, simpler

BY = limits.load(limits.DEFAULT_FILE)
ABORTS = """import builtins, os

original = builtins.__import__


def importing(name, *args, **kwargs):
    module = original(name, *args, **kwargs)
    if name == "bitsandbytes" and hasattr(module, "nn") and not hasattr(module, "aborts"):
        module.aborts, forward = True, module.nn.Embedding8bit.forward
        module.nn.Embedding8bit.forward = lambda layer, x: os.abort() if x.numel() > 5 else forward(layer, x)
    return module


builtins.__import__ = importing
"""
"""A library in which a lookup of more than five rows kills its process."""

FIXED = ("mode", "quant_type", "has_fp16_weights", "relation", "moves")

CONFIGS = [config for name, case in CASES.items() for config, _ in plan.draws(case.draw(), f"shrink/{name}", 1)]


def smallest(config: Any, fails: Any) -> Any:
    """What Hypothesis makes of it, beginning with it."""
    strategy, choices = simpler(config)
    database = InMemoryExampleDatabase()
    database.save(b"key", choices_to_bytes([*choices, 0]))
    phases = (Phase.reuse, Phase.shrink)
    quick = settings(database=database, phases=phases, deadline=None, suppress_health_check=list(HealthCheck))
    return hypothesis.find(strategy, fails, settings=quick, database_key=b"key")


@pytest.mark.parametrize("config", CONFIGS)
def test_the_search_begins_with_the_config_itself(config: Any) -> None:
    """The choices that are handed to Hypothesis make this very config, whatever it is."""
    assert smallest(config, lambda seen: seen == config) == config


@pytest.mark.parametrize("config", CONFIGS)
def test_without_a_condition_it_ends_at_the_simplest(config: Any) -> None:
    """Sizes of one, ordinary options; what the case holds fixed is as it was, and the result is a config of values."""
    least = smallest(config, lambda _: True)

    assert elements(least) <= elements(config)
    assert least.dtype == "float32"
    assert {name: getattr(least, name, None) for name in FIXED} == {name: getattr(config, name, None) for name in FIXED}
    if hasattr(least, "out_features"):
        assert (least.out_features, least.in_features, least.bias) == (1, 1, False)
        assert (least.weight, least.activation) == ("normal", "normal")
    failure.check(least)


def test_what_the_failure_needs_is_kept() -> None:
    """The finding F01 as a condition: rows of a multiple of 16 that is none of 64, some of them, more than a block."""
    published: Any = CASES["linear4bit-nf4-train"].published[0]
    config = replace(published, in_features=1200, out_features=256, batch=(2, 3, 4))

    def fails(seen: Any) -> bool:
        rows_end_inside = seen.in_features % 16 == 0 and seen.in_features % 64 != 0
        return bool(rows_end_inside and seen.out_features > 1 and seen.in_features * seen.out_features > 64)

    least = smallest(config, fails)

    assert (least.batch, least.bias, least.dtype, least.in_features % 16) == ((1,), False, "float32", 0)
    assert elements(least) <= 500


def row(**values: Any) -> Row:
    given_: Row = {"case": "linear4bit-nf4-train", "device": "cpu", "dtype": "float32", "status": "ok", "ratio": 0.0}
    return {**DEFAULTS, **given_, "lower_ratio": float("nan"), "theory_z": 0.0, **values}


def of(*rows: Row) -> shrink.Manner | None:
    return shrink.manner(rows, "cpu", "compute", "output", BY)


def test_kinds_of_failure_are_told_apart() -> None:
    """A number, a structure, one that a lower precision explains, and one that an earlier stage accounts for."""
    by_number = of(row(stage="compute", quantity="output", ratio=3.0))
    by_nan = of(row(stage="compute", quantity="output", ratio=float("nan")))
    by_structure = of(row(stage="compute", quantity="output", structure_z=9.0))
    explained = of(row(stage="compute", quantity="output", ratio=3.0, lower_ratio=0.5))

    assert by_number == by_nan is not None
    assert len({by_number, by_structure, explained, None}) == 4
    assert of(row(stage="compute", quantity="output", ratio=0.5)) is None
    assert (
        of(row(stage="decode", quantity="weight", ratio=2.0), row(stage="compute", quantity="output", ratio=3.0))
        is None
    )


def test_crashes_and_messages_are_told_apart() -> None:
    """By their signal and by their words, not by the numbers and shapes in them."""

    def completes(**values: Any) -> shrink.Manner | None:
        return shrink.manner(
            [row(stage="contract", quantity="completes", **values)], "cpu", "contract", "completes", BY
        )

    fpe = completes(status=Status.CRASH.value, reason="crash: SIGFPE; at worker.py line 12")
    again = completes(status=Status.CRASH.value, reason="crash: SIGFPE; at worker.py line 99")
    segv = completes(status=Status.CRASH.value, reason="crash: SIGSEGV; at worker.py line 12")
    raised = completes(ratio=float("inf"), observed="RuntimeError: shape '[32, 1]' is invalid for input of size 48")
    other = completes(ratio=float("inf"), observed="RuntimeError: shape '[4, 7]' is invalid for input of size 3")

    assert fpe == again is not None
    assert raised == other is not None
    assert len({fpe, segv, raised}) == 3


def test_a_crash_costs_a_worker_and_not_the_search(tmp_path: Path) -> None:
    """A lookup of six rows or more that aborts is shrunk to six numbers of one row of one element."""
    (tmp_path / "sitecustomize.py").write_text(ABORTS, encoding="utf-8")
    published: Any = CASES["embedding8bit"].published[0]
    config = replace(published, rows=64, dim=32, index=(4, 5), dtype="bfloat16")
    task = Task(case="embedding8bit", config=config, seed=3, origin="sample")
    target = shrunk.Target(
        task=task, device="cpu", stage="contract", quantity="completes", members=frozenset({(task.id, "cpu")})
    )
    (least,) = shrink.shrink([target], BY, seconds=60.0, jobs=1, overlay=[tmp_path])

    assert least.status == Status.CRASH
    assert "SIGABRT" in least.reason
    found_config: Any = least.task.config
    assert (found_config.rows, found_config.dim, found_config.index) == (1, 1, (6,))
    assert least.failed == least.tried == shrink.CONFIRMED


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which F13 and F18 show."""
    folder = tmp_path_factory.mktemp("shrink") / "run"
    arguments = ["--profile", "smoke", "--device", "cpu", "--jobs", "1", "--seed", "3", "--examples", "4"]
    case = ["--cases", "linear8bitlt-fp16-weights-train"]
    CliRunner().invoke(cli.app, ["nightly", *arguments, *case, "--out", str(folder)])
    return folder


def test_every_cause_of_a_run_is_made_small(run: Path) -> None:
    """The command finds them, keeps them, and scripts and report are those of the small configs."""
    ended = CliRunner().invoke(cli.app, ["shrink", str(run), "--failed", "--time-budget", "60s", "--jobs", "1"])
    kept = shrunk.read(run)
    CliRunner().invoke(cli.app, ["report", str(run)])
    stored, page = store.read(run), (run / "report.html").read_text(encoding="utf-8")

    assert ended.exit_code == 0
    assert ended.stdout.count("\n") == len(kept) > 1
    for each in kept:
        script = found.failing(stored, each.original, device=each.device, check=f"{each.stage}/{each.quantity}")
        assert each.elements[1] <= 12
        assert each.failed == each.tried == shrink.CONFIRMED
        assert script.config == each.task.config
        assert each.task.id in page
    assert page.count('class="program"') >= len(kept)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give the id of a case"),
        (["0000000000000000"], "has no failing case"),
        (["--failed", "--time-budget", "soon"], "is no duration"),
    ],
)
def test_bad_arguments_are_one_line(run: Path, arguments: list[str], words: str) -> None:
    ended = CliRunner().invoke(cli.app, ["shrink", str(run), *arguments])

    assert ended.exit_code == 2
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ["{", "[1]", '[{"original": "x"}]', "[" * 10_000])
def test_a_file_that_is_something_else_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / SHRUNK).write_text(text, encoding="utf-8")

    with pytest.raises(StoreError, match="accuracy shrink"):
        shrunk.read(tmp_path)


def test_what_was_shrunk_again_replaces_what_was(tmp_path: Path) -> None:
    """By case, device and check; the rest is kept."""
    one = shrunk.Shrunk(
        original="a", device="cpu", stage="compute", quantity="output", members=(("a", "cpu"),),
        plan=dict.fromkeys(("id", "case", "origin", "config", "seed"), ""), elements=(9, 3), failed=5, tried=5,
        measured=7, status="fail", ratio="inf", place="", reason="",
    )  # fmt: skip
    shrunk.write(tmp_path, [one, replace(one, original="b")])
    shrunk.write(tmp_path, [replace(one, elements=(9, 2))])

    assert [(each.original, each.elements) for each in shrunk.read(tmp_path)] == [("b", (9, 3)), ("a", (9, 2))]
    assert json.loads((tmp_path / SHRUNK).read_text(encoding="utf-8"))[0]["original"] == "b"
