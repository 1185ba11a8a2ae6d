"""The report in a real browser: offline, quiet, narrow, dark, printed, searched, by keyboard and without a script."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # ships no types
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent / "reports"))

import data

from reports import nights
from reports.render import render

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = pytest.mark.skipif(
    not Path(CHROMIUM).exists() and "CI" not in os.environ, reason="no Chromium here; CI must have one"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def run() -> data.Run:
    return data.noted(data.failing(per_case=12, missing={"cuda": "no driver"}))


@pytest.fixture(scope="module")
def address(run: data.Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(run, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with every section and few cells: axe-core looks at each element, and takes a minute for all of them."""
    cases = ("linear4bit-fp4-train", "linear8bitlt-fp16-weights-train", "embedding8bit")
    some = {name: data.CASES[name] for name in cases}
    made = data.noted(data.failing(per_case=12, cases=some, missing={"cuda": "no driver"}))
    return written(made, tmp_path_factory.mktemp("short"))


def written(run: data.Run, folder: Path) -> str:
    """The address of the page of a run that was held against a baseline."""
    parts = ({**run.manifest, "baseline": "bitsandbytes 0.50.1"}, run.observations, run.verdicts, run.summary)
    page = render(*parts, run="2026-11-22-nightly", comparison=data.identical(run))
    (folder / "report.html").write_text(page, encoding="utf-8")
    return (folder / "report.html").as_uri()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of 1280 by 900 without network; whatever it says or asks for fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(f"console: {message.text}"))
    opened.on("pageerror", lambda error: said.append(f"error: {error}"))
    opened.on("request", lambda request: said.append(f"request: {request.url}") if not local(request.url) else None)
    yield opened
    context.close()
    assert said == []


def local(url: str) -> bool:
    return url.startswith(("file:", "data:,"))


