"""A run folder gives back what was stored, or a one-line error; it never gives other numbers."""

import errno
import itertools
import json
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults.plans import TESTS, plan, task
from faults.workloads import healthy

from accuracy import schemas, shape, store, storing, tables, verdicts
from accuracy.case import Verdict, canonical_json
from accuracy.cell import Cell
from accuracy.files import JOURNAL, StoreError, write_file
from accuracy.packing import columns, pack, unpack
from accuracy.rows import NAMES

FILES = (store.MANIFEST, store.PLAN, store.OBSERVATIONS, store.VERDICTS, store.SUMMARY)
MANIFEST: dict[str, Any] = {
    "created": "2026-11-22T10:00:00Z",
    "profile": "smoke",
    "seed": 7,
    "accuracy": "0.1",
    "devices": {"requested": [], "found": {"cpu": "AMD EPYC"}, "missing": {}},
    "versions": {"torch": "2.13.0"},
    "environment": {"cpu": {"threads": 1}},
    "unusable": {},
    "incidents": [],
    "limits_hash": "a",
    "bounds": {"confidence": 8.0},
    "plan_hash": "b",
    "plan_size": 3,
    "cases": {"planted": {"layer": "Planted", "claim": "Holds.", "strata": []}},
    "duration_s": 1.5,
}
SUMMARY = {
    "schema": 1,
    "verdict": "release",
    "exit_code": 0,
    "counts": {"cells": 1, "pass": 1, "cases": 3, "observations": 6, "elements": 6},
    "reasons": [],
    "cells": [],
}
CELL = Cell(
    case="planted",
    device="cpu",
    dtype="float32",
    stage="compute",
    quantity="output",
    verdict=Verdict.PASS,
    worst_ratio=float("nan"),
    worst_id="",
    n=3,
    failing=0,
    caused_by="",
    limit_id="hard",
    basis="exact",
    reason="",
)
VERDICTS = verdicts.frame([CELL])


def plan_rows() -> list[dict[str, str]]:
    """Three tasks, one with a seed of 64 bits."""
    tasks = [*plan(2), task(2**64 - 1)]
    return [
        {
            "id": task.id,
            "case": task.case,
            "origin": task.origin,
            "config": canonical_json(vars(task.config)),
            "seed": str(task.seed),
        }
        for task in tasks
    ]


def observations(count: int = 3) -> pd.DataFrame:
    """Rows of healthy tasks, as an execution gives them."""
    answers = []
    for planned in plan(count):
        message = {"id": planned.id, "case": planned.case, "config": vars(planned.config), "seed": planned.seed}
        answer = healthy({**message, "origin": "sample", "device": "cpu"}, "cpu")
        answers.append(unpack(pack(answer), task_id=planned.id, device="cpu"))
    return tables.observations(columns(answers))


def write(folder: Path, frame: pd.DataFrame | None = None) -> None:
    """A whole run."""
    storing.prepare(folder)
    frame = observations() if frame is None else frame
    storing.write(folder, MANIFEST, tables.plan(plan_rows()), frame, VERDICTS, SUMMARY)


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether two frames hold the same, lists and NaN included."""
    return one.map(_plain).to_dict("list") == other.map(_plain).to_dict("list") and one.dtypes.equals(other.dtypes)


def _plain(value: Any) -> str:
    return repr(value.tolist() if hasattr(value, "tolist") else value)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tests copy before they damage it."""
    folder = tmp_path_factory.mktemp("store") / "run"
    write(folder)
    return folder


def test_a_run_comes_back_as_it_was_stored(stored: Path) -> None:
    """Frames with their types, lists, NaN and infinities; manifest and summary as they were."""
    run = store.read(stored)

    assert same(run.observations, observations())
    assert list(run.observations.columns) == list(NAMES)
    assert run.plan["seed"].tolist() == ["0", "1", "18446744073709551615"]
    assert same(run.verdicts, VERDICTS)
    assert run.summary == SUMMARY
    assert {name: run.manifest[name] for name in MANIFEST} == MANIFEST
    assert run.manifest["files"].keys() == set(FILES) - {store.MANIFEST}


