"""A report can be made of a run at any time, from its journal alone, and never says more than was measured."""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_nightly import HERE, requested, small
from typer.testing import CliRunner

import cli
from accuracy import limits, nightly, plan, shards, storing, unfinished
from accuracy.cases import CASES
from accuracy.conclusion import Result
from accuracy.files import JOURNAL, StoreError
from accuracy.journal import Journal
from accuracy.plan import PlanError
from accuracy.prepared import prepare
from accuracy.shards import Shard
from reports.render import render


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A run to its end: what it gave, and the journal it kept."""

    result: Result
    journal: bytes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Fourteen real cases on the CPU, and a device that is not there."""
    folder = tmp_path_factory.mktemp("whole")
    prepared = prepare(requested([small("embedding8bit")], devices=("cpu", "xpu")), HERE)
    with Journal(folder, prepared.key, about=unfinished.about(prepared)) as journal:
        result = nightly.run(prepared, journal, lambda _: None)
    return Whole(result=result, journal=(folder / JOURNAL).read_bytes())


def left_by_a_kill(folder: Path, data: bytes) -> Path:
    """A folder that holds this much of a journal and nothing else."""
    folder.mkdir(exist_ok=True)
    (folder / JOURNAL).write_bytes(data)
    return folder


def measured(rows: pd.DataFrame) -> list[str]:
    """Rows that were measured, as text, without the time they took."""
    kept = rows[(rows["status"] != "not_run") & (rows["device"] == "cpu")]
    return [str(sorted((name, str(value)) for name, value in row.items() if name != "seconds"))
            for row in kept.to_dict("records")]  # fmt: skip


def test_a_run_cut_anywhere_is_rendered_as_incomplete(whole: Whole, tmp_path: Path) -> None:
    """At each of 30 moments: what was settled stands as in the whole run, the rest did not run: no release."""
    lines = [place for place, byte in enumerate(whole.journal) if byte == ord("\n")]
    plan_is_there = lines[2] + 1  # after the first line, the plan, and what says that it is whole
    every = measured(whole.result.observations)
    shares = []
    for part in range(30):
        end = plan_is_there + (len(whole.journal) - 1 - plan_is_there) * part // 29
        result = unfinished.result(left_by_a_kill(tmp_path, whole.journal[:end]), limits.load())

        settled = measured(result.observations)
        assert set(settled) <= set(every)
        assert result.observations["id"].nunique() == 14
        assert result.summary["verdict"] == "incomplete"
        assert not result.complete
        shares.append(len(settled))
        if part % 10 == 0:
            page = render(result.manifest, result.observations, result.verdicts, result.summary)
            assert "</span> Incomplete</h1>" in page
            assert "of 14 are done" in page
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0 < shares[15] < shares[-1]


@pytest.mark.parametrize("shard", [None, Shard(number=2, of=3)], ids=["all", "2 of 3"])
def test_a_run_killed_while_its_plan_is_drawn_lacks_all_of_the_plan(shard: Shard | None, tmp_path: Path) -> None:
    """What it had not drawn yet is redrawn, and did not run; a plan that no version of ours draws is refused."""
    asked = replace(requested([CASES["embedding8bit"]]), shard=shard)
    prepared = prepare(asked, HERE, ahead=False)
    tasks = list(prepared.tasks)
    with Journal(tmp_path, prepared.key, about=unfinished.about(prepared)) as journal:
        journal.plan(plan.rows(tasks[:3]))
    result = unfinished.result(tmp_path, limits.load())

    assert result.plan["id"].tolist() == [task.id for task in tasks]
    assert set(result.observations["status"]) == {"not_run"}
    if shard is not None:
        assert result.manifest["parts"] == shards.asked(shard, prepared.whole, ["cpu"])
        assert prepared.whole == prepare(replace(asked, shard=None), HERE).whole
    with Journal(tmp_path, prepared.key, resume=True) as journal:
        journal.plan(plan.rows([replace(tasks[0], seed=1)]))
    with pytest.raises(PlanError, match=r"it planned \w{16}, which is not planned here: use the version that began it"):
        unfinished.result(tmp_path, limits.load())
    again = prepare(asked, HERE)
    with (
        Journal(tmp_path, again.key, resume=True) as journal,
        pytest.raises(StoreError, match=r"1 tasks that it planned are not planned now"),
    ):
        nightly.run(again, journal, lambda _: None)


def test_the_whole_journal_gives_the_whole_run(whole: Whole, tmp_path: Path) -> None:
    """Killed after the last case and before anything was stored: every row, and the devices as they were."""
    result = unfinished.result(left_by_a_kill(tmp_path, whole.journal), limits.load())

    assert measured(result.observations) == measured(whole.result.observations)
    changing = {"duration_s", "selftest", "cases"}  # the case of this test has fewer strata than the one of its name
    assert {name: value for name, value in result.manifest.items() if name not in changing} == {
        name: value for name, value in whole.result.manifest.items() if name not in changing
    }
    assert result.summary["verdict"] == whole.result.summary["verdict"] == "incomplete"  # the missing device


