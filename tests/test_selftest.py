"""The harness tests itself: planted faults act, are found, are scored honestly, and leave no trace."""

import datetime
import json
import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from accuracy import limits
from accuracy.case import Stage
from accuracy.cases import CASES
from accuracy.selftest import campaign, matrix, plant, tasks, trial
from accuracy.selftest.faults import FAULTS
from accuracy.selftest.library import Library, proof
from accuracy.selftest.outcome import Outcome, Result
from cli import app

MEASURING = trial.Measuring(limits=limits.load(limits.DEFAULT_FILE), jobs=2, on_progress=lambda _: None)
CREATED = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
AREAS = {
    "encode", "decode", "compute", "bias", "gradients", "int8", "outliers", "nested", "embeddings", "state", "special",
    "nondeterminism", "calls", "sizes", "keeping",
}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Real trials, in real processes, of a handful of faults."""
    faults = campaign.select(["output-dead-column", "encode-scale-factor", "nested-decode-255"])
    return campaign.run(faults, MEASURING, created=CREATED, say=lambda _: None)


def entry(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in found["faults"] if one["name"] == name)


def test_faults_that_are_planted_are_found_in_their_stage(found: dict[str, Any]) -> None:
    """A dead column is a fault of the product, a wrong scale one of the encoder, a wrong block one of the decoder."""
    seen = {one["name"]: (one["exercised"], one["sizes"][0]["stage"]) for one in found["faults"]}

    assert seen == {
        "output-dead-column": (True, "compute"),
        "encode-scale-factor": (True, "encode"),
        "nested-decode-255": (True, "decode"),
    }


def test_a_scale_that_is_one_part_in_a_million_off_is_found(found: dict[str, Any]) -> None:
    """Scales are compared bit by bit, so the smallest size planted is found."""
    assert entry(found, "encode-scale-factor")["smallest"] == 1e-6


def test_the_published_assertion_says_nothing_to_a_dead_column(found: dict[str, Any]) -> None:
    """It looks at gradients of the layer before only, and those do not see the output."""
    assert entry(found, "output-dead-column")["published"] == "passes"


def test_the_parent_is_left_as_it_was(found: dict[str, Any]) -> None:
    """Faults are planted in other processes: here nothing finds, imports or patches the library."""
    assert found["faults"]
    assert not any(type(finder).__module__ == plant.__name__ for finder in sys.meta_path)
    assert "sitecustomize" not in sys.modules or "selftest" not in str(sys.modules["sitecustomize"].__file__)


def test_a_fault_that_never_acts_is_not_exercised() -> None:
    """An offset that is lost changes nothing where scales have none: a real trial says so and does not find it."""
    lost = next(fault for fault in FAULTS if fault.name == "nested-offset-lost")
    idle = replace(lost, where=lambda config: not config.nested and config.in_features == 84)
    tried = tasks.reached(idle, tasks.pool([CASES["linear4bit-nf4-train"]]))
    baseline = trial.measure_baseline(tried, MEASURING)

    document = matrix.document(trial.try_faults([idle], baseline, MEASURING), baseline.versions, CREATED)

    assert document["faults"][0]["tasks"] > 0
    assert matrix.found_word(document["faults"][0]) == "NOT EXERCISED"
    assert document["totals"]["found"] == 0
    assert not matrix.reaches_goals(document)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A library of two modules; the second has the first one's function under a name of its own."""
    package, first, second = (ModuleType(name) for name in ("small", "small.first", "small.second"))
    first.twice = second.double = lambda value: 2 * value  # type: ignore[attr-defined]  # made up here
    for module in (package, first, second):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return package


def test_a_function_is_replaced_under_every_name(small: ModuleType, tmp_path: Path) -> None:
    """`from x import y` makes a second name, and a patch that missed it would not be planted there."""
    library = Library(small, tmp_path)

    library.after("first:twice", lambda result, _: result + 1)

    assert sys.modules["small.second"].double(3) == 7


def test_only_a_changed_value_is_proof(small: ModuleType, tmp_path: Path) -> None:
    """Neither planting nor being called shows that a fault acted; a changed bit does, size by size."""
    library = Library(small, tmp_path)
    library.after("first:twice", lambda result, _: result + library.size)
    twice = sys.modules["small.first"].twice

    twice(torch.tensor([1.0]))
    assert not proof(tmp_path, "", 0.0).exists()
    library.size = 0.5
    twice(torch.tensor([1.0]))
    assert proof(tmp_path, "", 0.5).exists()
    assert not proof(tmp_path, "", 0.0).exists()