def test_texts_are_numbered_and_lists_of_numbers_split_by_byte(stored: Path) -> None:
    """Most of a run are lists of counts, which a dictionary makes larger and slower to write."""
    group = pq.ParquetFile(stored / store.OBSERVATIONS).metadata.row_group(0)
    packed = {chunk.path_in_schema: set(chunk.encodings) for chunk in map(group.column, range(group.num_columns))}

    assert {name for name, how in packed.items() if "BYTE_STREAM_SPLIT" in how} == {
        f"{field.name}.list.element"
        for field in schemas.OBSERVATION
        if pa.types.is_list(field.type) and not pa.types.is_string(field.type.value_type)
    }
    assert {"id", "config", "strata.list.element"} <= {name for name, how in packed.items() if "RLE_DICTIONARY" in how}
    assert "RLE_DICTIONARY" not in packed["ratio"]


def test_of_the_observations_only_what_is_wanted_is_read(stored: Path) -> None:
    whole = store.read(stored)
    some = store.read(stored, columns=lambda _: ("ratio", "id"))
    pd.testing.assert_frame_equal(some.observations, whole.observations[["ratio", "id"]])
    pd.testing.assert_frame_equal(some.verdicts, whole.verdicts)


def test_a_run_without_observations_keeps_its_columns(tmp_path: Path) -> None:
    """Nothing measured is a table of no rows, with all columns and their types."""
    empty = tables.observations(columns([]))
    write(tmp_path / "run", empty)
    read = store.read(tmp_path / "run").observations

    assert len(read) == 0
    assert read.dtypes.equals(observations().dtypes)


def test_no_flipped_bit_changes_a_number(stored: Path, tmp_path: Path) -> None:
    """Each of 1000 random bits in any file is noticed, and the error is one line."""
    dice = random.Random(3)  # noqa: S311  places, not secrets
    folder = shutil.copytree(stored, tmp_path / "run")
    whole = {name: (folder / name).read_bytes() for name in FILES}
    for _ in range(1000):
        name = dice.choice(FILES[1:])
        place, bit = dice.randrange(len(whole[name])), dice.randrange(8)
        data = bytearray(whole[name])
        data[place] ^= 1 << bit
        (folder / name).write_bytes(data)
        with pytest.raises(StoreError, match=r"is damaged or was being rewritten: .*; run again or restore") as error:
            store.read(folder)
        assert "\n" not in str(error.value)
        (folder / name).write_bytes(whole[name])
    store.read(folder)


