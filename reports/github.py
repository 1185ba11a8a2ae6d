"""What GitHub Actions shows of a run: annotations beside the job, and the job summary."""

from accuracy.case import Verdict
from reports import words
from reports.view import Page

LARGEST_SUMMARY = 1024 * 1024
"""Bytes of one step's summary; a longer one is refused as a whole."""

LEVELS = {Verdict.FAIL.value: "error", Verdict.NOT_RUN.value: "error", Verdict.WARN.value: "warning"}
"""What did not run is an error: it is no pass. GitHub shows ten of each level, and a page has five reasons."""


def annotations(page: Page) -> tuple[str, ...]:
    """The reasons of the page as workflow commands, one a line, worst first; none for a clean release."""
    title = f"accuracy: {page.banner.text}"
    return tuple(command(LEVELS[reason.kind], title, reason.text) for reason in page.reasons if reason.kind in LEVELS)


def command(level: str, title: str, text: str) -> str:
    """One workflow command. Nothing in the texts can end it, or begin another."""
    return f"::{level} title={_property(words.visible(title))}::{_data(words.visible(text))}"


def summary(markdown: str, *, already: int) -> bytes:
    """The job summary: the Markdown, cut at a whole line where, with what is there `already`, it would be refused."""
    data = markdown.encode()
    room = max(0, LARGEST_SUMMARY - already)
    return data if len(data) <= room else data[: data.rfind(b"\n", 0, room) + 1]


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\n", "%0A")  # \r is visible text by now


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
