"""Causes in sentences: what is wrong where, how wrong, when and how often, how that is known, and what follows."""

from collections.abc import Sequence

from reports import words
from reports.causes import Cause
from reports.condition import Condition, together
from reports.manner import CODES

PLURAL = (CODES, "scales")
"""Ends of the names that take "are"."""


def sentence(cause: Cause) -> str:
    """The cause as one sentence, which says what, where, how wrong, when and how often."""
    what = words.listed(
        [words.quantity(cause.stage, name) if place == 0 else words.quantity(cause.stage, name).lower()
         for place, name in enumerate(cause.quantities)]
    )  # fmt: skip
    manner = cause.manner
    if len(cause.quantities) > 1 or cause.quantities[0].endswith(PLURAL):
        manner = manner.replace("is ", "are ", 1) if manner.startswith("is ") else manner
        manner = manner.replace("exceeds its", "exceed their", 1)
    place, when = _place(cause), _when(cause)
    share = f"{cause.failing} of {words.counted(cause.total, 'case')}"
    subject = cause.layer if cause.quantities[0] == "completes" else f"{what} of {cause.layer}"
    return f"{subject}{place} {manner}{when}: {share}."


def where(cause: Cause, devices: Sequence[str]) -> str:
    """On which of a run's devices it fails, as a sentence; empty where there is one, or the cause names it."""
    if len(devices) == 1 or " on " in _place(cause):
        return ""
    return "On every device." if len(cause.devices) == len(devices) else f"On {words.listed(cause.devices)}."


def _place(cause: Cause) -> str:
    """Where: a device or dtype that the condition names, or where no condition is found, all that fail."""
    if cause.trigger is None:
        if cause.everywhere:
            return ""
        dtypes = words.listed(words.dtype(name) for name in cause.dtypes)
        return f" on {words.listed(cause.devices)} in {dtypes}"
    named = {condition.feature: str(condition.value) for condition in cause.trigger.conditions if _is_place(condition)}
    device = f" on {named['device']}" if "device" in named else ""
    return f"{device} in {words.dtype(named['dtype'])}" if "dtype" in named else device


def _is_place(condition: Condition) -> bool:
    return condition.feature in ("device", "dtype") and condition.relation == "="


def _when(cause: Cause) -> str:
    found = cause.trigger
    if found is None:
        return ", under no single condition"
    if not found.conditions:
        return " in every case"
    rest = [condition for condition in found.conditions if not _is_place(condition)]
    if not rest:
        return ""
    how = " when" if found.sufficient else ", only when" if found.necessary else ", mostly when"
    return f"{how} {together(rest)}"


def evidence(cause: Cause) -> str:
    """How well the condition separates failing from passing cases; says so where there is none."""
    found = cause.trigger
    if found is None:
        return "No single condition, and no two together, separates the failing cases from the passing ones."
    if not found.conditions:
        return "Every case that was measured fails; no condition on the inputs can tell them apart."
    outside = found.failing - found.matching_failing
    text = (
        f"Where {found.text}, {found.matching_failing} of {words.counted(found.matching, 'case')} fail so; "
        f"elsewhere {outside} of {words.count(found.total - found.matching)}."
    )
    edges = [condition.edge for condition in found.conditions if condition.edge]
    return f"{text} Nearest cases: {'; '.join(edges)}." if edges else text


def consequences(cause: Cause) -> str:
    """What else fails in the same cases; empty where nothing does."""
    if not cause.also:
        return ""
    later = [f"{words.quantity(stage, name).lower()} ({stage}, {number})" for stage, name, number in cause.also]
    return f"The same cases also fail in {words.listed(later)}: look at {cause.stage} first."