def test_no_flipped_bit_in_the_manifest_changes_what_it_says(stored: Path, tmp_path: Path) -> None:
    """It has a hash of its own: a flipped bit is an error, or falls on white space and changes nothing."""
    folder = shutil.copytree(stored, tmp_path / "run")
    whole = (folder / store.MANIFEST).read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1
        (folder / store.MANIFEST).write_bytes(data)
        try:
            assert store.read(folder).manifest == json.loads(whole)
        except StoreError as error:
            assert "\n" not in str(error)  # noqa: PT017  either end is right


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_an_error(stored: Path, tmp_path: Path, name: str) -> None:
    """At 40 offsets, the empty file among them."""
    folder = shutil.copytree(stored, tmp_path / "run")
    whole = (folder / name).read_bytes()
    for offset in range(0, len(whole), max(len(whole) // 40, 1)):
        (folder / name).write_bytes(whole[:offset])
        if name == store.MANIFEST and offset == len(whole) - 1:
            continue  # only the last line feed is gone
        with pytest.raises(StoreError):
            store.read(folder)


def _swap(folder: Path) -> None:
    one, other = (folder / name for name in (store.PLAN, store.VERDICTS))
    one.rename(folder / "aside")
    other.rename(one)
    (folder / "aside").rename(other)


def _another_version(folder: Path) -> None:
    manifest = json.loads((folder / store.MANIFEST).read_text())
    (folder / store.MANIFEST).write_text(json.dumps({**manifest, "schema": 2}))


def _file_of_another_run(folder: Path) -> None:
    write(folder.parent / "other", observations(5))
    shutil.copy(folder.parent / "other" / store.OBSERVATIONS, folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_swap, "is damaged or was being rewritten"),
        (_another_version, "has format 2, and 1 is wanted: use the version that wrote it"),
        (_file_of_another_run, "is damaged or was being rewritten"),
        (lambda folder: (folder / store.PLAN).unlink(), "is missing; the folder of a finished run is wanted"),
        (lambda folder: (folder / store.MANIFEST).unlink(), "is missing; the folder of a finished run is wanted"),
        (lambda folder: (folder / store.MANIFEST).write_text("[" * 100_000), "is not JSON"),
        (lambda folder: (folder / store.MANIFEST).write_text("[]"), "is not a JSON object"),
        (
            lambda folder: (folder / store.MANIFEST).write_text('{"schema": 1}'),
            "is damaged: its hash is not that of its text",
        ),
        (shutil.rmtree, "is no folder; the folder of a run is wanted"),
    ],
)
def test_a_damaged_folder_is_an_error(
    stored: Path, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    """One line: what was seen, what was wanted, what to do."""
    folder = shutil.copytree(stored, tmp_path / "run")
    damage(folder)

    with pytest.raises(StoreError) as error:
        store.read(folder)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def vouch_for(folder: Path, name: str) -> None:
    """Makes the manifest agree with what is in the file of this name now, as one who knows how could."""
    manifest = json.loads((folder / store.MANIFEST).read_text())
    if name != store.MANIFEST:
        manifest["files"][name] = store.sha256((folder / name).read_bytes())
    rest = {key: value for key, value in manifest.items() if key != "hash"}
    manifest["hash"] = store.sha256(canonical_json(rest).encode())
    (folder / store.MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", [store.MANIFEST, store.SUMMARY])
def test_json_of_another_shape_is_an_error_that_names_the_place(stored: Path, tmp_path: Path, name: str) -> None:
    """Each member missing or of another type, in a folder whose hashes are right."""
    folder = shutil.copytree(stored, tmp_path / "run")
    whole = json.loads((folder / name).read_text())
    for member, wrong in itertools.product(
        shape.MANIFEST if name == store.MANIFEST else shape.SUMMARY, [None, "", [1]]
    ):
        kept = {key: value for key, value in whole.items() if key != member}
        if wrong == whole[member] or (wrong == "" and isinstance(whole[member], str)):
            continue
        (folder / name).write_text(json.dumps(kept if wrong is None else kept | {member: wrong}))
        vouch_for(folder, name)
        with pytest.raises(StoreError, match=rf"{name}: {member}.* (is missing|is wanted); use the version"):
            store.read(folder)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": 1}, ""),
        ({"a": 1, "more": "x"}, ""),
        ({}, "a is missing"),
        ([], "it is [], and an object is wanted"),
        ({"a": True}, "a is True, and int or float is wanted"),
        ({"a": 1, "b": "x"}, "b is 'x', and a list is wanted"),
        ({"a": 1, "b": [{"c": "x"}, {"c": 2}]}, "b.1.c is 2, and str is wanted"),
    ],
)
def test_misfits_by_hand(value: object, place: str) -> None:
    wanted = {"a": (int, float)} | ({"b": [{"*": str}]} if isinstance(value, dict) and "b" in value else {})
    assert shape.misfit(value, wanted) == place


@pytest.mark.parametrize("name", FILES)
def test_a_link_in_the_folder_is_not_followed(stored: Path, tmp_path: Path, name: str) -> None:
    """Reading refuses it; writing refuses it too, and leaves its target as it was."""
    folder = shutil.copytree(stored, tmp_path / "run")
    target = tmp_path / "target"
    shutil.move(folder / name, target)
    before = target.read_bytes()
    (folder / name).symlink_to(target)

    with pytest.raises(StoreError):
        store.read(folder)
    with pytest.raises(StoreError, match="is a link"):
        write_file(folder / name, b"other")
    assert target.read_bytes() == before


def test_a_pipe_in_the_folder_does_not_hang_the_reader(stored: Path, tmp_path: Path) -> None:
    """Opening one would wait for a writer."""
    folder = shutil.copytree(stored, tmp_path / "run")
    (folder / store.SUMMARY).unlink()
    os.mkfifo(folder / store.SUMMARY)

    with pytest.raises(StoreError, match="is not a regular file"):
        store.read(folder)


@pytest.mark.parametrize(("cap", "value"), [("LARGEST_TABLE", 100), ("MOST_ROWS", 2), ("LARGEST_UNPACKED", 100)])
def test_what_is_too_large_is_not_read(stored: Path, monkeypatch: pytest.MonkeyPatch, cap: str, value: int) -> None:
    """Caps on bytes, rows and unpacked bytes, looked at before anything is unpacked."""
    monkeypatch.setattr(store, cap, value)

    with pytest.raises(StoreError, match=r"at most 100 are read|too many to read"):
        store.read(stored)


