"""The journal gives back what was written to it, or says that it cannot; never something else."""

import errno
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.plans import TESTS, comparable, task
from faults.workloads import healthy

from accuracy.files import JOURNAL, StoreError
from accuracy.journal import Journal
from accuracy.packing import pack, rows_of
from accuracy.rows import Measured, Row

KEY = {"plan": "abc", "seed": 7, "devices": ["cpu"], "versions": {"torch": "2.13.0"}}
NUMBERS = range(6)


def measured(number: int) -> Measured:
    """What task `number` gives."""
    planned = task(number)
    message = {"id": planned.id, "case": planned.case, "config": vars(planned.config), "seed": number}
    return healthy({**message, "origin": "sample", "device": "cpu"}, "cpu")


def rows(number: int) -> list[Row]:
    """Its rows, whole."""
    shared, rows = measured(number)
    return [shared | row for row in rows]


TRUE = {(task(number).id, "cpu"): comparable(rows(number)) for number in NUMBERS}


def write(folder: Path, numbers: Iterator[int] | range = NUMBERS) -> None:
    """A journal with these tasks settled."""
    with Journal(folder, KEY) as journal:
        for number in numbers:
            journal.settle(task(number).id, "cpu", pack(measured(number)))


def outcomes(folder: Path) -> dict[tuple[str, str], list[dict[str, str]]]:
    """What a resumed run would find."""
    with Journal(folder, KEY, resume=True) as journal:
        return {pair: written(rows_of([found])) for pair, found in journal.outcomes().items()}


def written(found: list[Row]) -> list[dict[str, str]]:
    """Rows as text, only the fields that were written."""
    return [
        {name: text for name, text in row.items() if name in given}
        for row, given in zip(comparable(found), rows(0), strict=True)
    ]


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    """In one line: what it says of rows would be misread, or read as nothing."""
    body = b'{"about":{},"journal":6,"key":{}}'
    (tmp_path / JOURNAL).write_bytes(b"%08x\t%b\n" % (zlib.crc32(body), body))
    with pytest.raises(StoreError, match=r"has format 6, 7 is wanted: use a new folder$"):
        Journal(tmp_path, {}, resume=True)


def test_what_was_settled_comes_back(tmp_path: Path) -> None:
    """Every outcome, with NaN, infinities and integers beyond 32 bits as they were."""
    write(tmp_path)

    assert outcomes(tmp_path) == TRUE


