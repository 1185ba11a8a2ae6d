"""Writes docs/screenshots/*.png from the report of a run: first screen, a cell, dark, phone, print.

python docs/make_screenshots.py RUN

RUN is the folder of a run; the newest under runs/ without it. Needs Debian's chromium.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "screenshots"
DESKTOP, TALL, PHONE, PAPER = (1280, 900), (1280, 1200), (390, 844), (794, 1123)
LARGEST = 300_000
"""Bytes of one picture: the repository keeps every version."""


def newest() -> Path:
    """The run under runs/ that was stored last."""
    found = sorted((ROOT / "runs").glob("*/manifest.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        sys.exit("make_screenshots: no finished run under runs/; run `make nightly` first, or name a run's folder")
    return found[-1].parent


def worst_cell(page: Page) -> None:
    """Opens a cell whose drawing goes beyond the limit: the one of the shortest table, so that its charts are seen."""
    cells = page.locator("details.cell:has(summary .fail):has(summary .beyond):has(.charts)")
    rows = cells.evaluate_all("cells => cells.map((cell) => cell.querySelectorAll('.quantities tbody tr').length)")
    cell = cells.nth(rows.index(min(rows)))
    cell.locator("summary").click()
    cell.evaluate("element => element.scrollIntoView()")


def nothing(page: Page) -> None:
    """The page as it opens."""
    del page


def printed(page: Page) -> None:
    """The page as its first sheet of paper."""
    page.emulate_media(media="print")


SHOTS: dict[str, tuple[tuple[int, int], str, Callable[[Page], None]]] = {
    "first-screen": (DESKTOP, "light", nothing),
    "cell": (TALL, "light", worst_cell),
    "dark": (DESKTOP, "dark", nothing),
    "phone": (PHONE, "light", nothing),
    "print": (PAPER, "light", printed),
}


def main() -> None:
    """Make them all."""
    run = Path(sys.argv[1]) if len(sys.argv) > 1 else newest()
    report = (run / "report.html").resolve()
    if not report.is_file():
        sys.exit(f"make_screenshots: {report} is missing; name the folder of a run with a report")
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        path = shutil.which("chromium") or "/usr/bin/chromium"
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for name, (size, scheme, prepare) in SHOTS.items():
            context = browser.new_context(
                viewport={"width": size[0], "height": size[1]},
                color_scheme="dark" if scheme == "dark" else "light",
                offline=True,
            )
            page = context.new_page()
            page.goto(report.as_uri())
            prepare(page)
            file = FOLDER / f"{name}.png"
            page.screenshot(path=file)
            context.close()
            print(f"{file.relative_to(ROOT)} {file.stat().st_size // 1000} kB")
            if file.stat().st_size > LARGEST:
                sys.exit(f"make_screenshots: {file} is larger than {LARGEST // 1000} kB")
        browser.close()


if __name__ == "__main__":
    main()
