"""The reliability page keeps up: every promise is on it, with tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
PROMISES = [*(f"R{number}" for number in range(1, 16)), *(f"S{number}" for number in range(1, 11))]
ROWS = {cells[0]: cells[1:] for cells in re.findall(r"(?m)^\| ([RS]\d+) \| (.+?) \| (.+?) \| (.*?) ?\|$", PAGE)}
WITHOUT_TEST = {"S8"}
"""Promises about what there is not; the page gives the reason."""


@cache
def named_in(name: str) -> set[str]:
    """Names of the tests in a file."""
    [path] = TESTS.rglob(name)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_promise_has_one_line() -> None:
    """R1 to R15 and S1 to S10, in their order, each once."""
    assert [name for name, *_ in re.findall(r"(?m)^\| ([RS]\d+) \|", PAGE)] == [promise[0] for promise in PROMISES]
    assert list(ROWS) == PROMISES


@pytest.mark.parametrize("promise", PROMISES)
def test_the_tests_of_a_promise_exist(promise: str) -> None:
    """By file and name, as pytest takes them."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", ROWS[promise][-1])

    assert bool(named) != (promise in WITHOUT_TEST)
    assert [(file, test) for file, test in named if test not in named_in(file)] == []
