"""The margin matrix: every case against every (device, dtype), with the number in each cell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from accuracy.case import Stage, Verdict
from reports import links, words
from reports.columns import CELL
from reports.frames import Cell, Frames, by_cell, records

DISTRIBUTION_STAGES = (Stage.QUANTIZATION.value,)
"""Stages whose error is there by design. Their margin says little, and is shown only when it fails."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How one cell stands: its verdict, and the quantity that decides the number shown."""

    verdict: Verdict
    stage: str
    quantity: str
    ratio: float
    failing: int

    @property
    def margin(self) -> str:
        """The number in the matrix; a word where there is no number."""
        if self.verdict in (Verdict.NOT_RUN, Verdict.NOT_SUPPORTED):
            return "not run" if self.verdict is Verdict.NOT_RUN else "n/a"
        return words.standing(self.stage, self.ratio)


@dataclass(frozen=True, kw_only=True)
class Square:
    """One cell of the table, as text. `href` is empty where nothing was planned; `note` says how many checks fail."""

    kind: str
    symbol: str
    text: str
    title: str
    href: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """One case, or one layer."""

    name: str
    squares: tuple[Square, ...]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Two tables under the same columns, devices over dtypes: `layers` for the first screen, and `rows`, the cases.

    `layers` is empty where it would only repeat the cases.
    """

    devices: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]
    layers: tuple[MatrixRow, ...]
    rows: tuple[MatrixRow, ...]


def standings(frames: Frames) -> dict[Cell, Standing]:
    """How each cell stands, by cell, in the order of the verdict frame.

    The most severe verdict decides; among the quantities that share it, the smallest margin, with
    the stages whose error is by design last.
    """
    return {cell: _standing(rows) for cell, rows in by_cell(records(frames.verdicts)).items()}


def _standing(rows: Sequence[Mapping[str, Any]]) -> Standing:
    def key(row: Mapping[str, Any]) -> tuple[int, bool, float, bool]:
        severity, margin = words.verdict_order(row["verdict"], row["worst_ratio"])
        kept = row["stage"] == Stage.CONTRACT.value and row["worst_ratio"] == 0
        return severity, row["stage"] in DISTRIBUTION_STAGES, margin, kept

    first = min(rows, key=key)
    return Standing(
        verdict=Verdict(first["verdict"]),
        stage=str(first["stage"]),
        quantity=str(first["quantity"]),
        ratio=float(first["worst_ratio"]),
        failing=sum(int(row["failing"]) for row in rows),
    )


def build(frames: Frames, standing: dict[Cell, Standing], devices: Sequence[str]) -> Matrix:
    """The matrix. `devices` gives the order of the columns and holds those asked for but not found."""
    cases = list(dict.fromkeys([*frames.layers, *(cell.case for cell in standing)]))
    measured = {cell.device for cell in standing}
    dtypes = sorted({cell.dtype for cell in standing}, key=words.dtype_rank)
    shown = [*dict.fromkeys([*devices, *sorted(measured)])]
    columns = [
        (device, dtype)
        for device in shown
        for dtype in (dtypes if device in measured else [""])
        if not dtype or any(cell[1:] == (device, dtype) for cell in standing)
    ]
    spans = {device: sum(column[0] == device for column in columns) for device in shown}
    kinds = list(dict.fromkeys(frames.layers[case] for case in cases))
    grouped = _by_layer(frames, standing)
    return Matrix(
        devices=tuple((device, span) for device, span in spans.items() if span),
        columns=tuple(words.dtype(dtype) if dtype else "not run" for _, dtype in columns),
        layers=tuple(
            MatrixRow(
                name=layer,
                squares=tuple(grouped.get((layer, *column)) or _absent(column[0], measured) for column in columns),
            )
            for layer in kinds
            if len(kinds) < len(cases)
        ),
        rows=tuple(
            MatrixRow(
                name=case,
                squares=tuple(_square(Cell(case, *column), standing, measured) for column in columns),
            )
            for case in cases
        ),
    )


def _by_layer(frames: Frames, standing: Mapping[Cell, Standing]) -> dict[tuple[str, str, str], Square]:
    """For each layer, device and dtype its worst cell, with how many of all its checks fail."""
    members: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in standing:
        members.setdefault((frames.layers[cell.case], cell.device, cell.dtype), []).append(cell)
    checks = Counter(zip(*(frames.verdicts[name] for name in CELL), strict=True))
    failing = frames.verdicts[frames.verdicts["verdict"] == Verdict.FAIL.value]
    failed = Counter(zip(*(failing[name] for name in CELL), strict=True))
    squares = {}
    for key, cells in members.items():
        worst = min(cells, key=lambda cell: _badness(standing[cell]))
        square = _present(worst, standing[worst])
        bad, number = (sum(count[tuple(cell)] for cell in cells) for count in (failed, checks))
        squares[key] = replace(
            square,
            note=f"{bad} of {number}" if bad else "",
            title=f"{bad} of {words.counted(number, 'check')} fail; worst: {worst.case}, {square.title}",
        )
    return squares


def _badness(found: Standing) -> tuple[int, bool, float]:
    severity, margin = words.verdict_order(found.verdict, found.ratio)
    return severity, found.stage in DISTRIBUTION_STAGES, margin


def _square(cell: Cell, standing: dict[Cell, Standing], measured: set[str]) -> Square:
    found = standing.get(cell)
    return _absent(cell.device, measured) if found is None else _present(cell, found)


def _absent(device: str, measured: set[str]) -> Square:
    gap = Verdict.NOT_RUN if device not in measured else None
    return Square(
        kind="gap" if gap is None else gap.value,
        symbol="" if gap is None else words.SYMBOLS[gap],
        text="–" if gap is None else "not run",
        title="no case of this dtype was planned" if gap is None else "the device was not there",
        href="",
    )


def _present(cell: Cell, found: Standing) -> Square:
    quantity = words.quantity(found.stage, found.quantity)
    return Square(
        kind=found.verdict.value,
        symbol=words.SYMBOLS[found.verdict],
        text=found.margin,
        title=f"{words.VERDICTS[found.verdict]}; {quantity.lower()} ({found.stage}): " + _worst(found),
        href="#" + links.cell(cell),
    )


def _worst(found: Standing) -> str:
    if found.verdict in (Verdict.NOT_RUN, Verdict.NOT_SUPPORTED) or found.stage == Stage.CONTRACT.value:
        return words.counted(found.failing, "failing row") if found.failing else found.margin
    return f"worst error is {words.times_limit(found.ratio)}"
