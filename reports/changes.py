"""What a comparison found, as lines for a terminal."""

from collections.abc import Iterator, Sequence

from accuracy.change import CellChange, Outcome, counts
from reports.words import one_line

SILENT = frozenset({Outcome.IDENTICAL, Outcome.NOT_COMPARED, Outcome.WITHIN_NOISE})


def lines(found: Sequence[CellChange]) -> Iterator[str]:
    """One line for each cell that is not as it was, worst first, and how many cells each outcome has."""
    order = list(Outcome)
    for each in sorted(found, key=lambda one: order.index(one.outcome)):
        if each.outcome not in SILENT:
            cell = f"{each.case} {each.device} {each.dtype} {each.stage}/{each.quantity}"
            yield f"{each.outcome.value:12} " + one_line(f"{cell} {each.worst_id} {each.reason}")
    yield ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts(found).items() if count)
