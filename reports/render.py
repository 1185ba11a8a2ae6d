"""One HTML file from what a run folder holds: templates, one style, one script, and a policy that hashes both."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import view, words

TEMPLATES = Path(__file__).with_name("templates")
PAGE = "page.html"


def render(
    manifest: Mapping[str, Any],
    observations: pd.DataFrame,
    verdicts: pd.DataFrame,
    summary: Mapping[str, Any],
    *,
    run: str = "RUN",
    comparison: pd.DataFrame | None = None,
) -> str:
    """The tolerance report of one run, as one HTML page that needs no network.

    Args:
        manifest: the parsed `manifest.json`.
        observations: one row per (id, device, stage, quantity), as `accuracy.case.Observation`.
        verdicts: one row per (case, device, dtype, stage, quantity).
        summary: the parsed `verdict.json`; the banner repeats its verdict.
        run: the run folder's name, for the commands that the page shows.
        comparison: what became of each cell since a baseline; none without one.

    Returns:
        The page; equal arguments give equal text, byte for byte, in whatever order the rows come.
    """
    return html(view.build(manifest, observations, verdicts, summary, run=run, comparison=comparison))


def html(page: view.Page) -> str:
    """The page as HTML."""
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    return (
        environment()
        .get_template(PAGE)
        .render(
            page=page,
            style=Markup(style),  # noqa: S704  # our own file
            script=Markup(script),  # noqa: S704  # our own file
            island=Markup(page.island),  # noqa: S704  # ASCII JSON without <, > and &
            policy=policy(style, script),
        )
    )


def compiled() -> None:
    """Compiles all templates of the page, which takes a good part of the time that the page does."""
    for name in environment().list_templates(filter_func=lambda name: name == PAGE or name.startswith("_")):
        environment().get_template(name)


def policy(style: str, script: str = "") -> str:
    """A content security policy under which nothing runs or loads but this style and this script, if there is one."""
    runs = f"'{_hash(script)}'" if script else "'none'"
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src {runs}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


@cache
def environment() -> Environment:
    """Templates that escape what they show and fail on what is missing; compiled once, which takes half a second."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: object) -> object:
    return words.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
