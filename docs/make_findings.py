"""Writes reports/findings.toml, which reports read, from docs/findings.md, which people write.

python docs/make_findings.py
"""

import json
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE / "findings.md"
DATA = HERE.parent / "reports" / "findings.toml"

HEAD = "# Made by docs/make_findings.py from docs/findings.md: change that, and run it.\n"
FINDING = re.compile(r"^\| (?:\[(F\d+)\]\(#f\d+\)|(F\d+)) \| (.*) \|$", re.MULTILINE)
CELLS = re.compile(r"(?<!\\)\|")


def toml(document: str) -> str:
    """The data file of a document: the library, each finding, and which rows each explains."""
    version = re.search(r"^# Findings: defects of bitsandbytes (\S+)$", document, re.MULTILINE)
    if version is None:
        raise ValueError("the heading names no version of bitsandbytes")
    parts = [HEAD, f"library = {quoted(version[1])}\n"]
    for found in FINDING.finditer(document):
        layer, condition, effect, kind, *since = (text.strip() for text in CELLS.split(found[3]))
        identity = found[1] or found[2]
        script = next((HERE / "findings").glob(f"{identity[1:]}_*.py"))
        entry = {"id": identity, "layer": layer, "condition": condition, "effect": effect, "class": kind}
        entry |= {"since": since[0] if since else "", "script": f"docs/findings/{script.name}"}
        parts.append("[[finding]]\n" + "".join(f"{name} = {quoted(value)}\n" for name, value in entry.items()))
    parts += [explains("cpu*", row, 1) for row in table(document, "| cases | stage/quantity |")]
    parts += [explains("cuda*", row, 0) for row in table(document, "| cells on CUDA |")]
    return "\n".join(parts)


def table(document: str, head: str) -> list[list[str]]:
    """The rows of the Markdown table that begins so."""
    lines = document.split(head, 1)[1].splitlines()[2:]
    rows = lines[: next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[text.strip() for text in CELLS.split(row)[1:-1]] for row in rows]


def explains(device: str, row: list[str], checks_in: int) -> str:
    """One rule: rows of these devices, cases and checks whose reason holds these words are explained so."""
    words = re.findall("`(.+?)`", row[2]) if len(row) > 3 else []  # the table of CUDA has no such column
    values = {
        "device": device,
        "cases": re.findall("`(.+?)`", row[0]) or ["*"],
        "checks": re.findall(r"[a-z]+/[a-z0-9_*]+", row[checks_in]),
        "words": words,
        "findings": re.findall(r"F\d+", row[-1]),
    }
    return "[[explains]]\n" + "".join(f"{name} = {quoted(value)}\n" for name, value in values.items())


def quoted(value: object) -> str:
    """Text or a list of texts as TOML, which takes JSON's."""
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    DATA.write_text(toml(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
