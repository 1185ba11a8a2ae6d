"""JUnit XML: one case a cell, and a gap is no pass."""

from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from reports import junit

MANIFEST = {"seed": 7, "limits_hash": "abc", "versions": {"torch": "2"}}


def cell(verdict: str, **fields: object) -> dict[str, object]:
    base = {"case": "c", "device": "cpu", "dtype": "float32", "stage": "compute", "quantity": "output"}
    return {**base, "verdict": verdict, "reason": "why", "failing": 1, "n": 2, "worst_id": "ab", **fields}


@pytest.mark.parametrize(
    ("verdict", "tag"),
    [("fail", "failure"), ("not_run", "error"), ("not_supported", "skipped"), ("warn", "system-out")],
)
def test_each_verdict_has_its_element(verdict: str, tag: str) -> None:
    root = ET.fromstring(junit.render(MANIFEST, pd.DataFrame([cell(verdict)])))  # noqa: S314 - our own text

    assert [child.tag for child in root.iterfind("testsuite/testcase/*")] == [tag]


def test_counts_agree_with_the_cells() -> None:
    frame = pd.DataFrame([cell(verdict) for verdict in ("pass", "fail", "fail", "not_run", "not_supported", "warn")])
    suite = ET.fromstring(junit.render(MANIFEST, frame)).find("testsuite")  # noqa: S314 - our own text

    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "2",
        "errors": "1",
        "skipped": "1",
    }


def test_hostile_text_stays_text() -> None:
    reason = ']]><failure/>&\x00"'
    root = ET.fromstring(junit.render(MANIFEST, pd.DataFrame([cell("fail", reason=reason)])))  # noqa: S314 - our own text
    failure = root.find("testsuite/testcase/failure")

    assert failure is not None
    assert failure.get("message") == reason.replace("\x00", "\ufffd")