def test_a_journal_cut_anywhere_gives_the_outcomes_before_the_cut(tmp_path: Path) -> None:
    """As a kill leaves it, at each of 200 offsets; and it can be written on from there."""
    write(tmp_path)
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    for offset in range(0, len(whole), len(whole) // 200):
        path.write_bytes(whole[:offset])
        found = outcomes(tmp_path)
        lines = max(whole[:offset].count(b"\n") - 1, 0)
        assert list(found.items()) == list(TRUE.items())[:lines]
        with Journal(tmp_path, KEY, resume=True) as journal:
            for number in NUMBERS[lines:]:
                journal.settle(task(number).id, "cpu", pack(measured(number)))
        assert outcomes(tmp_path) == TRUE


def test_no_flipped_bit_changes_an_outcome(tmp_path: Path) -> None:
    """Each of 1000 random bits: the outcome it hits is missing or the journal is refused; the others are as before."""
    write(tmp_path)
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    dice = random.Random(5)  # noqa: S311  places, not secrets
    for _ in range(1000):
        place, bit = dice.randrange(len(whole)), dice.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        try:
            found = outcomes(tmp_path)
        except StoreError as error:
            assert "first line is damaged" in str(error)  # noqa: PT017  either end is right
            continue
        assert len(TRUE) - 2 <= len(found) < len(TRUE)
        assert all(TRUE[pair] == rows for pair, rows in found.items())


def test_a_line_of_another_run_does_not_pass(tmp_path: Path) -> None:
    """Its checksum starts from another first line."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    write(here, range(3))
    with Journal(there, {**KEY, "seed": 8}) as journal:
        journal.settle(task(5).id, "cpu", pack(measured(5)))
    with (here / JOURNAL).open("ab") as file:
        file.write((there / JOURNAL).read_bytes().split(b"\n")[1] + b"\n")

    with Journal(here, KEY, resume=True) as journal:
        assert journal.outcomes().keys() == {(task(number).id, "cpu") for number in range(3)}
        assert journal.damaged == 1


def test_a_run_with_another_key_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    """Plan, seed, devices, versions: whatever the run is known by."""
    write(tmp_path)

    with pytest.raises(StoreError, match=r"is of another run: seed was 7, now is 8; versions was .*2\.13\.0.*2\.14\.0"):
        Journal(tmp_path, {**KEY, "seed": 8, "versions": {"torch": "2.14.0"}}, resume=True)


def test_a_journal_is_not_begun_twice_nor_resumed_before_it_is_begun(tmp_path: Path) -> None:
    """Both ways round the message says what to do."""
    with pytest.raises(StoreError, match="nothing to resume"):
        Journal(tmp_path, KEY, resume=True)
    write(tmp_path)
    with pytest.raises(StoreError, match="another run is there; name another folder or --resume"):
        Journal(tmp_path, KEY)


def test_the_lock_goes_with_the_process(tmp_path: Path) -> None:
    """While one process has the journal another is refused; a killed one leaves no lock."""
    code = "import sys, os; from pathlib import Path; from accuracy.journal import Journal\n"
    code += f"journal = Journal(Path({str(tmp_path)!r}), {KEY!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=TESTS.parent
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreError, match="is in use by a run under way"):
            Journal(tmp_path, KEY, resume=True)
        holder.kill()
        holder.wait()

    assert outcomes(tmp_path) == {}


TOGETHER = """
import os, sys
from pathlib import Path
from accuracy.files import StoreError
from accuracy.journal import Journal

for number in range(50):
    folder, resume = Path(sys.argv[1]) / str(number), number % 2 == 1
    folder.mkdir()
    if resume:
        Journal(folder, {}).close()
    (go, starter), (answers, answer), (end, ender) = os.pipe(), os.pipe(), os.pipe()
    children = []
    for _ in range(2):
        children.append(os.fork())
        if children[-1] == 0:
            os.close(starter), os.close(ender), os.read(go, 1)
            try:
                journal = Journal(folder, {}, resume=resume)
            except StoreError:
                os.write(answer, b"-")
                os._exit(0)
            os.write(answer, b"+")
            os.read(end, 1)
            os._exit(0)
    os.close(starter)
    said = os.read(answers, 1) + os.read(answers, 1)
    os.close(ender)
    for child in children:
        os.waitpid(child, 0)
    for descriptor in (go, answers, answer, end):
        os.close(descriptor)
    print(said.decode())
"""


def test_of_two_processes_that_start_together_one_has_the_journal(tmp_path: Path) -> None:
    """Fifty times, beginning or resuming it: the other is refused."""
    ended = subprocess.run(
        [sys.executable, "-c", TOGETHER, str(tmp_path)], cwd=TESTS.parent, capture_output=True, text=True, check=True
    )

    assert ["".join(sorted(line)) for line in ended.stdout.split()] == ["+-"] * 50


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs could mix there."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError, match="cannot be locked"):
        Journal(tmp_path, KEY)


def test_a_link_in_place_of_the_journal_is_not_followed(tmp_path: Path) -> None:
    """Neither to begin nor to resume; the file it points to stays as it was."""
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / JOURNAL).symlink_to(target)

    for resume in (False, True):
        with pytest.raises(StoreError):
            Journal(tmp_path, KEY, resume=resume)
    assert target.read_text() == "precious"


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_journal_that_cannot_be_opened_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """A full disk, a quota, one that was mounted again for reading only: a run that is there stays as it is."""
    write(tmp_path)
    real = os.open

    def refuse(path: Any, *rest: Any, **options: Any) -> int:
        if Path(path).name == JOURNAL:
            raise OSError(error, os.strerror(error))
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError, match=r"cannot be opened: .*; name another folder"):
        Journal(tmp_path, KEY, resume=True)
    monkeypatch.setattr(os, "open", real)
    assert outcomes(tmp_path) == TRUE


def failing(
    call: Callable[..., Any], nth: int, error: int, *, for_good: bool, short: bool = False
) -> Callable[..., Any]:
    """`call`, whose nth use fails, and with `for_good` every one after it; a short write writes half and says so."""
    count = 0

    def sometimes(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == nth or (for_good and count > nth):
            if short:
                return call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            raise OSError(error, os.strerror(error))
        return call(*arguments)

    return sometimes


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize(
    ("call", "error", "short"),
    [
        ("write", errno.ENOSPC, False),
        ("write", errno.EIO, False),
        ("write", errno.EDQUOT, False),
        ("write", 0, True),
        ("fdatasync", errno.EIO, False),
        ("fdatasync", errno.ENOSPC, False),
    ],
)
def test_the_nth_failure_of_the_disk_loses_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int, *, short: bool, for_good: bool
) -> None:
    """For n = 1, 2, … until a run passes untouched: said in one line, whole so far, resumed to the same end."""
    real = getattr(os, call)
    monkeypatch.setattr("accuracy.journal.SYNC_LINES", 4)
    for nth in range(1, 40):
        folder = tmp_path / str(nth)
        folder.mkdir()
        monkeypatch.setattr(os, call, failing(real, nth, error, for_good=for_good, short=short))
        try:
            write(folder)
        except StoreError as failure:
            assert "\n" not in str(failure)  # noqa: PT017  a run that passes ends the loop
            monkeypatch.setattr(os, call, real)
            with Journal(folder, KEY, resume=True) as journal:
                before = journal.outcomes()
                assert journal.damaged == 0
                for number in NUMBERS:
                    if (task(number).id, "cpu") not in before:
                        journal.settle(task(number).id, "cpu", pack(measured(number)))
            assert outcomes(folder) == TRUE
        else:
            assert nth > 1
            return
    pytest.fail("no n was large enough for a run to pass")
