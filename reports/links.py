"""Addresses within the page: made from names and ids only, so that they stay valid from night to night."""

from urllib.parse import quote

from reports.frames import Cell

_KEPT = ":/=-_."


def cell(place: Cell) -> str:
    """`cell=linear4bit-nf4-train/cpu:avx2/bfloat16`: the id of a cell, and without `#` its address."""
    return "cell=" + "/".join(quote(part, safe=":-_.") for part in place)


def case(identity: str) -> str:
    """`case=0123456789abcdef`."""
    return "case=" + quote(identity, safe=_KEPT)


def basis(name: str) -> str:
    """The text that says why a limit is what it is."""
    return "basis=" + quote(name, safe=_KEPT)


def quantity(place: Cell, stage: str, name: str) -> str:
    """The row of one quantity in a cell: the cell's address, `/` stage `/` quantity."""
    return f"{cell(place)}/{quote(stage, safe=_KEPT)}/{quote(name, safe=_KEPT)}"
