"""One verdict, many files: what ten different runs left on disk is parsed back and must say the same everywhere."""

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from patching import SCALED, in_forward, planted

import cli
from accuracy import store, storing

ROOT = Path(cli.__file__).resolve().parent
PLAN = ("--profile", "smoke", "--seed", "7")
HEADINGS = {"release": "Release", "do-not-release": "Do not release", "incomplete": "Incomplete"}
COLOURS = {"release": "pass", "do-not-release": "fail", "incomplete": "not_run"}
CODES = {"release": 0, "do-not-release": 1, "incomplete": 3}
SYMBOLS = {"✗": "fail", "○": "not_run", "!": "warn", "✓": "pass", "–": "not_supported"}
JUNIT = {"failure": "fail", "error": "not_run", "skipped": "not_supported", "system-out": "warn"}
WORST_FIRST = ("fail", "not_run", "warn", "pass", "not_supported")
SAID = {"fail": "fail", "warn": "warn", "not_run": "not run", "not_supported": "not supported", "pass": "pass"}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run folder, and how the command that wrote it last ended."""

    folder: Path
    exit_code: int
    stdout: str
    stderr: str
    job_summary: str


Made: TypeAlias = Callable[[str], Ended]
"""One of the ten runs by its name."""


def accuracy(folder: Path, *arguments: str | Path, patch: Path | None = None) -> Ended:
    """The command as GitHub Actions would start it."""
    job_summary = folder.with_suffix(".job.md")
    environment = os.environ | {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(job_summary)}
    ended = subprocess.run(
        [sys.executable, "-m", "accuracy", *map(str, arguments)],
        cwd=ROOT,
        env=environment | ({} if patch is None else {"PYTHONPATH": str(patch)}),
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(
        folder=folder,
        exit_code=ended.returncode,
        stdout=ended.stdout,
        stderr=ended.stderr,
        job_summary=job_summary.read_text(encoding="utf-8"),
    )


def measured(folder: Path, *arguments: str, patch: Path | None = None) -> Ended:
    """A real night with its events beside it."""
    events = folder.with_suffix(".events.ndjson")
    return accuracy(folder, "nightly", *PLAN, *arguments, "--out", folder, "--events", events, patch=patch)


def all_pass(root: Path, _: Made) -> Ended:
    return measured(root / "run", "--cases", "embedding8bit", "--device", "cpu")


def fails(root: Path, _: Made) -> Ended:
    """Scales a thousandth off, in two cells and in all that follows from them."""
    patch = planted(root, "bitsandbytes.functional", SCALED)
    return measured(root / "run", "--cases", "embedding4bit-nf4", "--device", "cpu", patch=patch)


def crash(root: Path, _: Made) -> Ended:
    """Lookups of a single row kill the process."""
    dies = "return original(self, x) if x.numel() != 1 else __import__('ctypes').string_at(0)"
    patch = in_forward(root, "Embedding8bit", dies)
    return measured(root / "run", "--cases", "embedding8bit", "--device", "cpu", patch=patch)


def missing_device(root: Path, _: Made) -> Ended:
    return measured(root / "run", "--cases", "embedding8bit", "--device", "cpu", "--device", "xpu")


def nan_storm(root: Path, _: Made) -> Ended:
    patch = in_forward(root, "Embedding8bit", "return original(self, x) * float('nan')")
    return measured(root / "run", "--cases", "embedding8bit", "--device", "cpu", patch=patch)


def resumed(root: Path, _: Made) -> Ended:
    """Interrupted after the first cases, which its events tell, and gone on with; lookups take their time."""
    folder = root / "run"
    patch = in_forward(root, "Embedding8bit", "return __import__('time').sleep(0.05) or original(self, x)")
    arguments = ("--cases", "embedding8bit", "--device", "cpu", "--out", str(folder))
    with subprocess.Popen(
        [sys.executable, "-m", "accuracy", "nightly", *PLAN, *arguments, "--jobs", "1", "--events", "-"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(patch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        events = map(json.loads, process.stdout)
        next(event for event in events if event["event"] == "progress" and event["done"])
        process.send_signal(signal.SIGINT)
        last = list(events)[-1]
    assert (process.returncode, last["event"], last["exit_code"]) == (130, "done", 130)
    assert last["counts"]["not_run"] > 0
    return measured(folder, *arguments[:4], "--resume", patch=patch)


def form(folder: Path, observations: pd.DataFrame, run: store.Run, **changed: Any) -> Ended:
    """A folder made from rows of a measured run, judged by the command; there are no events to it."""
    storing.prepare(folder)
    storing.write(folder, run.manifest | changed, run.plan, observations, run.verdicts, run.summary)
    return accuracy(folder, "judge", folder)


def zero_cases(root: Path, made: Made) -> Ended:
    """Nothing was planned, nothing is green."""
    run = store.read(made("all_pass").folder)
    return form(root / "run", run.observations.iloc[:0], run, cases={}, plan_size=0)


def expired_waiver(root: Path, made: Made) -> Ended:
    """The failing night judged again, with a waiver of yesterday's."""
    folder = root / "run"
    shutil.copytree(made("fails").folder, folder)
    waivers = root / "waivers.toml"
    waivers.write_text(
        '[[waiver]]\nid = "w1"\ncase = "*"\nstage = "*"\nquantity = "*"\nowner = "A. Person"\nreason = "known"\n'
        'link = "docs/findings.md"\nexpires = 2020-01-01\nat_most = inf\n',
        encoding="utf-8",
    )
    return accuracy(folder, "judge", folder, "--waivers", waivers)


