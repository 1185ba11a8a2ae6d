"""JUnit XML: one test case a cell, for CI systems that show test results."""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd


def render(manifest: Mapping[str, Any], verdicts: pd.DataFrame) -> str:
    """The verdict frame as JUnit XML, one suite a device.

    A failing cell is a failure; one that did not run an error, since it is no pass; a warning is a
    pass that says so on standard output; what a device does not support is skipped, with the
    library's words.
    """
    root = ET.Element("testsuites", name="accuracy")
    for device, cells in verdicts.groupby("device", sort=False):
        counts = cells["verdict"].value_counts()
        suite = ET.SubElement(
            root,
            "testsuite",
            name=str(device),
            tests=str(len(cells)),
            failures=str(int(counts.get("fail", 0))),
            errors=str(int(counts.get("not_run", 0))),
            skipped=str(int(counts.get("not_supported", 0))),
        )
        properties = ET.SubElement(suite, "properties")
        facts = {"seed": manifest["seed"], "limits": manifest["limits_hash"], **manifest["versions"]}
        for name, value in facts.items():
            ET.SubElement(properties, "property", name=_text(name), value=_text(value))
        for cell in cells.to_dict("records"):
            _case(suite, cell)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, cell: Mapping[Any, Any]) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=_text(f"{cell['device']}.{cell['case']}"),
        name=_text(f"{cell['dtype']} {cell['stage']}/{cell['quantity']}"),
    )
    reason = _text(cell["reason"])
    match cell["verdict"]:
        case "fail":
            failure = ET.SubElement(case, "failure", message=reason)
            failure.text = _text(f"{cell['failing']} of {cell['n']} cases, worst {cell['worst_id']}")
        case "not_run":
            ET.SubElement(case, "error", message=reason)
        case "not_supported":
            ET.SubElement(case, "skipped", message=reason)
        case "warn":
            ET.SubElement(case, "system-out").text = reason


_FORBIDDEN = re.compile("[^\\t\\n\\x20-\\ud7ff\\ue000-\\U0010ffff]")


def _text(value: object) -> str:
    """`value` without the characters that XML 1.0 cannot hold."""
    return _FORBIDDEN.sub("\ufffd", str(value))
