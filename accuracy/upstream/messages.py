"""The library's warnings, by whichever way they come: as `UserWarning`, or as a record of its loggers."""

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LIBRARY: Final = "bitsandbytes"
SUBJECT: Final = "inference"
"""What the published warnings speak of."""

_OF_TORCH: Final = "(Triggered internally at"
"""In the text of warnings that torch's own C++ code gives to the line of Python that called it."""


class _Records(logging.Handler):
    """Keeps each record once, however many loggers hand it on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: dict[int, logging.LogRecord] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the record, which keeps its number from being used again."""
        self.kept[id(record)] = record


@contextmanager
def recorded() -> Iterator[Counter[str]]:
    """Counts the library's messages while the block runs: text to how often it was said, filled in at the end.

    A text that comes both ways counts once for each time that it was said, not twice.
    """
    said: Counter[str] = Counter()
    records = _Records()
    names = {LIBRARY, *filter(_is_the_librarys, logging.root.manager.loggerDict)}
    loggers = [logging.getLogger(name) for name in sorted(names)]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for logger in loggers:
            logger.addHandler(records)
            logger.setLevel(min(logger.getEffectiveLevel(), logging.WARNING))
        try:
            yield said
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.removeHandler(records)
                logger.setLevel(level)
            logged = Counter(record.getMessage() for record in records.kept.values())
            said |= logged | Counter(str(warning.message) for warning in warned if _is_of_the_library(warning))


def times(said: Counter[str], pattern: str, sources: int = 1) -> str:
    """How often one message that matches was said, in words: `never`, `once`, `once each` of so many sources.

    Several different messages that match are several messages: `2 different`.
    """
    counts = [count for text, count in said.items() if re.search(pattern, text)]
    if len(counts) > 1:
        return f"{len(counts)} different"
    match counts:
        case []:
            return "never"
        case [1]:
            return "once"
        case [count] if count == sources:
            return "once each"
        case _:
            return f"{counts[0]} times"


def _is_the_librarys(name: str) -> bool:
    return name.startswith(f"{LIBRARY}.")


def _is_of_the_library(warning: warnings.WarningMessage) -> bool:
    """A `UserWarning` on the subject, or from one of its files; torch's own are none of its."""
    text = str(warning.message)
    if not issubclass(warning.category, UserWarning) or _OF_TORCH in text:
        return False
    return SUBJECT in text or LIBRARY in Path(warning.filename).parts