class _Trap:
    """Says that it was unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(Path.cwd() / "trap was sprung"),))


@pytest.mark.parametrize("name", FILES)
def test_a_planted_pickle_is_not_run(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """In the place of any file, with a manifest that vouches for it."""
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(stored, tmp_path / "run")
    (folder / name).write_bytes(pickle.dumps(_Trap()))
    if name != store.MANIFEST:
        vouch_for(folder, name)

    with pytest.raises(StoreError):
        store.read(folder)
    assert not (tmp_path / "trap was sprung").exists()


def test_nothing_is_ever_unpickled() -> None:
    """No module of ours names a way to do it."""
    root = Path(store.__file__).parent.parent
    sources = [
        root / "cli.py",
        *(root / "accuracy").rglob("*.py"),
        *(root / "commands").rglob("*.py"),
        *(root / "reports").rglob("*.py"),
    ]
    ways = re.compile(
        r"\b(?:import (?:pickle|marshal|shelve|dill|cloudpickle)|from pickle|read_pickle|torch\.load|allow_pickle)"
    )

    assert [str(source) for source in sources if source.exists() and ways.search(source.read_text())] == []


def test_a_used_folder_is_refused(stored: Path, tmp_path: Path) -> None:
    """Another run, other files or an unfinished run: each is said, and nothing is overwritten."""
    with pytest.raises(StoreError, match="holds another run; an empty or new folder is wanted: name another"):
        storing.prepare(stored)
    with pytest.raises(StoreError, match="holds a finished run: there is nothing to resume"):
        storing.prepare(stored, resume=True)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"holds other files \(thesis\.tex\)"):
        storing.prepare(tmp_path)
    with pytest.raises(StoreError, match="cannot be the folder of a run"):
        storing.prepare(tmp_path / "thesis.tex")


def test_an_unfinished_run_can_be_resumed_and_is_not_read(tmp_path: Path) -> None:
    """It has a journal and no manifest; the error says how to go on."""
    (tmp_path / JOURNAL).touch()
    storing.prepare(tmp_path, resume=True)

    with pytest.raises(StoreError, match="the run is not finished: go on with --resume"):
        store.read(tmp_path)


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """A report can hold what a shared machine's other users need not see."""
    write(tmp_path / "run")

    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert {(tmp_path / "run" / name).stat().st_mode & 0o777 for name in FILES} == {0o600}


def test_judging_again_changes_the_judgement_alone(stored: Path, tmp_path: Path) -> None:
    """Status and reason are replaced; a change of what was measured is refused."""
    folder = shutil.copytree(stored, tmp_path / "run")
    run = store.read(folder)
    judged = run.observations.assign(status="fail", reason="too far")
    storing.rewrite_verdicts(run, judged, VERDICTS.assign(verdict="fail"), {**SUMMARY, "exit_code": 1}, limits_hash="b")

    again = store.read(folder)
    assert set(again.observations["status"]) == {"fail"}
    assert (again.summary["exit_code"], again.manifest["limits_hash"]) == (1, "b")
    assert again.manifest["created"] == MANIFEST["created"]
    with pytest.raises(StoreError, match="judging changed what was measured"):
        storing.rewrite_verdicts(run, judged.assign(abs_max=0.0), VERDICTS, SUMMARY)
    other = judged["abs_counts"].map(lambda counts: np.append(counts, 1))
    with pytest.raises(StoreError, match="judging changed what was measured"):
        storing.rewrite_verdicts(run, judged.assign(abs_counts=other), VERDICTS, SUMMARY)
    equal = judged["abs_counts"].map(np.array)
    storing.rewrite_verdicts(run, judged.assign(abs_counts=equal), VERDICTS, SUMMARY)


def test_a_frame_with_other_columns_is_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(StoreError, match=r"observations\.parquet would have other columns than it must: \['extra'\]"):
        write(tmp_path / "run", observations().assign(extra=1))
    with pytest.raises(StoreError, match=r"observations\.parquet would have values of another type than it must"):
        write(tmp_path / "run2", observations().assign(count="three"))
    assert list((tmp_path / "run").iterdir()) == []


