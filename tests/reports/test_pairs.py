"""The section on two devices: how often they agree, where they do not, and none where there is nothing to compare."""

import data
import pytest
from data import Fault

from reports import links, pairs, view

CASES = {"linear4bit-nf4-train": "Linear4bit", "embedding8bit": "Embedding8bit"}
OFF_ON_AVX2 = Fault(stage="compute", quantity="output", holds=lambda _, device: device == "cpu:avx2", factor=8.0)


def built(run: data.Run) -> pairs.Pairs | None:
    return pairs.build(run.observations, list(run.manifest["devices"]["found"]))


def test_devices_that_agree_are_counted_and_nothing_is_listed() -> None:
    """Identical in all of them; three devices make three pairs, in the order of the run."""
    section = built(data.make(cases=CASES, per_case=5, devices=("cpu", "cpu:avx2", "cuda")))
    assert section is not None

    total = {row[1].partition(" of ")[2] for row in section.agreement.rows}
    assert [row[0] for row in section.agreement.rows] == ["cpu and cpu:avx2", "cpu and cuda", "cpu:avx2 and cuda"]
    assert section.agreement.rows[0][1:] == (f"{(n := total.pop())} of {n}", "0", "0")
    assert (section.disagreements, section.more, total) == ((), 0, set())


def test_a_disagreement_names_devices_cell_quantity_and_a_case() -> None:
    """An output off on one of three devices: apart from both others, never between those two."""
    run = data.make(cases=CASES, per_case=6, devices=("cpu", "cpu:avx2", "cuda"), faults=[OFF_ON_AVX2])
    section = built(run)
    assert section is not None

    assert {line.devices for line in section.disagreements} == {"cpu and cpu:avx2", "cpu:avx2 and cuda"}
    assert {line.quantity for line in section.disagreements} == {"Output (compute)"}
    exact = [line for line in section.disagreements if line.cell.startswith("embedding8bit")]
    assert {line.distance for line in exact} == {"∞ × the larger bound"}
    assert list(section.disagreements[: len(exact)]) == exact
    counted = {line.number.partition(" of ")[0] for line in exact}
    assert counted <= {str(n) for n in range(1, 7)}
    known = set(run.observations["id"])
    assert all(line.id in known and line.href == f"#{links.case(line.id)}" for line in section.disagreements)


def test_a_case_that_disagrees_can_be_reached_on_the_page() -> None:
    """However far down the list of cases it would be."""
    run = data.make(cases=CASES, per_case=40, devices=("cpu", "cpu:avx2"), faults=[OFF_ON_AVX2])
    page = view.build(run.manifest, run.observations, run.verdicts, run.summary, run="night")
    assert page.pairs is not None

    shown = {row.id for rows in (page.cases, *(cell.cases for cell in page.cells)) for row in rows if row.anchor}
    assert {line.id for line in page.pairs.disagreements} <= shown


def test_many_disagreements_are_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MOST", 2)
    run = data.make(cases=CASES, per_case=6, faults=[OFF_ON_AVX2])
    whole = run.observations[run.observations["stage"] == "compute"]
    section = built(run)
    assert section is not None

    assert len(section.disagreements) == 2
    assert section.more == whole[whole["quantity"] == "output"].groupby(["case", "dtype"]).ngroups - 2


def test_one_device_or_a_run_without_digests_has_no_section() -> None:
    """Nor one of whose two devices only one was there."""
    alone = data.make(cases=CASES, per_case=3, devices=("cpu",), missing={"cuda": "no driver"})
    old = data.make(cases=CASES, per_case=3)

    assert built(alone) is None
    assert pairs.build(old.observations.assign(digest=""), ["cpu", "cpu:avx2"]) is None
    page = view.build(alone.manifest, alone.observations, alone.verdicts, alone.summary, run="night")
    assert page.pairs is None
