"""What the harness could have seen: the newest kill matrix of planted faults, as the run carries it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NEVER = "No selftest has been kept on the machine that made this run; `accuracy selftest` makes one."


@dataclass(frozen=True, kw_only=True)
class Power:
    """One sentence for each list of faults, and the matrix as rows of text under its columns."""

    sentences: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def build(manifest: Mapping[str, Any]) -> Power:
    """The kill matrix in `manifest["selftest"]`, or the sentence that there is none."""
    matrix = manifest["selftest"]
    if matrix is None:
        return Power(sentences=(NEVER,), columns=(), rows=())
    versions = ", ".join(f"{name} {version}" for name, version in sorted(matrix["versions"].items()))
    made = f"Selftest of {str(matrix['created'])[:10]} with {versions}."
    return Power(
        sentences=(made, *(str(line) for line in matrix["summary"])),
        columns=tuple(matrix["columns"]),
        rows=tuple(tuple(str(text) for text in row) for row in matrix["rows"]),
    )
