"""Sections of a page in Markdown: a heading, what was measured in words, and a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.clock import Sample


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table. `words` says what the numbers are."""

    heading: str
    words: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def part(title: str, head: str, sections: Sequence[Section]) -> str:
    """One device's part of the page, as Markdown."""
    return "\n\n".join([f"## {title}", head, *map(_section, sections)]) + "\n"


def placed(page: str, text: str, *, name: str) -> str:
    """The page with the part of this name written anew, at its end if it had none. The rest stays as it is."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    before, found, rest = page.partition(begin)
    after = rest.partition(end)[2] if found else ""
    gap = "" if found or not page else "\n"
    return f"{before}{gap}{begin}\n{text}\n{end}{after}"


def _section(section: Section) -> str:
    widths = f"|{'|'.join(['---', *['--:'] * (len(section.columns) - 1)])}|"
    lines = [_line(section.columns), widths, *map(_line, section.rows)]
    return f"### {section.heading}\n\n{section.words}\n\n" + "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def time(sample: Sample) -> str:
    """A median with its unit, and the spread: `1.23 ms ± 4 %`."""
    return f"{seconds(sample.median)} ± {abs(sample.spread):.0%}".replace("%", " %")


def seconds(value: float) -> str:
    """Three digits with the unit that suits them."""
    size = abs(value)
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if size >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e-6:.2g} µs"


def percent(value: float) -> str:
    """A share as per cent."""
    return f"{100 * value:.3g} %"


def times(sample: Sample) -> str:
    """A ratio with its spread: `5.1 × ± 3 %`."""
    return f"{sample.median:.3g} × ± {abs(sample.spread):.0%}".replace("%", " %")
