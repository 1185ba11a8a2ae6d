"""What earlier nights say of a run: since when its checks fail, and how their numbers moved."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from accuracy import history
from accuracy.history import History, Night, Place, Shift, Since
from reports import words
from reports.axes import LogAxis, Tick, compact, covering
from reports.charts import BOTTOM, LEFT, PEN, RATIO, RIGHT, TOP, Chart, Line, Mark, Scale, path, simplified

NIGHTS_DRAWN = 90
FEWEST_NIGHTS = 2
TICKS = 4

GAP = 4.0
"""Between the axis and the first night, in units of the drawing."""


@dataclass(frozen=True, kw_only=True)
class Trend:
    """The trend of one check: the chart, and what changed on which night, in words."""

    chart: Chart
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Past:
    """The nights before a run with the run as the last, and what was found in them.

    `marks` says what is recorded to have changed on which night; `rows` holds the nights that measured each check.
    """

    nights: Sequence[Night]
    marks: Mapping[int, tuple[str, ...]]
    since: Mapping[Place, Since]
    shifts: Mapping[Place, tuple[Shift, ...]]
    rows: Mapping[Place, pd.DataFrame]


def build(earlier: History, folder: str, manifest: Mapping[str, Any], verdicts: pd.DataFrame) -> Past:
    """The past of a run, given the nights before it."""
    return of(history.with_run(earlier, folder, manifest, verdicts))


def of(nights: History) -> Past:
    """The past of the last of these nights."""
    known = nights.nights
    changed = {number: history.differences(known[number - 1], known[number]) for number in range(1, len(known))}
    return Past(
        nights=known,
        marks={number: texts for number, texts in changed.items() if texts},
        since=history.since(nights),
        shifts=history.shifts(nights),
        rows=history.by_cell(nights),
    )


def failing_since(past: Past, places: Iterable[Place]) -> str:
    """Since when some checks fail, as one sentence; empty where none does."""
    found = [past.since[place] for place in places if place in past.since]
    if not found:
        return ""
    new = [each for each in found if each.nights == 1 and each.before is not None]
    if len(new) == len(found):
        return f"New: did not fail on {_date(past, max(each.before or 0 for each in new))}."
    oldest = min((each for each in found if each not in new), key=lambda each: each.first)
    when = _date(past, oldest.first)
    if oldest.before is not None:
        text = f"Since {when}, {words.counted(oldest.nights, 'night')}"
    elif oldest.nights == 1:
        text = "No earlier night measured it"
    else:
        text = f"Since {when} or earlier"
    return f"{text}; new in {len(new)} of {words.counted(len(found), 'check')}." if new else f"{text}."


def trend(past: Past, place: Place, name: str, *, drawn: int = NIGHTS_DRAWN) -> Trend | None:
    """The p99 and the maximum of one check over the last nights, with its limit; None where fewer than two have it."""
    rows = past.rows.get(place)
    if rows is None:
        return None
    rows = rows.tail(drawn)
    if len(rows) < FEWEST_NIGHTS:
        return None
    nights = rows["night"].tolist()
    step = (RIGHT - LEFT - 2 * GAP) / (len(nights) - 1)
    x = {night: LEFT + GAP + step * at for at, night in enumerate(nights)}
    shifts = [shift for shift in past.shifts.get(place, ()) if shift.night in x]
    changes = {
        night: f"{_date(past, night)}: {'; '.join(past.marks[night])}." for night in nights if night in past.marks
    }
    said = {shift.night: _shift(past, shift) for shift in shifts}
    axis = covering([*rows["p99"], *rows["largest"]], start=BOTTOM, end=TOP, always=(0.5, 2.0))
    axis = LogAxis(low=max(axis.low, 1e-6), high=min(axis.high, 1e6), start=BOTTOM, end=TOP)
    curves = {
        kind: path(simplified([(x[n], axis.place(float(v))) for n, v in zip(nights, rows[kind], strict=True)], PEN))
        for kind in ("p99", "largest")
    }
    if curves["p99"] == curves["largest"]:
        del curves["p99"]
    newest = words.number(float(rows["largest"].iloc[-1]))
    chart = Chart(
        title=f"{name} over {len(nights)} nights",
        description=f"error ÷ limit of the cases by night, p99 (dashed) and maximum, which was {newest} last",
        x=Scale(label="night", ticks=_dates(past, nights, x)),
        y=Scale(label=RATIO, ticks=axis.ticks(5)),
        lines=tuple(Line(path=curve, kind=kind) for kind, curve in curves.items()),
        rules=tuple(Mark(x=compact(x[night]), y="", kind="change", text=text) for night, text in changes.items()),
        marks=tuple(
            Mark(x=compact(x[shift.night]), y=compact(axis.place(shift.after)), kind="shift", text=said[shift.night])
            for shift in shifts
        ),
        limit_y=compact(axis.place(1.0)),
    )
    return Trend(chart=chart, notes=(*said.values(), *(text for night, text in changes.items() if night not in said)))


def _dates(past: Past, nights: Sequence[int], x: Mapping[int, float]) -> tuple[Tick, ...]:
    """A few nights with month and day, the first and the last among them."""
    last = len(nights) - 1
    kept = sorted({round(part * last / (TICKS - 1)) for part in range(TICKS)})
    return tuple(Tick(place=compact(x[nights[at]]), label=past.nights[nights[at]].created[5:10]) for at in kept)


def _shift(past: Past, shift: Shift) -> str:
    way = "rose" if not shift.after <= shift.before else "fell"
    recorded = past.marks.get(shift.night)
    why = f"that night {'; '.join(recorded)}" if recorded else "nothing recorded changed that night"
    moved = f"the level of p99 {way} from {words.number(shift.before)} to {words.number(shift.after)}"
    return f"{_date(past, shift.night)}: {moved}; {why}."


def _date(past: Past, night: int) -> str:
    return past.nights[night].created[:10]
