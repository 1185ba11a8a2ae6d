"""What a journal says: its format, and reading it. `accuracy.journal` writes it.

The first line says what the run is, then come its plan and one line an outcome, appended, never
changed: a checksum, a tab, then device, task id and the packed rows. Checksums start from that of the
first line, so a line of another run does not pass. A line that fails its checksum counts as not
written and its task runs again; a half line at the end, as a kill or a full disk leaves it, is cut off
before anything is added.
"""

import json
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from accuracy.files import JOURNAL, StoreError, read_file
from accuracy.packing import Answer, unpack
from accuracy.rows import RowError
from accuracy.shards import Whole

FORMAT: Final = 7

LARGEST: Final = 4 << 30
"""Bytes of a journal that are read at most."""

PLANNED: Final = {"id", "case", "origin", "config", "seed"}
"""Fields of a planned task, all of them text."""

WHOLE: Final = {"plan_hash": str, "plan_size": int}
"""Fields of the last line of a plan, which names the plan of which its tasks are: all of it, or a shard."""


@dataclass(kw_only=True)
class Contents:
    """What a journal says.

    `header` is its first line, `plan` the planned tasks as `accuracy.plan.rows` gives them, `whole` names the plan
    that they are of once they are all, `facts` what each device's workers run on, `texts` the outcomes by
    (task id, device) as they were written, `damaged` the number of lines that say nothing. `start` is the checksum
    of the first line.
    """

    header: dict[str, Any]
    plan: list[dict[str, str]]
    facts: dict[str, dict[str, Any]]
    texts: dict[tuple[str, str], bytes]
    damaged: int
    start: int
    whole: Whole | None = None

    def outcomes(self) -> dict[tuple[str, str], Answer]:
        """Answers by (task id, device); what is none of the pair is left out, so that it runs again."""
        answers: dict[tuple[str, str], Answer] = {}
        for (task_id, device), text in self.texts.items():
            try:
                answers[task_id, device] = unpack(text, task_id=task_id, device=device)
            except RowError:
                continue
        return answers


def read(folder: Path) -> Contents:
    """What the journal in `folder` says now. Changes nothing and needs no lock: the run may be under way.

    Raises:
        StoreError: if there is no journal, or its first line is damaged or not yet there.
    """
    path = folder / JOURNAL
    contents = parse(path, read_file(path, LARGEST))
    if contents is None:
        raise StoreError(f"{path} is empty: the run has only begun; wait, or go on with it by --resume")
    return contents


def parse(path: Path, data: bytes) -> Contents | None:
    """What the lines in `data` say, up to the last whole one; nothing if the first was never finished.

    Raises:
        StoreError: if the first line is damaged though others follow it, or of another format.
    """
    first, *lines = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1] or [b""]
    body = _body(first, 0)
    if body is None and not lines:
        return None
    if body is None:
        raise StoreError(f"{path}: its first line is damaged, so whose it is cannot be told; use a new folder")
    header = _json(body)
    if not isinstance(header, dict) or header.get("journal") != FORMAT:
        seen = header.get("journal") if isinstance(header, dict) else header
        raise StoreError(f"{path} has format {seen!r}, {FORMAT} is wanted: use a new folder")
    contents = Contents(header=header, plan=[], facts={}, texts={}, damaged=0, start=zlib.crc32(body))
    damaged = sum(not _take(contents, _body(line, contents.start)) for line in lines)
    return replace(contents, damaged=damaged)


def _take(contents: Contents, body: bytes | None) -> bool:
    """Adds what one line after the first says; false if it says nothing. The first outcome of a pair counts."""
    match (body or b"").split(b"\t", 3):
        case [b"plan", text] if _is_plan(rows := _json(text)):
            contents.plan.extend(rows)
        case [b"plan", text] if _is_whole(end := _json(text)):
            contents.whole = Whole(**end)
        case [b"facts", device, text] if isinstance(facts := _json(text), dict):
            contents.facts.setdefault(device.decode(errors="replace"), facts)
        case [b"rows", device, task_id, text]:
            pair = task_id.decode(errors="replace"), device.decode(errors="replace")
            contents.texts.setdefault(pair, text)
        case _:
            return False
    return True


def _is_plan(rows: Any) -> bool:
    return isinstance(rows, list) and all(
        isinstance(row, dict) and row.keys() == PLANNED and {str}.issuperset(map(type, row.values())) for row in rows
    )


def _is_whole(end: Any) -> bool:
    fields = {name: type(value) for name, value in end.items()} if isinstance(end, dict) else None
    return fields == WHOLE and end["plan_size"] >= 0


def _json(text: bytes) -> Any:
    """What a text says, None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _body(line: bytes, start: int) -> bytes | None:
    """What a line says, or nothing if it is damaged."""
    checksum, _, body = line.partition(b"\t")
    return body if checksum == b"%08x" % zlib.crc32(body, start) else None