def stale_baseline(root: Path, made: Made) -> Ended:
    """A night held against a run of other draws that an older version left: what was to be compared did not run."""
    run = store.read(made("all_pass").folder)
    old = root / "old"
    storing.prepare(old)
    storing.write(old, run.manifest | {"accuracy": "0.0.1"}, run.plan, run.observations, run.verdicts, run.summary)
    asked = ("--cases", "embedding8bit", "--device", "cpu", "--seed", "8", "--baseline", str(old))
    return measured(root / "run", *asked)


def merged(root: Path, _: Made) -> Ended:
    """Two shards of one plan, measured apart and made one run, in which a device is wanted that no shard had."""
    patch = planted(root, "bitsandbytes.functional", SCALED)
    asked = ("--cases", "embedding4bit-nf4", "--device", "cpu")
    shards = [measured(root / f"shard-{n}", *asked, "--shard", f"{n}/2", patch=patch).folder for n in (1, 2)]
    return accuracy(root / "run", "merge", *shards, "--out", root / "run", "--device", "hpu")


RUNS: Mapping[str, tuple[Callable[[Path, Made], Ended], str]] = {
    "all_pass": (all_pass, "release"),
    "fails": (fails, "do-not-release"),
    "crash": (crash, "do-not-release"),
    "missing_device": (missing_device, "incomplete"),
    "zero_cases": (zero_cases, "incomplete"),
    "expired_waiver": (expired_waiver, "do-not-release"),
    "stale_baseline": (stale_baseline, "incomplete"),
    "nan_storm": (nan_storm, "do-not-release"),
    "resumed": (resumed, "release"),
    "merged": (merged, "do-not-release"),
}


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The runs that the chosen tests are about, two at a time: most of what one takes is to start processes."""
    tests = [test for test in request.session.items if isinstance(test, pytest.Function)]
    asked = {test.callspec.params["name"] for test in tests if test.path == request.path}
    asked |= {"all_pass"} if asked & {"zero_cases", "stale_baseline"} else set()
    asked |= {"fails"} if "expired_waiver" in asked else set()
    with ThreadPoolExecutor(2) as pool:

        def make(name: str) -> Ended:
            return making[name].result()

        making: dict[str, Future[Ended]] = {}
        for name, (run, _) in RUNS.items():  # those that others are made of come first
            if name in asked:
                making[name] = pool.submit(run, tmp_path_factory.mktemp(name), make)
        yield make


@pytest.fixture(params=list(RUNS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ended(name: str, made: Made) -> Ended:
    return made(name)


def verdicts(run: Ended) -> pd.DataFrame:
    """The one verdict frame."""
    return store.read(run.folder).verdicts


def counts(run: Ended) -> dict[str, int]:
    """Checks by verdict, counted in the frame."""
    number = Counter(verdicts(run)["verdict"])
    return {kind: number[kind] for kind in WORST_FIRST}


def text(run: Ended, file: str) -> str:
    return (run.folder / file).read_text(encoding="utf-8")


def island(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="island">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def detail(run: Ended) -> str:
    """What the counts of the frame read like beside the verdict."""
    number = counts(run)
    said = [f"{number['fail']} of {sum(number.values())} check{'' if sum(number.values()) == 1 else 's'} fail"]
    said += [
        f"{number[kind]} {SAID[kind]}"
        for kind in ("warn", "not_run", "not_supported", "pass")
        if number[kind] or kind == "pass"
    ]
    return " · ".join(said)


@dataclass(frozen=True, kw_only=True)
class Markdown:
    """A Markdown text as another parser than GitHub's reads it: headings, lists and tables as plain text."""

    blocks: list[tuple[str, str]]
    tables: list[list[list[str]]]