def width(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


def shown(page: Page) -> list[str]:
    """The cells that are not filtered away, in their order."""
    return page.locator("details.cell:not([hidden]) .cell-name").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_it_opens_without_a_network_and_fits(page: Page, address: str, size: tuple[int, int], scheme: str) -> None:
    """No request, no console message, and nothing wider than the window, with every cell open."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(address)
    assert width(page) == size[0]
    page.click("#toggle")
    assert page.locator("details.cell[open]").count() == page.locator("details.cell").count()
    assert width(page) == size[0]


def test_the_first_screen_holds_verdict_reasons_and_matrix(page: Page, address: str) -> None:
    """At 1280 by 900 nobody scrolls to learn whether the build may be released, and where it fails.

    Below, each strip has the baseline's under it, and nothing of it leaves the strip.
    """
    page.goto(address)
    strip = page.locator("#cell-list .strip:has(g)").first
    drawn, room = strip.locator("g rect").last.bounding_box(), strip.bounding_box()
    assert drawn is not None
    assert room is not None
    assert room["y"] < drawn["y"]
    assert drawn["y"] + drawn["height"] <= room["y"] + room["height"]
    assert page.locator("h1").inner_text().endswith("Do not release")
    for place in ("h1", ".facts >> nth=0", ".reasons", ".matrix >> nth=0"):
        box = page.locator(place).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, place


CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => { const [r, g, b] = c.match(/[0-9.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  const page = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll("svg text")].map((text) => {
    const ink = light(getComputedStyle(text).fill);
    return (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
  });
}"""


@pytest.mark.parametrize(("scheme", "colour"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(16, 20, 24)")])
def test_light_and_dark_have_no_barriers(page: Page, short: str, scheme: str, colour: str) -> None:
    """Every rule of axe-core, with the worst cell open; it does not look inside SVG, so 4.5 to 1 there (WCAG AA)."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(short)
    page.locator("details.cell summary").first.click()
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    ratios = page.evaluate(CONTRAST)

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == colour
    assert [(entry["id"], entry["nodes"][0]["html"]) for entry in found.response["violations"]] == []
    assert len(ratios) > 100
    assert min(ratios) >= 4.5


def test_the_filter_narrows_and_is_kept_in_the_address(page: Page, address: str, run: data.Run) -> None:
    """Terms join by and; the address, opened anew, shows the same."""
    page.goto(address)
    page.fill("#query", "verdict:fail device:cpu:avx2 layer:linear4bit")
    cells = shown(page)
    failing = run.verdicts[(run.verdicts["verdict"] == "fail") & (run.verdicts["device"] == "cpu:avx2")]
    expected = set(failing.loc[failing["case"].str.startswith("linear4bit"), "case"])
    assert {text.split()[0] for text in cells} == expected
    assert "q=verdict%3Afail%20device%3Acpu%3Aavx2%20layer%3Alinear4bit" in page.url
    again = page.url
    page.goto("about:blank")
    page.goto(again)
    assert page.input_value("#query") == "verdict:fail device:cpu:avx2 layer:linear4bit"
    assert shown(page) == cells


def test_numbers_are_compared_and_cases_counted(page: Page, address: str, run: data.Run) -> None:
    """`k:>1024` keeps the cases whose in_features exceed 1024, as the frame counts them."""
    page.goto(address)
    page.fill("#query", "k:>1024")
    ids = run.observations[run.observations["config"].str.contains(r'"in_features":(?:1025|2048)')]
    measured = ids[ids["status"] != "not_run"].drop_duplicates(["id", "device"])
    assert page.inner_text("#found").endswith(f", {len(measured)} cases")
    page.fill("#query", "k:>1024 -dtype:bf16 margin:<0")
    assert "of" in page.inner_text("#found")
    page.fill("#query", "nothing-is-called-so")
    assert shown(page) == []


def test_the_filter_finds_by_finding(browser: Browser, tmp_path: Path) -> None:
    """`finding:f07` keeps the cells with a check that fits it, and no other."""
    fault = data.Fault(
        stage="contract",
        quantity="completes",
        holds=lambda config, _: config.get("quant_type") == "fp4",
        status="crash",
        reason="K must be even",
    )
    cases = {"linear4bit-nf4-eval": "Linear4bit", "linear4bit-fp4-eval": "Linear4bit"}
    made = data.make(per_case=6, cases=cases, devices=("cpu",), faults=[fault])
    (tmp_path / "report.html").write_text(render(made.manifest, made.observations, made.verdicts, made.summary))
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    page.fill("#query", "finding:f07")
    kept = shown(page)
    page.fill("#query", "finding:f07 verdict:pass")
    none = shown(page)
    page.close()

    assert kept
    assert {text.split()[0] for text in kept} == {"linear4bit-fp4-eval"}
    assert none == []


def test_sorting_by_name_and_back(page: Page, address: str) -> None:
    page.goto(address)
    first = shown(page)
    page.select_option("#sort", "name")
    names = [text.split()[0] for text in shown(page)]
    assert names == sorted(names)
    assert "sort=name" in page.url
    page.select_option("#sort", "")
    assert shown(page) == first


def test_a_link_to_a_cell_opens_it(page: Page, address: str) -> None:
    page.goto(f"{address}#cell=linear8bitlt-eval/cpu:avx2/float16")
    opened = page.locator("details.cell[open] .cell-name")
    assert opened.all_inner_texts() == ["linear8bitlt-eval cpu:avx2 fp16"]
    box = opened.bounding_box()
    assert box is not None
    assert 0 <= box["y"] < 900


def test_a_link_to_any_case_finds_it(page: Page, address: str, run: data.Run) -> None:
    """Cases in the section of a cell, those in the list, and those that only the script knows."""
    for identity in run.observations["id"].unique()[::25]:
        page.goto("about:blank")
        page.goto(f"{address}#case={identity}")
        row = page.locator(f'.target, #case-rows tr:has-text("{identity}")').first
        assert f"accuracy replay 2026-11-22-nightly {identity}" in row.inner_text()
        box = row.bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 900


def test_three_clicks_from_the_verdict_to_a_reproducer(page: Page, address: str) -> None:
    """Reason, cell, case: the command to run stands there."""
    page.goto(address)
    page.locator(".reasons a").first.click()
    page.locator(".cause:target .cell-links a").first.click()
    assert page.locator("details.cell[open]").count() == 1
    page.locator("details.cell[open] .worst a").first.click()
    assert page.locator(".target .command").inner_text().startswith("accuracy replay 2026-11-22-nightly ")


def test_the_keyboard_reaches_everything(page: Page, address: str) -> None:
    """/ finds, j and k step, Enter opens, Escape clears."""
    page.goto(address)
    page.keyboard.press("/")
    page.keyboard.type("verdict:fail")
    assert page.input_value("#query") == "verdict:fail"
    page.keyboard.press("Escape")
    assert page.input_value("#query") == ""
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    assert page.locator("details.cell").first.get_attribute("open") is not None


def test_print_opens_everything(page: Page, address: str) -> None:
    """Every cell and the sign-off are on paper; the search is not."""
    page.goto(address)
    page.emulate_media(media="print")
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page") > 10
    assert not page.locator("#find").is_visible()
    assert page.locator("#signoff").is_visible()
    assert (
        page.locator("details.cell .quantities").first.evaluate("element => element.getBoundingClientRect().height") > 0
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An index of forty nights, in which a level shifts with a new library."""
    folder = tmp_path_factory.mktemp("index")
    data.stored_nights(folder, 40, shift_on=25)
    file = folder / "history.html"
    file.write_text(nights.write(folder, file)[0], encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize(("size", "scheme"), [((1280, 900), "light"), ((390, 844), "dark")])
def test_the_index_of_nights_opens_and_has_no_barriers(
    page: Page, index: str, size: tuple[int, int], scheme: str
) -> None:
    """Offline, without a script, no wider than the window, nothing for axe, and the shift is told in words."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(index)
    found = Axe().run(page, options={"resultTypes": ["violations"]})

    assert [(entry["id"], entry["nodes"][0]["html"]) for entry in found.response["violations"]] == []
    assert width(page) == size[0]
    assert page.locator(".nights tbody tr").count() == 40
    assert "the level of p99 rose from" in page.locator(".moved").inner_text()
    assert page.locator("script").count() == 0


def test_without_a_script_the_page_is_whole(browser: Browser, address: str, run: data.Run) -> None:
    """Verdict, reasons, matrix and tables stand; links open cells; the search, which needs the script, hides."""
    context = browser.new_context(java_script_enabled=False, offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(address)
    assert page.locator("h1").inner_text().endswith("Do not release")
    assert page.locator(".reasons li").count() <= 5
    assert page.locator(".matrix.by-case tbody tr").count() == run.verdicts["case"].nunique()
    assert not page.locator("#find").is_visible()
    page.locator(".matrix td.fail a").first.click()
    assert page.locator(".cell-body:target .quantities").is_visible()
    context.close()
