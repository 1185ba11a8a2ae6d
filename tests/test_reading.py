"""The guide to the report: its links lead somewhere, its pictures are small, its commands exist."""

import re
from pathlib import Path
from typing import Any

import typer

import cli

DOCS = Path(cli.__file__).resolve().parent / "docs"
GUIDE = (DOCS / "reading-the-report.md").read_text(encoding="utf-8")


def test_links_and_pictures_are_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", GUIDE)

    assert {"findings.md", "method.md", "screenshots/first-screen.png"} <= set(targets)
    assert [target for target in targets if not (DOCS / target).is_file()] == []


def test_pictures_are_small() -> None:
    """The repository keeps every version of each."""
    pictures = list((DOCS / "screenshots").glob("*.png"))

    assert {picture.stem for picture in pictures} == {"first-screen", "cell", "dark", "phone", "print"}
    assert [picture.name for picture in pictures if picture.stat().st_size > 300_000] == []


def test_commands_and_options_of_the_guide_exist() -> None:
    commands: Any = typer.main.get_command(cli.app)
    used = re.findall(r"accuracy ([a-z]+)((?: [^\n`]*)?)", GUIDE)
    known = {name: {flag for option in each.params for flag in option.opts} for name, each in commands.commands.items()}

    assert {name for name, _ in used} >= {"report", "history", "replay", "sign"}
    for name, rest in used:
        assert set(re.findall(r"--[a-z-]+", rest)) <= known[name], name