def parsed(markdown: str) -> Markdown:
    blocks: list[tuple[str, str]] = []
    tables: list[list[list[str]]] = []
    opened = ""
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline":
            plain = "".join(child.content for child in token.children or ())
            if opened in {"td_open", "th_open"}:
                tables[-1][-1].append(plain)
            else:
                blocks.append((opened, plain))
        if token.type.endswith("_open"):
            opened = token.type
    return Markdown(blocks=blocks, tables=tables)


@pytest.mark.parametrize(("name", "verdict"), [(name, verdict) for name, (_, verdict) in RUNS.items()])
def test_verdict_exit_code_and_headings_are_one(name: str, verdict: str, made: Made) -> None:
    """verdict.json, exit code, last lines, banner, title, Markdown and job summary name the same verdict and counts."""
    run = made(name)
    said = json.loads(text(run, "verdict.json"))
    page = text(run, "report.html")
    banner = re.search(r'<div class="banner (\w+)">\s*<h1>.*?</span> (.*?)</h1>\s*<p>(.*?)</p>', page, re.DOTALL)
    markdown = parsed(text(run, "summary.md"))
    line, path = run.stdout.splitlines()

    assert (said["verdict"], said["exit_code"], run.exit_code) == (verdict, CODES[verdict], CODES[verdict])
    assert {kind: said["counts"][kind] for kind in WORST_FIRST} == counts(run)
    assert said["counts"]["cells"] == len(verdicts(run))
    assert banner
    assert banner.groups() == (COLOURS[verdict], HEADINGS[verdict], html.escape(detail(run)))
    assert f"<title>{HEADINGS[verdict]}: " in page
    assert markdown.blocks[0][1].split(" ", 1)[1] == HEADINGS[verdict]
    assert markdown.blocks[1][1] == detail(run)
    assert run.job_summary.endswith(text(run, "summary.md"))
    assert line.startswith(f"{verdict}: {counts(run)['fail']} of {len(verdicts(run))} cells fail")
    assert path == str(run.folder / "report.html")