def test_a_fault_sleeps_until_it_is_named(small: ModuleType, tmp_path: Path) -> None:
    """All faults are planted at once, and only the active one acts."""
    library = Library(small, tmp_path)
    for fault, extra in (("one", 1), ("ten", 10)):
        library.planting = fault
        library.after("first:twice", lambda result, _, extra=extra: result + extra)
    twice = sys.modules["small.first"].twice

    said = []
    for library.active in ("", "one", "ten"):
        said.append(twice(3))

    assert said == [6, 7, 16]


def test_negative_zero_is_a_changed_value_and_the_same_nan_is_not(small: ModuleType, tmp_path: Path) -> None:
    """Values are compared by their bits."""
    library = Library(small, tmp_path)
    library.after("first:twice", lambda result, _: result * (1 - 2 * library.size))
    twice = sys.modules["small.first"].twice

    twice(torch.tensor([0.0, float("nan")]))
    assert not proof(tmp_path, "", 0.0).exists()
    library.size = 1.0
    twice(torch.tensor([0.0]))
    assert proof(tmp_path, "", 1.0).exists()


def outcome(size: float, stage: str = "", verdict: str = "fail") -> Outcome:
    found = bool(stage)
    return Outcome(
        size=size, acted=True, found=found, stage=stage, verdict=verdict if found else "", cell="", reason=""
    )


def result(*outcomes: Outcome, added_later: bool = False, published: str = "passes") -> Result:
    fault = replace(FAULTS[0], stage=Stage.ENCODE, sizes=tuple(one.size for one in outcomes), added_later=added_later)
    return Result(fault=fault, outcomes=outcomes, published=published, tasks=1)


def test_the_smallest_size_found_is_the_last_before_the_first_gap() -> None:
    """1e-4 that happens to be found below a 1e-3 that is not proves nothing about 1e-3."""
    assert result(outcome(1e-2, "encode"), outcome(1e-3), outcome(1e-4, "encode")).smallest == 1e-2
    assert result(outcome(1e-2), outcome(1e-3, "encode")).smallest is None


def test_totals_count_stages_warnings_and_faults_added_later_apart() -> None:
    """Worked out by hand: three first, of which two found, one of them elsewhere and by a warning; one later."""
    document = matrix.document(
        [
            result(outcome(1.0, "encode"), published="found"),
            result(outcome(1.0, "compute", "warn")),
            result(outcome(1.0), published="not covered"),
            result(outcome(1.0, "encode"), added_later=True),
        ],
        {"bitsandbytes": "0"},
        CREATED,
    )

    assert document["totals"] == {
        "faults": 3, "exercised": 3, "found": 2, "warned": 1, "stage_right": 1, "published_found": 1,
        "published_covered": 2,
    }  # fmt: skip
    assert document["added_later"]["found"] == 1
    assert not matrix.reaches_goals(document)
    assert matrix.summary(document)[0].startswith("planted faults: found 2/3 (1 of them by a warning only)")


def test_the_list_is_what_was_asked_for() -> None:
    """Every area has faults, names are unique, sizes descend, and each fault reaches cases that exist."""
    names = [fault.name for fault in FAULTS]

    assert len(set(names)) == len(names) >= 66
    assert {fault.area for fault in FAULTS} == AREAS
    assert all(type(size) is float for fault in FAULTS for size in fault.sizes)
    assert all(list(fault.sizes) == sorted(fault.sizes, reverse=True) for fault in FAULTS)
    assert all(any(fnmatchcase(case, fault.cases) for case in CASES) for fault in FAULTS)


def test_the_newest_matrix_is_kept_and_read_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Reports carry what was stored; a spoilt file counts as none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    document = matrix.document([result(outcome(1.0, "encode"))], {}, CREATED)

    assert matrix.newest() is None
    path = matrix.keep(document)
    assert matrix.newest() == json.loads(matrix.to_json(document))
    path.write_text("{", encoding="utf-8")
    assert matrix.newest() is None


def test_an_unknown_fault_is_one_line_and_exit_2() -> None:
    """What was seen, what would do, and no traceback."""
    said = CliRunner().invoke(app, ["selftest", "--fault", "no-such-*"])

    assert said.exit_code == 2
    assert said.stderr.startswith("accuracy: no fault matches 'no-such-*'")
    assert len(said.stderr.splitlines()) == 1
