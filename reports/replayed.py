"""What became of cases that were measured again, as lines for a terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from accuracy.replay import Outcome, Replayed
from reports.words import one_line


def checks(rows: pd.DataFrame) -> Iterator[str]:
    """One line for each judged row: status, device, check, and the reason where it did not pass."""
    for row in rows.to_dict("records"):
        said = f"{row['status']:13} {row['device']} {row['stage']}/{row['quantity']} "
        yield (said + one_line(row["reason"])).rstrip()


def lines(found: Sequence[Replayed]) -> Iterator[str]:
    """One line for each case and device, worst first, and how many there are of each outcome."""
    order = list(Outcome)
    for each in sorted(found, key=lambda one: order.index(one.outcome)):
        said = f"{each.outcome.upper():13} {each.id} {each.case} on {each.device} "
        yield (said + one_line(each.reason)).rstrip()
    counts = Counter(each.outcome for each in found)
    yield ", ".join(f"{counts[outcome]} {outcome}" for outcome in order if counts[outcome])