def test_every_check_has_one_verdict_everywhere(ended: Ended) -> None:
    """The frame, verdict.json, JUnit, the page's tables and data agree check by check, Markdown in what it lists."""
    names = ["case", "device", "dtype", "stage", "quantity"]
    frame = verdicts(ended)
    wanted = dict(zip(zip(*(frame[name] for name in names), strict=True), frame["verdict"], strict=True))
    cells = json.loads(text(ended, "verdict.json"))["cells"]
    suites = ET.fromstring(text(ended, "junit.xml"))  # noqa: S314 - our own text
    tested = {}
    for test in suites.iter("testcase"):
        device, case = test.attrib["classname"].rsplit(".", 1)
        dtype, check = test.attrib["name"].split(" ", 1)
        kinds = [JUNIT[child.tag] for child in test]
        tested[case, device, dtype, *check.split("/", 1)] = kinds[0] if kinds else "pass"
    page = text(ended, "report.html")
    known = island(page)
    shown = {
        (cell["case"], cell["device"], cell["dtype"], *known["quantities"][check[0]][:2]): check[1]
        for cell in known["cells"]
        for check in cell["checks"]
    }
    rows = "".join(re.findall(r'<table class="quantities">.*?</table>', page, re.DOTALL))

    assert {tuple(cell[name] for name in names): cell["verdict"] for cell in cells} == wanted
    assert tested == wanted
    assert shown == wanted
    assert {kind: rows.count(f'<b class="verdict {kind}">') for kind in WORST_FIRST} == counts(ended)
    listed = [
        row for table in parsed(text(ended, "summary.md")).tables if table[0][0] == "Verdict" for row in table[1:]
    ]
    assert len(listed) == min(50, sum(counts(ended)[kind] for kind in ("fail", "not_run", "warn")))
    for symbol, case, place, check, *_ in listed:
        device, dtype = place.rsplit(" ", 1)
        key = (case, device, {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[dtype], *check.split("/", 1))
        assert wanted[key] == SYMBOLS[symbol[0]]


def by_case(page: str) -> str:
    """The matrix with a row for each case."""
    return (
        page.rsplit('<table class="matrix by-case">', maxsplit=1)[-1].split("</table>", maxsplit=1)[0]
        if "by-case" in page
        else ""
    )


def test_the_matrix_is_the_worst_of_each_cell(ended: Ended) -> None:
    """On the page and in Markdown; what was asked for and not there has a column of its own."""
    frame = verdicts(ended)
    worst = {
        tuple(map(str, key)): min(rows, key=WORST_FIRST.index)
        for key, rows in frame.groupby(["case", "device", "dtype"])["verdict"]
    }
    page = text(ended, "report.html")
    squares = re.findall(r'<td class="(\w+)"><a href="#cell=([^"]+)" title="', by_case(page))
    assert {tuple(html.unescape(place).split("/")): kind for kind, place in squares} == worst

    tables = [table for table in parsed(text(ended, "summary.md")).tables if table[0][0] == "Case"]
    assert {row[0] for table in tables for row in table[1:]} == {case for case, *_ in worst}
    for head, *rows in tables:
        for case, *texts in rows:
            for column, square in zip(head[1:], texts, strict=True):
                device, dtype = column.split(" ", 1)
                key = (case, device, {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}.get(dtype, dtype))
                said = "nothing planned" if square == "–" else SYMBOLS[square[0]]
                assert said == worst.get(key, "not_run" if dtype == "not run" else "nothing planned"), key


def test_the_reasons_are_those_of_the_frame(ended: Ended) -> None:
    """As bad as the verdict, worst first, the same on the page, in Markdown and as annotations, and none for a pass."""
    reasons = re.findall(
        r'<li><b class="verdict (\w+)">.*?</b> <span>(?:<a href="[^"]*">)?(.*?)(?:</a>)?</span></li>',
        text(ended, "report.html").split('<h2 id="matrix-title">', maxsplit=1)[0],
    )
    kinds = [kind for kind, _ in reasons]
    sentences = [" ".join(html.unescape(sentence).split()) for _, sentence in reasons]
    annotations = re.findall(r"^::(\w+) title=(.*?)::(.*)$", ended.stderr, re.MULTILINE)
    blocks = parsed(text(ended, "summary.md")).blocks
    markdown = [block for kind, block in blocks if kind == "paragraph_open" and block[:1] in SYMBOLS]
    present = {kind for kind in ("fail", "not_run", "warn") if counts(ended)[kind]}

    assert kinds == sorted(kinds, key=WORST_FIRST.index)
    assert set(kinds) <= (present or {"not_run"})
    assert bool(kinds) == (ended.exit_code != 0 or "warn" in present)
    assert ("fail" in kinds) == ("fail" in present)
    assert [SYMBOLS[block[0]] for block in markdown] == kinds
    assert all(block.endswith(f" {sentence}") for block, sentence in zip(markdown, sentences, strict=True))
    assert [message for _, _, message in annotations] == [s.replace("%", "%25") for s in sentences]
    assert [level for level, _, _ in annotations] == ["warning" if kind == "warn" else "error" for kind in kinds]


def test_the_events_end_with_the_verdict(name: str, ended: Ended) -> None:
    """Of every measured run: started, progress to the end, each cell as in the frame, and done last."""
    file = ended.folder.with_suffix(".events.ndjson")
    if not file.exists():
        assert name in {"zero_cases", "expired_waiver", "merged"}
        return
    events = [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]
    progress = [event for event in events if event["event"] == "progress"]
    cells = [event for event in events if event["event"] == "cell"]

    assert [events[0]["event"], events[-1]["event"]] == ["started", "done"]
    assert [event["event"] for event in events].count("done") == 1
    assert progress[-1]["done"] == progress[-1]["total"] > 0
    assert [(cell["quantity"], cell["verdict"]) for cell in cells] == list(
        verdicts(ended)[["quantity", "verdict"]].itertuples(index=False, name=None)
    )
    assert (events[-1]["exit_code"], CODES[events[-1]["verdict"]]) == (ended.exit_code, ended.exit_code)
    assert {kind: events[-1]["counts"][kind] for kind in WORST_FIRST} == counts(ended)
    if name == "resumed":
        assert progress[-1]["resumed"] > 0
