"""A plain table of text, for sections that need no more."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Table:
    """A plain table of text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
