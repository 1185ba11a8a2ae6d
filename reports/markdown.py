"""The report as Markdown, for job summaries and for reading in a terminal: what the page says, in the same words."""

import re
from collections.abc import Iterable, Sequence

from accuracy.case import Verdict
from reports import words
from reports.matrix import Square
from reports.view import Page

MOST_CHECKS = 50
"""Rows of checks that do not pass; a job summary holds 1 MiB and nobody reads more."""

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "\\": "&#92;", "@": "&#64;"}
_SPECIAL = re.compile(r"[&<>|\\@`*\[\]#~!$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=[wW]{3})\.")


def render(page: Page) -> str:
    """The page in short: verdict, facts, reasons, matrix, and the checks that do not pass, worst first."""
    blocks = [
        f"# {page.banner.symbol} {page.banner.text}",
        escaped(page.banner.detail),
        _table(
            [fact.name for fact in page.facts],
            [[f"{fact.text} ({fact.gap})" if fact.gap else fact.text for fact in page.facts]],
        ),
        *_why(page),
        *_matrix(page),
        *_checks(page),
        f"Made by accuracy {escaped(page.accuracy)} on {escaped(page.created)}; "
        + "; ".join(f"{name.lower()} {escaped(value)}" for name, value in page.hashes)
        + ".",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def escaped(text: str) -> str:
    """Text from outside as Markdown that shows it as it is: no markup, no HTML, no link, no other line."""
    return _SPECIAL.sub(lambda found: _literal(found[0]), words.one_line(text))


def _literal(letter: str) -> str:
    if letter in ":.":  # within an address, where a backslash would not keep it from becoming a link
        return f"&#{ord(letter)};"
    return _ENTITIES.get(letter, f"\\{letter}")


def _why(page: Page) -> Iterable[str]:
    yield "## Why"
    if page.reasons:
        yield "\n".join(
            f"{number}. **{reason.symbol} {reason.word}** {escaped(reason.text)}"
            for number, reason in enumerate(page.reasons, start=1)
        )
    else:
        yield "Every check that was planned ran and stays within its limit."
    if page.more_reasons:
        yield f"and {page.more_reasons} more in the report."
    if page.causes:
        yield "Run the worst case of each again:"
        yield "\n".join("    " + words.one_line(cause.command) for cause in page.causes[: len(page.reasons)])


def _matrix(page: Page) -> Iterable[str]:
    if not page.matrix.columns:
        return
    yield "## Margin to the limit"
    yield "log2(limit ÷ worst error), in bits; 0 is the limit, below it fails."
    devices = [device for device, span in page.matrix.devices for _ in range(span)]
    columns = [f"{device} {column}" for device, column in zip(devices, page.matrix.columns, strict=True)]
    for first, rows in (("Layer", page.matrix.layers), ("Case", page.matrix.rows)):
        if rows:
            squares = [[_square(square) for square in row.squares] for row in rows]
            yield _table([first, *columns], [[row.name, *line] for row, line in zip(rows, squares, strict=True)])


def _square(square: Square) -> str:
    return " ".join(filter(None, (square.symbol, square.text, f"({square.note} fail)" if square.note else "")))


def _checks(page: Page) -> Iterable[str]:
    yield "## Checks that do not pass"
    found = sorted(
        (
            (words.SEVERITY.index(Verdict(row.kind)), row.margin_value, place, cell, row)
            for place, cell in enumerate(page.cells)
            for row in cell.quantities
            if row.kind not in (Verdict.PASS.value, Verdict.NOT_SUPPORTED.value)
        ),
        key=lambda entry: entry[:3],
    )
    if not found:
        yield "None." if page.cells else "No check was made."
        return
    yield f"{min(len(found), MOST_CHECKS)} of {len(found)}, worst first."
    yield _table(
        ["Verdict", "Case", "Where", "Check", "Margin", "Failing", "Worst case", "Reason"],
        [
            [
                f"{row.symbol} {row.word}",
                cell.cell.case,
                cell.place,
                f"{row.stage}/{row.quantity}",
                row.margin,
                row.failing,
                row.worst_id,
                row.reason,
            ]
            for *_, cell, row in found[:MOST_CHECKS]
        ],
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = [escaped(column) or " " for column in columns]
    lines = [head, ["---"] * len(head), *([escaped(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
