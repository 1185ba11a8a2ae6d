"""What is said of single cases, as lines for a terminal: measured again, bisected, over many nights."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from accuracy.bisect import Found, Probe
from accuracy.recurrence import Occurrence, failing
from accuracy.replay import Outcome, Replayed
from reports.words import counted, one_line


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


def probed(probe: Probe) -> str:
    """One release that was tried."""
    return f"{probe.version:10} {probe.seen} {one_line(probe.reason)}".rstrip()


def bisected(found: Found) -> str:
    """The first release that fails, or those of which it is one."""
    *untold, first = found.first_bad
    if not untold:
        return f"first release that fails: {first}; the last that does not: {found.last_good}"
    return f"one of {', '.join(found.first_bad)} is the first that fails; {', '.join(untold)} cannot be told"


def occurred(found: Sequence[Occurrence]) -> Iterator[str]:
    """One line for each night and device, and where the case failed at all."""
    for each in found:
        where = f"{each.created[:16].replace('T', ' ')} {each.folder} bitsandbytes {each.version} {each.device}"
        what = f"{', '.join(each.failing)}; {each.reason}" if each.failing else each.reason
        yield one_line(f"{each.status:13} {where} {what}")
    bad = failing(found)
    nights, devices = {each.folder for each in found}, sorted({each.device for each in bad})
    said = f"failed on {len({each.folder for each in bad})} of {counted(len(nights), 'night')}"
    versions = list(dict.fromkeys(each.version for each in bad))
    yield one_line(f"{said}: bitsandbytes {', '.join(versions)} on {', '.join(devices)}" if bad else said)