def test_a_run_under_way_can_be_looked_at(tmp_path: Path) -> None:
    """Its lock is not asked for and its journal not touched, half a line at its end included."""
    prepared = prepare(requested([small("embedding8bit")]), HERE)
    with Journal(tmp_path, prepared.key, about=unfinished.about(prepared)) as journal:
        journal.plan(plan.rows(prepared.tasks))
        with (tmp_path / JOURNAL).open("ab") as file:
            file.write(b"12ab34cd\trows\tcpu\t00")
        before = (tmp_path / JOURNAL).read_bytes()

        ended = CliRunner().invoke(cli.app, ["report", str(tmp_path)])

        assert ended.exit_code == 0
        assert ended.stdout.strip() == str(tmp_path / "report.html")
        assert "</span> Incomplete</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")
        assert (tmp_path / JOURNAL).read_bytes() == before


def test_a_report_does_not_stand_in_the_way_of_resuming(whole: Whole, tmp_path: Path) -> None:
    """The folder then holds a page too; a run goes on there as if it did not."""
    left_by_a_kill(tmp_path, whole.journal[: len(whole.journal) // 2])
    assert CliRunner().invoke(cli.app, ["report", str(tmp_path)]).exit_code == 0

    storing.prepare(tmp_path, resume=True)
    prepared = prepare(requested([small("embedding8bit")], devices=("cpu", "xpu")), HERE)
    with Journal(tmp_path, prepared.key, about=unfinished.about(prepared), resume=True) as journal:
        resumed = nightly.run(prepared, journal, lambda _: None)

    assert measured(resumed.observations) == measured(whole.result.observations)


def test_a_run_under_other_limits_is_not_judged_by_these(whole: Whole, tmp_path: Path) -> None:
    """Bounds go into what is measured: the limits it was begun with are asked for."""
    other = replace(limits.load(), bases={})
    with pytest.raises(StoreError, match=r"is of a run under the limits \w{16}, these are \w{16}: give its --limits"):
        unfinished.result(left_by_a_kill(tmp_path, whole.journal), other)


def rewritten(data: bytes, change: Callable[[Any, list[Any]], object]) -> bytes:
    """A journal whose header and plan were changed by somebody who knows how to make checksums."""
    first, second, *_ = data.split(b"\n")
    header, plan = json.loads(first.split(b"\t", 1)[1]), json.loads(second.split(b"\t", 2)[2])
    change(header, plan)
    body = json.dumps(header, sort_keys=True).encode()
    text = b"plan\t" + json.dumps(plan).encode()
    return b"%08x\t%b\n%08x\t%b\n" % (zlib.crc32(body), body, zlib.crc32(text, zlib.crc32(body)), text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda header, _: header.pop("about"), "does not say what run it is of"),
        (lambda header, _: header.update(key=[]), "does not say what run it is of"),
        (lambda header, _: header["about"].update(created="yesterday"), "does not say what run it is of"),
        (lambda header, _: header["about"].update(profile="weekly"), "does not say what run it is of"),
        (lambda header, _: header["about"].update(requested=["../../x"]), "does not say what run it is of"),
        (lambda header, _: header["about"].update(cases=["../../x"]), "there is no case '../../x' here"),
        (lambda _, plan: plan[0].update(case="os.system"), "there is no case 'os.system' here"),
        (lambda _, plan: plan[0].update(config='{"rm": "-rf"}'), "which is no config of embedding8bit"),
        (lambda _, plan: plan[0].update(config="[" * 9999), "which is no config of embedding8bit"),
        (lambda _, plan: plan[0].update(id="../../x"), "the plan calls '../../x' what is"),
    ],
)
def test_a_journal_that_somebody_made_up_is_one_line(
    whole: Whole, tmp_path: Path, change: Callable[[Any, list[Any]], object], said: str
) -> None:
    """Right checksums around wrong content: what was seen, and no trace of Python's stack."""
    left_by_a_kill(tmp_path, rewritten(whole.journal, change))

    with pytest.raises((StoreError, PlanError)) as error:
        unfinished.result(tmp_path, limits.load())
    assert said in str(error.value)
    ended = CliRunner().invoke(cli.app, ["report", str(tmp_path)])
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize("data", [b"", b"12ab34cd\t{"])
def test_a_run_killed_in_its_first_line_has_nothing_to_show(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(StoreError, match="the run has only begun"):
        unfinished.result(left_by_a_kill(tmp_path, data), limits.load())
