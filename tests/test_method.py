"""The method page keeps up: every limit, bound and basis is on it, and every reference to it leads somewhere."""

import re
import tomllib
from pathlib import Path

import pytest

from accuracy import limits

ROOT = limits.DEFAULT_FILE.parents[1]
PAGE = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
FILE = tomllib.loads(limits.DEFAULT_FILE.read_text(encoding="utf-8"))
SOURCES = [
    ROOT / "cli.py",
    *sorted(ROOT.glob("accuracy/**/*.py")),
    *sorted(ROOT.glob("commands/**/*.py")),
    *sorted(ROOT.glob("reports/**/*.py")),
]
REFERENCE = re.compile(r'docs/method\.md,\s+"([^"]+)"')
WRITTEN_METHOD = re.compile(r'"method": "([^"]+)"')


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading of plain words: lower case, spaces to hyphens, other signs dropped."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


ANCHORS = [anchor(heading) for heading in re.findall(r"(?m)^## (.+)$", PAGE)]


def found(pattern: re.Pattern[str], path: Path) -> list[tuple[str, str]]:
    return [(path.name, " ".join(text.split())) for text in pattern.findall(path.read_text(encoding="utf-8"))]


def test_anchors_are_made_as_github_makes_them() -> None:
    """Worked out by hand: words, digits and hyphens stay, a comma goes."""
    assert anchor("Int8 product") == "int8-product"
    assert anchor("Half-gap, propagated") == "half-gap-propagated"


def test_no_two_sections_share_an_anchor() -> None:
    """A second one of the same name would get a number that no reference has."""
    assert len(set(ANCHORS)) == len(ANCHORS)


@pytest.mark.parametrize("limit", limits.load().limits, ids=lambda limit: limit.id)
def test_every_limit_points_to_a_section_that_names_it(limit: limits.Limit) -> None:
    """Its `method` is the anchor of a section, and its id stands in that section."""
    assert limit.method in ANCHORS

    sections = dict(zip(ANCHORS, re.split(r"(?m)^## .+$", PAGE)[1:], strict=True))
    assert f"`{limit.id}`" in sections[limit.method]


@pytest.mark.parametrize("section", ["bounds", "calibration", "change", "basis"])
def test_every_constant_and_basis_is_named(section: str) -> None:
    """By the name that the limits file and the rows carry."""
    assert [name for name in FILE[section] if f"`{name}`" not in PAGE] == []


def test_every_published_tolerance_is_named() -> None:
    """By its id."""
    assert [each.id for each in limits.load().published if f"`{each.id}`" not in PAGE] == []


def test_every_docstring_that_cites_the_page_cites_a_section() -> None:
    """In the form: docs/method.md, "section"."""
    cited = [each for path in SOURCES for each in found(REFERENCE, path)]

    assert len(cited) > 4
    assert [(name, section) for name, section in cited if anchor(section) not in ANCHORS] == []


def test_limits_that_are_written_by_the_program_point_to_a_section() -> None:
    """Calibrated limits name their section in code, not in the built-in file."""
    written = [each for path in SOURCES for each in found(WRITTEN_METHOD, path)]

    assert written
    assert [(name, method) for name, method in written if method not in ANCHORS] == []


def test_links_within_the_page_and_to_files_lead_somewhere() -> None:
    """A link is an anchor of the page or a file beside it."""
    targets = re.findall(r"\]\(([^)]+)\)", PAGE)

    assert targets
    assert [target for target in targets if target.startswith("#") and target[1:] not in ANCHORS] == []
    assert [target for target in targets if target[0] != "#" and not (ROOT / "docs" / target).exists()] == []