def test_a_run_from_before_a_column_was_added_is_read_without_it(stored: Path, tmp_path: Path) -> None:
    """Nothing was recorded then, which the empty values say; any other column that is missing is refused."""
    folder = shutil.copytree(stored, tmp_path / "run")
    table = pq.read_table(folder / store.OBSERVATIONS)
    added = [name for name in schemas.ADDED if name in NAMES]
    replaced(folder, table.drop_columns(added))
    old = store.read(folder)

    assert set(old.observations["digest"]) == {""}
    assert old.observations["sample_values"].map(len).tolist() == [0] * table.num_rows
    assert list(old.observations.columns) == list(NAMES)
    assert same(old.observations.drop(columns=added), observations().drop(columns=added))
    storing.rewrite_verdicts(old, old.observations, old.verdicts, old.summary)
    assert same(store.read(folder).observations, old.observations)
    replaced(folder, table.drop_columns(["digest", "ratio"]))
    with pytest.raises(
        StoreError, match=r"has another schema \(\['digest', 'ratio'\]\): use the version that wrote it"
    ):
        store.read(folder)


def replaced(folder: Path, table: pa.Table) -> None:
    """Puts another table of observations into a run, with a manifest that vouches for it."""
    pq.write_table(table, folder / store.OBSERVATIONS)
    manifest = json.loads((folder / store.MANIFEST).read_text())
    manifest["files"][store.OBSERVATIONS] = store.sha256((folder / store.OBSERVATIONS).read_bytes())
    plain = canonical_json({key: value for key, value in manifest.items() if key != "hash"})
    (folder / store.MANIFEST).write_text(json.dumps(manifest | {"hash": store.sha256(plain.encode())}))


def test_a_kill_while_a_run_is_stored_leaves_the_old_one_or_none(stored: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments of a process that stores a run again and again; what it leaves is swept away."""
    code = (
        "import sys; from pathlib import Path; from accuracy import store, storing\n"
        "run = store.read(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "for number in range(10**6):\n"
        "    summary = {**run.summary, 'exit_code': number}\n"
        "    storing.write(run.folder, run.manifest, run.plan, run.observations, run.verdicts, summary)\n"
    )
    dice = random.Random(11)  # noqa: S311  moments, not secrets
    for number in range(6):
        folder = shutil.copytree(stored, tmp_path / str(number))
        with subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, cwd=TESTS.parent
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(dice.uniform(0.0, 0.2))
            writer.kill()
        (folder / JOURNAL).touch()
        storing.prepare(folder, resume=True)
        assert {entry.name for entry in folder.iterdir()} == {*FILES, JOURNAL}
        try:
            assert same(store.read(folder).observations, observations())
        except StoreError as error:
            assert "was being rewritten" in str(error)  # noqa: PT017  either end is right
        storing.write(folder, MANIFEST, tables.plan(plan_rows()), observations(), VERDICTS, SUMMARY)
        assert store.read(folder).summary == SUMMARY


def _failing(call: Callable[..., Any], nth: int, error: int, *, for_good: bool) -> Callable[..., Any]:
    count = 0

    def sometimes(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == nth or (for_good and count > nth):
            raise OSError(error, os.strerror(error))
        return call(*arguments, **options)

    return sometimes


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_the_nth_failure_of_the_disk_leaves_the_old_run_or_none(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int, *, for_good: bool
) -> None:
    """For n = 1, 2, … until a rewrite passes: one line, no half file, the old judgement, the new or an error."""
    real = getattr(os, call)
    for nth in range(1, 40):
        folder = shutil.copytree(stored, tmp_path / str(nth))
        run = store.read(folder)
        judged = run.observations.assign(status="fail", reason="too far")
        monkeypatch.setattr(os, call, _failing(real, nth, error, for_good=for_good))
        try:
            storing.rewrite_verdicts(run, judged, VERDICTS, SUMMARY)
        except StoreError as failure:
            assert "\n" not in str(failure)  # noqa: PT017  a rewrite that passes ends the loop
        else:
            assert nth > 1
            return
        finally:
            monkeypatch.setattr(os, call, real)
        assert {entry.name for entry in folder.iterdir()} == set(FILES)
        try:
            seen = set(store.read(folder).observations["status"])
        except StoreError:
            continue
        assert seen in ({"ok"}, {"fail"})
    pytest.fail("no n was large enough for a rewrite to pass")
