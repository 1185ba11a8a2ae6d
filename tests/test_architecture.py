"""The shape of the code: who may import whom, read from the sources and seen in real processes."""

import ast
import itertools
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import typer

import cli
from accuracy.adapters import BUILT_IN

ROOT = Path(cli.__file__).resolve().parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (
        ROOT / "cli.py",
        *(path for part in ("accuracy", "commands", "reports") for path in ROOT.glob(f"{part}/**/*.py")),
    )
}
WORKER_SIDE = (
    "accuracy.ahead",
    "accuracy.measure",
    "accuracy.subjects",
    "accuracy.metrics",
    "accuracy.tally",
    "accuracy.inputs",
    "accuracy.comparison",
    "accuracy.fingerprint",
    "accuracy.dispatch",
    "accuracy.adapters.hardware",
)
MEASURING = ("accuracy.checks", "accuracy.oracles")
"""Modules and packages that need torch."""

MOST_LINES = 400

HEAVY = {"torch", "bitsandbytes"}
COMMAND: Any = typer.main.get_command(cli.app)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """Every module that this one imports anywhere, with the submodules that it takes from a package."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            source = node.module or ""
            yield source
            yield from (name for alias in node.names if (name := f"{source}.{alias.name}") in MODULES)


@cache
def reached(start: str) -> frozenset[str]:
    """Every module that `start` brings along, ours and others', imports inside functions and packages too."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in MODULES:
            waiting += [*imported(name), *([name.rpartition(".")[0]] if "." in name else [])]
    return frozenset(seen)


def is_heavy(name: str) -> bool:
    return name.partition(".")[0] in HEAVY


@pytest.mark.parametrize("module", ["cli", "accuracy.nightly", "accuracy.cases", "reports.render", "accuracy.executor"])
def test_what_the_parent_reaches_never_imports_torch(module: str) -> None:
    """Not even inside a function: a library that crashes on import costs cases and not the run."""
    guilty = {name for name in reached(module) if name in MODULES and any(map(is_heavy, imported(name)))}
    assert guilty == set()


def test_reports_know_nothing_of_measuring() -> None:
    """A report is made from stored rows, on a machine without torch."""
    reports = {name for name in MODULES if name.partition(".")[0] == "reports"}
    brought = set().union(*(reached(name) for name in reports))

    assert {name for name in brought if name in WORKER_SIDE or name.startswith(MEASURING)} == set()
    assert not any(map(is_heavy, brought))


def test_only_subjects_imports_the_library() -> None:
    """Everything else sees what it did through one module; the self-test puts faults into it, which is its task."""
    importers = {name for name in MODULES if "bitsandbytes" in {each.partition(".")[0] for each in imported(name)}}
    assert {name for name in importers if not name.startswith("accuracy.selftest")} == {"accuracy.subjects"}


def test_only_one_module_speaks_to_ray() -> None:
    """It is an extra; what is placed and accounted for is decided without it."""
    assert {name for name in MODULES if "ray" in {each.partition(".")[0] for each in imported(name)}} == {
        "accuracy.cluster.edge"
    }


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("accuracy.case", "accuracy"),
        ("accuracy.histogram", "accuracy"),
        ("accuracy.strategies", "accuracy.plan"),
        ("accuracy.limits", "accuracy.judge"),
        ("accuracy.judge", "accuracy.verdicts"),
        ("accuracy.verdicts", "accuracy.summary"),
        ("accuracy.summary", "accuracy.judgement"),
        ("accuracy.contents", "accuracy.journal"),
        ("accuracy.judgement", "accuracy.conclusion"),
        ("accuracy.prepared", "accuracy.conclusion"),
        ("accuracy.conclusion", "accuracy.nightly"),
        ("accuracy.shards", "accuracy.store"),
        ("accuracy.store", "accuracy.storing"),
        ("accuracy.duplicates", "accuracy.merge"),
        ("accuracy.merge", "accuracy.gather"),
        ("accuracy.gather", "accuracy.whole"),
        ("accuracy.whole", "accuracy.nightly"),
        ("accuracy.nightly", "accuracy.whole"),
        ("accuracy.oracles", "accuracy.checks"),
        ("accuracy.executor", "accuracy.cluster"),
        ("accuracy.cluster", "accuracy.nightly"),
        ("accuracy.nightly", "accuracy.engine"),
        ("accuracy.metrics", "accuracy.checks"),
        ("accuracy.checks", "accuracy.measure"),
        ("accuracy.inputs", "accuracy.oracles"),
        ("accuracy", "reports"),
        ("accuracy", "commands"),
        ("accuracy", "cli"),
        ("reports", "commands"),
        ("commands", "cli"),
        ("reports", "cli"),
    ],
)
def test_imports_go_one_way(module: str, forbidden: str) -> None:
    """Left to right in the flow: draw, plan, measure, judge, store, render; `__main__` is the command itself."""
    turned = {
        (name, other)
        for name in MODULES
        if (name == module or name.startswith(f"{module}.")) and name != "accuracy.__main__"
        for other in imported(name)
        if (other == forbidden or other.startswith(f"{forbidden}.")) and other != module
    }
    assert turned == set()


