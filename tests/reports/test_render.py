"""The page as a whole: it agrees with the run, escapes what it shows, and is the same for the same data."""

import ast
import base64
import hashlib
import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import data
import pandas as pd
import pytest
from hostile import PAYLOADS, compared, hostile, nights, signed

from reports import columns, past, view, words
from reports import nights as index
from reports.render import html as html_of
from reports.render import render

RUNS = {
    "all_pass": data.all_pass,
    "failing": data.failing,
    "missing_device": data.missing_device,
    "zero_cases": data.zero_cases,
    "nan_storm": data.nan_storm,
}
SMALL = {"per_case": 6}


def page_of(run: data.Run, *, comparison: pd.DataFrame | None = None) -> str:
    parts = (run.manifest, run.observations, run.verdicts, run.summary)
    return render(*parts, run="2026-11-22-nightly", comparison=comparison)


@cache
def made(name: str) -> data.Run:
    make = RUNS[name]
    return make() if make is data.zero_cases else make(**SMALL)


@cache
def page_named(name: str) -> str:
    return page_of(made(name))


@pytest.fixture(params=list(RUNS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(name: str) -> data.Run:
    return made(name)


@pytest.fixture
def page(name: str) -> str:
    return page_named(name)


class Elements(HTMLParser):
    """Every element with its attributes, and the text of each that has an id."""

    VOID = ("meta", "link", "input", "br")

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append((tag, []))

    def handle_endtag(self, tag: str) -> None:
        name, _ = self.open.pop()
        assert name == tag, f"</{tag}> closes <{name}>"

    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.found if "id" in attributes]


def island(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="island">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_banner_says_the_verdict_of_the_run(run: data.Run, page: str) -> None:
    """Release, Do not release, Incomplete: taken from verdict.json, with its counts."""
    heading = re.search(r"<h1>.*?</span> (.*?)</h1>\s*<p>(.*?)</p>", page, re.DOTALL)
    said = {"release": "Release", "do-not-release": "Do not release", "incomplete": "Incomplete"}
    counts = run.summary["counts"]

    assert heading
    assert heading[1] == said[run.summary["verdict"]]
    assert heading[2].startswith(f"{counts['fail']} of {counts['cells']} checks fail")
    assert f"{counts['pass']} pass" in heading[2]


def test_only_a_release_is_green(run: data.Run, page: str) -> None:
    """What is missing or never ran must not look like a pass."""
    green = 'class="banner pass"' in page
    assert green == (run.summary["verdict"] == "release")


def by_case(page: str) -> str:
    """The matrix with a row for each case."""
    return (
        page.rsplit('<table class="matrix by-case">', maxsplit=1)[-1].split("</table>", maxsplit=1)[0]
        if "by-case" in page
        else ""
    )


def test_the_matrix_by_layer_shows_the_worst_of_its_cases(run: data.Run, page: str) -> None:
    """Parsed back: the worst verdict of all the layer's checks, and how many of them fail."""
    layers = run.verdicts["case"].map({name: about["layer"] for name, about in run.manifest["cases"].items()})
    table = (
        page.rsplit('<table class="matrix by-layer">', maxsplit=1)[-1].split("</table>", maxsplit=1)[0]
        if "by-layer" in page
        else ""
    )
    squares = re.findall(r'<td class="(\w+)"><a href="[^"]*" title="(\d+) of (\d+) checks? fail; worst: ', table)
    wanted = [
        (words.worst(list(rows["verdict"])).value, int((rows["verdict"] == "fail").sum()), len(rows))
        for _, rows in run.verdicts.groupby([layers, "device", "dtype"])
    ]
    assert sorted((kind, int(bad), int(n)) for kind, bad, n in squares) == sorted(wanted)


def test_the_matrix_shows_the_worst_verdict_of_each_cell(run: data.Run, page: str) -> None:
    """Parsed back from the page and compared with the verdict frame."""
    squares = re.findall(r'<td class="(\w+)"><a href="#cell=([^"]+)" title="', by_case(page))
    shown = {tuple(html.unescape(place).split("/")): kind for kind, place in squares}
    worst = {
        key: words.worst(list(rows["verdict"])).value for key, rows in run.verdicts.groupby(["case", "device", "dtype"])
    }
    assert shown == worst


def test_every_check_is_on_the_page_with_its_verdict(run: data.Run, page: str) -> None:
    """The tables of the cells hold as many passes and failures as verdict.json counts."""
    tables = "".join(re.findall(r'<table class="quantities">.*?</table>', page, re.DOTALL))
    counts = run.summary["counts"]
    for name in ("pass", "warn", "fail", "not_run", "not_supported"):
        assert tables.count(f'<b class="verdict {name}">') == counts[name], name
    checks = [check for cell in island(page)["cells"] for check in cell["checks"]]
    assert len(checks) == counts["cells"]
    assert sum(check[1] == "fail" for check in checks) == counts["fail"]


def test_at_most_five_reasons_and_none_without_cause(run: data.Run, page: str) -> None:
    reasons = re.findall(r"<li><b class=\"verdict (\w+)\">", page.split('<h2 id="matrix-title">', maxsplit=1)[0])
    assert len(reasons) <= 5
    assert bool(reasons) == (run.summary["verdict"] != "release" or run.summary["counts"]["warn"] > 0)
    assert ("fail" in reasons) == (run.summary["counts"]["fail"] > 0)


def test_links_within_the_page_arrive(page: str) -> None:
    """Without a script too: every # address is an id on the page, and no id occurs twice."""
    elements = Elements(page)
    ids = elements.ids()
    targets = {str(a["href"])[1:] for tag, a in elements.found if tag == "a" and str(a["href"]).startswith("#")}

    assert len(ids) == len(set(ids))
    assert targets <= set(ids)


def test_every_section_is_reached_from_the_navigation(page: str) -> None:
    """In the order of the page; the reasons are on the first screen."""
    links = re.findall(r'href="#(\w+)"', page.partition("<nav")[2].partition("</nav>")[0])
    sections = re.findall(r'<section id="(\w+)"', page)

    assert links == [section for section in sections if section != "why"]


def test_nothing_on_the_page_points_outside(page: str) -> None:
    for tag, attributes in Elements(page).found:
        for name in ("href", "src", "action", "srcset", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or (tag, value) == ("link", "data:,")


def test_the_policy_names_the_style_and_the_script_by_their_hashes(page: str) -> None:
    """Nothing is allowed but what the hashes name, and nothing inline besides."""
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert found
    policy = html.unescape(found[1])
    for tag in ("style", "script"):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert body
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not [a for _, a in Elements(page).found if "style" in a or any(name.startswith("on") for name in a)]


def test_equal_data_in_any_order_give_equal_bytes() -> None:
    """Rows shuffled, page unchanged: nothing depends on order, clock or hash seeds."""
    run = data.failing(**SMALL)
    mixed = data.Run(
        manifest=run.manifest,
        observations=run.observations.sample(frac=1, random_state=3).reset_index(drop=True),
        verdicts=run.verdicts.sample(frac=1, random_state=4).reset_index(drop=True),
        summary=run.summary,
    )
    assert page_of(run) == page_of(run) == page_of(mixed)


@pytest.mark.parametrize("made", [lambda: data.noted(data.failing(per_case=10)), data.nan_storm, lambda: hostile("x")])
def test_a_page_is_made_from_the_columns_that_are_read_for_it(made: Callable[[], data.Run]) -> None:
    """`accuracy report` leaves the other columns in their file, and writes the page that the night wrote."""
    run = made()
    page = page_of(run)
    assert page_of(replace(run, observations=run.observations[list(columns.shown(run.manifest))])) == page


def test_a_missing_device_is_named_with_its_reason() -> None:
    run = data.missing_device(**SMALL)
    page = page_of(run)
    assert run.summary["verdict"] == "incomplete"
    assert "cuda not run: torch.cuda.is_available() is False" in page
    assert '<th scope="colgroup" colspan="3">cuda</th>' in page or ">cuda</th>" in page


def test_a_run_that_measured_nothing_claims_nothing() -> None:
    """No sentence on the page says that all is well, and the reason stands on the first screen."""
    page = page_named("zero_cases")
    assert "no check passed, so nothing was shown to be right" in page
    assert "within its limit." not in page
    assert "every planned check ran" not in page


def test_a_night_of_fifty_cells_fits_well_in_a_megabyte() -> None:
    """54 cells, 2,000 cases, with a baseline in every chart; five times the cases, without one, in twice that."""
    cases = {name: layer for name, layer in data.CASES.items() if name != "embedding4bit-fp4"}
    some = data.failing(per_case=28, cases=cases)
    run = data.repeated(some, 8)
    assert run.observations["id"].nunique() >= 2000
    assert len(page_of(run, comparison=data.identical(run)).encode()) <= 850_000
    five = data.repeated(some, 40)
    assert five.observations["id"].nunique() >= 10_000
    assert len(page_of(five).encode()) <= 1_500_000


def shape(page: str) -> set[tuple[str, tuple[str, ...]]]:
    """Which elements with which attributes a page has."""
    return {(tag, tuple(sorted(attributes))) for tag, attributes in Elements(page).found}


def hostile_pages(payload: str) -> tuple[str, str]:
    """The report, with signatures, a past and a baseline, and the index of nights, with the payload in every text."""
    run, known = hostile(payload), nights(payload)
    page = view.build(
        run.manifest,
        run.observations,
        run.verdicts,
        run.summary,
        run=payload,
        signatures=signed(payload),
        past=past.build(known, payload, run.manifest, run.verdicts),
        comparison=compared(payload),
    )
    return html_of(page), index.html(index.build(known, to="."))


@cache
def harmless_shapes() -> list[set[tuple[str, tuple[str, ...]]]]:
    return [shape(page) for page in hostile_pages("harmless")]


def programs(page: str) -> list[str]:
    """The scripts of a page, each as the tree that Python makes of it without its docstring, which names versions."""
    found = re.findall(r'<code class="program">(.*?)</code>', page, re.DOTALL)
    trees = [ast.parse(html.unescape(text)) for text in found]
    assert all(ast.get_docstring(tree) for tree in trees)
    return [ast.dump(ast.Module(body=tree.body[1:], type_ignores=[])) for tree in trees]


@cache
def harmless_programs() -> list[str]:
    found = programs(hostile_pages("harmless")[0])
    assert found
    return found


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_hostile_text_stays_text(payload: str) -> None:
    """Both pages have the elements and attributes that a harmless text gives, and the island is still JSON."""
    pages = hostile_pages(payload)
    assert [shape(page) for page in pages] == harmless_shapes()
    for page in pages:
        assert not any(letter in page for letter in "\x00\x1b\u202e\u2066\u2028\ufeff")
        page.encode()
    assert words.visible(payload) in {cell["case"] for cell in island(pages[0])["cells"]}
    assert programs(pages[0]) == harmless_programs()


def test_there_are_at_least_sixty_payloads() -> None:
    assert len(set(PAYLOADS)) >= 60
