"""How long a browser takes to draw a page: Debian's Chromium without a network, in a window of 1280 by 900."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.clock import Sample

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")

PAINTED: Final = """() => new Promise((resolve, reject) => {
  let whole = 0;
  const frame = () => requestAnimationFrame(() => requestAnimationFrame(() => {
    whole ||= performance.now();
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    if (paint) resolve([paint.startTime, Math.max(whole, paint.startTime)]); else frame();
  }));
  setTimeout(() => reject(new Error("nothing is painted after 30 s")), 30000);
  if (document.readyState === "complete") frame(); else addEventListener("load", frame);
})"""
"""Milliseconds from the start of the navigation to the first paint, and to the second frame after all is loaded."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Seconds until the first screen is painted, and until the whole page is there and painted."""

    first: Sample
    whole: Sample


def drawn(pages: Sequence[Path], *, turns: int) -> list[Drawn] | None:
    """Draws pages, by turns, each turn in a fresh context; one turn does not count. None where there is no Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright  # which a machine that measures an accelerator may lack

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        seen = [[_painted(browser, page) for page in pages] for _ in range(turns + 1)][1:]
        browser.close()
    return [
        Drawn(
            first=Sample(seconds=tuple(first for first, _ in of_page)),
            whole=Sample(seconds=tuple(whole for _, whole in of_page)),
        )
        for of_page in zip(*seen, strict=True)
    ]


def _painted(browser: "Browser", page: Path) -> tuple[float, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    opened = context.new_page()
    opened.goto(page.resolve().as_uri(), wait_until="commit")
    first, whole = opened.evaluate(PAINTED)
    context.close()
    return first / 1000, whole / 1000
