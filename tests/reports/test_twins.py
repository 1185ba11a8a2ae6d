"""Markdown, job summary, annotations and terminal: hostile text stays text, and sizes stay in bounds."""

import re
from functools import cache

import data
import pytest
from hostile import PAYLOADS, hostile
from markdown_it import MarkdownIt
from typer.testing import CliRunner

import cli
from reports import github, markdown, view, words

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff]")


def page_of(run: data.Run) -> view.Page:
    return view.build(run.manifest, run.observations, run.verdicts, run.summary, run="night")


@cache
def page_with(payload: str) -> view.Page:
    return page_of(hostile(payload))


def structure(text: str) -> list[str]:
    """Every element that a Markdown parser finds, inline ones too, without their text."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    found = []
    for token in parser.parse(text):
        found.append(token.type)
        found += [child.type for child in token.children or () if child.type not in {"text", "text_special"}]
    return found


@cache
def harmless() -> list[str]:
    return structure(markdown.render(page_with("harmless")))


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_hostile_text_is_text_in_markdown(payload: str) -> None:
    """The structure is that of a harmless text; nothing becomes markup, an address, another row or line."""
    text = markdown.render(page_with(payload))
    outside_code = re.sub(r"(?m)^ {4}.*$", "", text)

    assert structure(text) == harmless()
    assert not UNSEEN.search(text)
    assert not re.search(r"<[a-zA-Z/!]|://|www\.|(?<!&#64;)@\w", outside_code)


@pytest.mark.parametrize("payload", [*PAYLOADS, "%0A::error::x", "a\n::set-output name=x::y", "::stop-commands::x"])
def test_hostile_text_cannot_start_a_workflow_command(payload: str) -> None:
    """Each reason is one line and one command, and ends where it should."""
    lines = "\n".join(github.annotations(page_with(payload))).split("\n")

    assert len(lines) == len(page_with(payload).reasons)
    for line in lines:
        found = re.fullmatch(r"::(?:error|warning) title=accuracy%3A Do not release::([^\r\n]*)", line)
        assert found
        assert not re.search("%(?!25|0A)", found[1])
        assert not UNSEEN.search(line)


@pytest.mark.parametrize("payload", [payload for payload in PAYLOADS if "\x00" not in payload])
def test_hostile_text_cannot_act_on_the_terminal(payload: str) -> None:
    """What a message repeats of a file name is visible, and on the one line that the message has."""
    said = CliRunner().invoke(cli.app, ["report", f"./{payload.replace('/', '_')[:80]}"]).stderr

    assert said.count("\n") == 1
    assert said.endswith("the folder of a run is wanted\n")
    assert not UNSEEN.search(said[:-1])


def test_one_line_keeps_every_word() -> None:
    assert words.one_line("a\nb\t c\r\x1b[2J\u202e") == "a b c\\u000d\\u001b[2J\\u202e"


def test_a_command_escapes_what_github_reads() -> None:
    """By the rules of GitHub's toolkit: per cent and line ends in data, colon and comma too in properties."""
    assert github.command("error", "a:b,c", "1 %\n2:3") == "::error title=a%3Ab%2Cc::1 %25%0A2:3"


def test_a_job_summary_fits_beside_what_is_there() -> None:
    """Cut at a whole line, since a summary of more than 1 MiB is refused as a whole."""
    text = "ä\n" * 10
    full = github.LARGEST_SUMMARY

    assert github.summary(text, already=full - 30) == text.encode()
    assert github.summary(text, already=full - 29) == ("ä\n" * 9).encode()
    assert github.summary(text, already=full - 2) == b""
    assert github.summary(text, already=full + 1) == b""


def test_markdown_lists_at_most_fifty_checks_and_says_of_how_many() -> None:
    run = data.nan_storm(per_case=2)
    text = markdown.render(page_of(run))
    table = text.split("## Checks that do not pass", 1)[1]

    assert run.summary["counts"]["fail"] <= 50 or f"50 of {run.summary['counts']['fail']}, worst first." in table
    assert 0 < len(re.findall(r"^\| [✗!○]", table, re.MULTILINE)) <= 50