@pytest.mark.parametrize("statement", ["import cli", "import accuracy.nightly", "import reports.render"])
def test_a_process_that_imports_the_parents_side_has_no_torch(statement: str) -> None:
    """What the sources promise, seen in a real interpreter."""
    code = f"{statement}; import sys; sys.exit(any(name in sys.modules for name in {sorted(HEAVY)!r}))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert ended.returncode == 0


def test_the_command_line_begins_without_frames_and_strategies() -> None:
    """A word of help waits for no table: pandas and Hypothesis take three times as long as all else."""
    code = "import sys, cli; sys.exit(any(name in sys.modules for name in ('pandas', 'hypothesis')))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert ended.returncode == 0


def test_a_nightly_run_does_not_wait_for_the_statistics_of_comparisons() -> None:
    """SciPy's take half a second to import."""
    code = "import sys, accuracy.baseline, accuracy.engine, commands.folders; sys.exit('scipy' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert ended.returncode == 0


@pytest.mark.parametrize("arguments", [["--help"], ["nightly", "--help"], ["cases"], ["report", "nowhere"]])
def test_commands_that_measure_nothing_start_without_torch(arguments: list[str]) -> None:
    """Their time to start is the interpreter's and pandas', not torch's."""
    code = (
        "import sys, cli\n"
        f"sys.argv = ['accuracy', *{arguments!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        f"sys.exit(any(name in sys.modules for name in {sorted(HEAVY)!r}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True)
    assert ended.returncode == 0


Documented: TypeAlias = ast.Module | ast.FunctionDef | ast.ClassDef


def public(module: str) -> Iterator[tuple[str, Documented]]:
    """Public classes and functions of a module, and public methods of its classes."""
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{module}.{node.name}", node
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{module}.{node.name}.{inner.name}", inner


def test_every_module_class_and_function_says_what_it_is() -> None:
    """One sentence at least, that ends like one; a planted fault is described where it is listed."""
    texts = {
        name: ast.get_docstring(node) or ""
        for module in MODULES
        for name, node in (*public(module), (module, tree(module)))
        if name == module or not name.startswith("accuracy.selftest.faults.")
    }
    assert [name for name, text in texts.items() if not text.partition("\n\n")[0].endswith((".", "?"))] == []


@pytest.mark.parametrize("name", COMMAND.commands)
def test_every_command_and_option_has_help(name: str) -> None:
    """Docstrings and help are the manual."""
    command = COMMAND.commands[name]

    assert command.help
    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", None)] == []


def test_fixed_commands_and_options_keep_their_names() -> None:
    """Others script against them."""
    options = {flag for parameter in COMMAND.commands["nightly"].params for flag in parameter.opts}

    assert {"nightly", "report", "judge", "cases", "devices"} <= set(COMMAND.commands)
    assert options >= {
        *("--profile", "--device", "--cases", "--seed", "--out"),
        *("--jobs", "--time-budget", "--limits", "--waivers"),
    }


def test_no_module_is_too_long_to_be_one_idea() -> None:
    """Past some 300 lines a module holds two ideas."""
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_what_a_worker_is_told_to_call_exists() -> None:
    """The executor names them as text, so that the parent need not import them."""
    named = [(adapter.listing, adapter.check, *filter(None, [adapter.offers])) for adapter in BUILT_IN]
    for reference in ("accuracy.measure:measure", *itertools.chain(*named)):
        assert callable(pkgutil.resolve_name(reference))
