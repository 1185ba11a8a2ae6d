"""The kill matrix: fault by fault what was found, where, and how small; its totals, its text and its JSON."""

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from platformdirs import user_cache_path

from accuracy.files import StoreError, read_file, write_file
from accuracy.selftest.outcome import Result

FOUND_GOAL: Final = 0.98
STAGE_GOAL: Final = 0.90
"""The shares of planted faults to find, and to find in the right stage, that this project has set itself."""

LARGEST_FILE: Final = 1 << 24
COLUMNS: Final = ("fault", "area", "found", "stage seen", "expected", "smallest found", "published")


def document(results: Sequence[Result], versions: Mapping[str, str], created: datetime.datetime) -> dict[str, Any]:
    """The matrix as it is stored: every fault with all its sizes, and the totals."""
    faults = [_entry(result) for result in results]
    return {
        "schema": 1,
        "created": created.isoformat(timespec="seconds"),
        "versions": dict(versions),
        "totals": totals([entry for entry in faults if not entry["added_later"]]),
        "added_later": totals([entry for entry in faults if entry["added_later"]]),
        "faults": faults,
    }


def totals(faults: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Counts over entries. `warned` are those found by no more than a warning, `covered` those upstream runs."""
    return {
        "faults": len(faults),
        "exercised": sum(entry["exercised"] for entry in faults),
        "found": sum(entry["found"] for entry in faults),
        "warned": sum(entry["found"] and entry["sizes"][0]["verdict"] == "warn" for entry in faults),
        "stage_right": sum(entry["stage_right"] for entry in faults),
        "published_found": sum(entry["published"] == "found" for entry in faults),
        "published_covered": sum(entry["published"] != "not covered" for entry in faults),
    }


def reaches_goals(matrix: Mapping[str, Any]) -> bool:
    """Whether enough of the faults that were written first are found, and in the right stage."""
    counts = matrix["totals"] if matrix["totals"]["faults"] else matrix["added_later"]
    return bool(
        counts["found"] >= FOUND_GOAL * counts["faults"] and counts["stage_right"] >= STAGE_GOAL * counts["faults"]
    )


def rows(matrix: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table as text, one row a fault, in the order of `COLUMNS`."""
    return [
        (
            entry["name"] + (" (added later)" if entry["added_later"] else ""),
            entry["area"],
            found_word(entry),
            entry["sizes"][0]["stage"] or "-",
            entry["expected"],
            "-" if entry["smallest"] is None else f"{entry['smallest']:g}",
            entry["published"],
        )
        for entry in matrix["faults"]
    ]


def summary(matrix: Mapping[str, Any]) -> list[str]:
    """The totals in words, one line for each of the two lists that has faults."""
    lines = []
    for title, counts in (("planted faults", matrix["totals"]), ("added later", matrix["added_later"])):
        if counts["faults"]:
            n = counts["faults"]
            lines.append(
                f"{title}: found {counts['found']}/{n} ({counts['warned']} of them by a warning only), "
                f"stage right {counts['stage_right']}/{n}, not exercised {n - counts['exercised']}/{n}; "
                f"published assertion found {counts['published_found']}/{n}, of which it covers "
                f"{counts['published_covered']}"
            )
    return lines


def found_word(entry: Mapping[str, Any]) -> str:
    """Whether a fault was found, in a word or two. One that never acted is never found."""
    if not entry["exercised"]:
        return "NOT EXERCISED"
    if not entry["found"]:
        return "no"
    return "warned" if entry["sizes"][0]["verdict"] == "warn" else "yes"


def newest_file() -> Path:
    """Where the newest matrix of the whole list is kept."""
    return user_cache_path("bitsandbytes-accuracy") / "selftest.json"


def keep(matrix: Mapping[str, Any]) -> Path:
    """Stores the matrix as the newest one, for reports to carry.

    Raises:
        StoreError: if it cannot be written.
    """
    path = newest_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path.parent} cannot be made: {error.strerror}; set XDG_CACHE_HOME to another folder"
        ) from error
    write(path, matrix)
    return path


def write(path: Path, matrix: Mapping[str, Any]) -> None:
    """Writes the matrix to a file of the user's choice.

    Raises:
        StoreError: if it cannot be written.
    """
    write_file(path, to_json(matrix))


def newest() -> dict[str, Any] | None:
    """The newest stored matrix of the whole list; None if there is none that can be read."""
    try:
        matrix = json.loads(read_file(newest_file(), LARGEST_FILE))
    except (StoreError, ValueError):
        return None
    return matrix if isinstance(matrix, dict) and matrix.get("schema") == 1 else None


def to_json(matrix: Mapping[str, Any]) -> bytes:
    """The matrix as a file."""
    return (json.dumps(matrix, indent=1, allow_nan=False) + "\n").encode()


def _entry(result: Result) -> dict[str, Any]:
    fault = result.fault
    return {
        "name": fault.name,
        "area": fault.area,
        "what": fault.what,
        "expected": fault.stage.value,
        "added_later": fault.added_later,
        "exercised": result.exercised,
        "found": result.found,
        "stage_right": result.stage_right,
        "smallest": result.smallest,
        "published": result.published,
        "tasks": result.tasks,
        "note": result.note,
        "sizes": [
            {
                "size": outcome.size,
                "acted": outcome.acted,
                "found": outcome.found,
                "stage": outcome.stage,
                "verdict": outcome.verdict,
                "cell": outcome.cell,
                "reason": outcome.reason,
            }
            for outcome in result.outcomes
        ],
    }
