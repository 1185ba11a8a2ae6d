"""Scripts of failures: short, of torch and the library alone, right about a broken library and about a mended one."""

import ast
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import cli
from accuracy import inputs, limits
from accuracy.case import Stage, Status, Task
from accuracy.cases import CASES, relations
from accuracy.oracles import codes
from accuracy.scripts import failure, layer, program
from accuracy.scripts.alone import alone
from accuracy.scripts.draws import DRAWS, drawn
from accuracy.scripts.failure import Failure, ScriptError

HERE = Path(__file__).parent
BOUNDS = limits.load(limits.DEFAULT_FILE).bounds
DEVICES = ("cpu", "cpu:avx2", "cuda:1", "xpu")


def failing(case: str, config: Any, check: str, **more: Any) -> Failure:
    """A made-up failure of this config in stage/quantity."""
    stage, _, quantity = check.partition("/")
    values: dict[str, Any] = {
        "case": CASES[case], "config": config, "id": "0123456789abcdef", "device": "cpu", "stage": Stage(stage),
        "quantity": quantity, "status": Status.FAIL, "ratio": float("inf"), "place": "", "reason": "",
        "versions": {"torch": "2.13.0", "bitsandbytes": "0.50.2"},
    }  # fmt: skip
    return Failure(**values | more)


def checks(case: str, config: Any) -> list[str]:
    """Every stage/quantity of a config that there is a script for."""
    kind = type(alone(config, "")[0])
    found = [f"{stage}/{quantity}" for stage, quantity in program.TABLES.get(kind, {})]
    relation = getattr(config, "relation", "")
    forms = [] if CASES[case].subject.startswith("accuracy.upstream") or relation else ["contract/output_form"]
    return [*found, *forms, "contract/completes", *([f"invariant/{relation}"] if relation else [])]


@st.composite
def failures(draw: st.DrawFn) -> Failure:
    """Any failure that there is a script for, by number, by structure, or by a crash."""
    name = draw(st.sampled_from(sorted(CASES)))
    config = draw(CASES[name].draw())
    place = draw(st.sampled_from(("all", "mean of column 3", "row 2", "block 0 of 1 of the inner dimension")))
    return failing(
        name,
        config,
        draw(st.sampled_from(checks(name, config))),
        device=draw(st.sampled_from(DEVICES)),
        status=draw(st.sampled_from((Status.FAIL, Status.FAIL, Status.CRASH, Status.TIMEOUT))),
        ratio=draw(st.sampled_from((0.5, 2.0))),
        place=place,
    )


@settings(max_examples=100)
@given(failures())
def test_every_script_is_a_short_program_of_torch_and_the_library(found: Failure) -> None:
    """At most 40 lines, that compile, and import nothing but these and the standard library."""
    text = program.text(found, BOUNDS)
    trees = [ast.parse(text), *(ast.parse(node) for node in _programs(text))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}

    assert text.count("\n") <= program.MOST_LINES
    assert imported - {"torch", "bitsandbytes"} <= sys.stdlib_module_names
    assert not any(isinstance(node, ast.ImportFrom) for node in nodes)


def _programs(text: str) -> list[str]:
    """The program that a script runs in a process of its own."""
    return [
        str(ast.literal_eval(node.value))
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PROGRAM"
    ]


@pytest.mark.parametrize(("table", "quant_type"), [(layer.NF4, "nf4"), (layer.FP4, "fp4")])
def test_the_code_tables_are_the_oracles(table: tuple[str, str, str], quant_type: str) -> None:
    values = eval(f"torch.tensor([{table[0]}, {table[1]}]){table[2]}", {"torch": torch})  # noqa: S307  our own text

    assert torch.equal(values, codes.four_bit(quant_type))


def test_the_map_of_scales_is_the_oracles() -> None:
    """It is short enough to be derived, to the last bit."""
    config = next(each for each in CASES["linear4bit-nf4-eval"].published if getattr(each, "nested", False))
    text = program.text(failing("linear4bit-nf4-eval", config, "encode/nested_table"), BOUNDS)
    names: dict[str, Any] = {"torch": torch}
    exec("\n".join(line for line in text.splitlines() if line.startswith(("middles", "MAP"))), names)  # noqa: S102  our own text

    assert torch.equal(names["MAP"], codes.dynamic_8bit())


@pytest.mark.parametrize("name", inputs.DISTRIBUTIONS)
@pytest.mark.parametrize("shape", [(3, 70), (1, 1), (65,)])
def test_a_script_draws_from_the_same_distribution(name: str, shape: tuple[int, ...]) -> None:
    """The shape, the dtype, the same kinds of special values, and a magnitude of the same order."""
    torch.manual_seed(3)
    mine = torch.stack([eval(drawn(name, shape, "float32"), {"torch": torch}) for _ in range(64)])  # noqa: S307  our own text
    generator = torch.Generator().manual_seed(3)
    its = torch.stack([inputs.DISTRIBUTIONS[name](shape, generator) for _ in range(64)])

    assert set(DRAWS) == set(inputs.DISTRIBUTIONS)
    assert mine.shape == its.shape
    assert mine.isnan().any() == its.isnan().any()
    assert mine.isinf().any() == its.isinf().any()
    assert mine.eq(0).any() == its.eq(0).any()
    if its.isfinite().all() and its.any():
        assert 1 / 3 < mine.abs().mean() / its.abs().mean() < 3


def test_half_way_is_half_way() -> None:
    """As far from the float16 below as from the one above; every other element so for bfloat16."""
    torch.manual_seed(3)
    values = eval(drawn("half_way", (64,), "float32"), {"torch": torch})  # noqa: S307  our own text
    for dtype, mine in ((torch.float16, values[::2]), (torch.bfloat16, values[1::2])):
        near = mine.to(dtype)
        towards = torch.where(mine > near.float(), torch.inf, -torch.inf).to(dtype)
        other = torch.nextafter(near, towards)

        assert torch.equal(mine - near.float(), other.float() - mine)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", DRAWS)
def test_a_script_draws_in_the_dtype(name: str, dtype: str) -> None:
    value = eval(drawn(name, (2, 5), dtype), {"torch": torch})  # noqa: S307  our own text

    assert value.dtype == getattr(torch, dtype)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("in_features", '64); __import__("os").abort(); (0'),
        ("weight", 'normal") and print("'),
        ("batch", ("1", 2)),
        ("bias", 1),
        ("compute_dtype", "torch.float32"),
        ("blocksize", -64),
    ],
)
def test_a_strangers_config_writes_no_code(field: str, value: object) -> None:
    """What is no value of the field is refused in one line."""
    case = CASES["linear4bit-nf4-eval"]
    config: Any = replace(case.published[0], **{field: value})  # type: ignore[arg-type]  # wrong on purpose
    row = {"device": "cpu", "stage": "compute", "quantity": "output", "status": "fail", "ratio": 2.0}
    task = Task(case=case.name, config=config, seed=1, origin="sample")

    with pytest.raises(ScriptError, match=field):
        failure.of(task, case, row | {"structure_at": "", "reason": ""}, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", 'cpu"""\nimport os'),
        ("stage", "compute\n"),
        ("status", 'crash"""'),
        ("quantity", 'output"""\n__import__("os").abort()\n"""'),
        ("structure_at", "all, and more"),
    ],
)
def test_a_strangers_row_writes_no_code(name: str, value: str) -> None:
    """It has another device, quantity or place than any row; so a page of such a run says that there is no script."""
    case = CASES["linear4bit-nf4-eval"]
    task = Task(case=case.name, config=case.published[0], seed=1, origin="sample")
    row = {"device": "cpu", "stage": "compute", "quantity": "output", "status": "crash", "ratio": 2.0, "reason": ""}

    with pytest.raises(ScriptError):
        failure.of(task, case, row | {"structure_at": "", name: value}, {})


def test_only_versions_are_named_as_such() -> None:
    """A name of a version is text of the run as well."""
    case = CASES["linear4bit-nf4-eval"]
    task = Task(case=case.name, config=case.published[0], seed=1, origin="sample")
    row = {"device": "cpu", "stage": "compute", "quantity": "output", "status": "crash", "ratio": 2.0, "reason": ""}
    versions = {"torch": "2.13.0+cpu", 'x"""\nimport os': "1.0", "bitsandbytes": '"""'}

    assert failure.of(task, case, row | {"structure_at": ""}, versions).versions == {"torch": "2.13.0+cpu"}


def test_what_there_is_no_script_for_is_said() -> None:
    config = CASES["upstream-12-state-dict-embedding8bit"].published[0]

    with pytest.raises(ScriptError, match="no script for contract/state_dict_after_move"):
        program.text(failing("upstream-12-state-dict-embedding8bit", config, "contract/state_dict_after_move"), BOUNDS)


def small(case: str, **fields: Any) -> Any:
    """A small ordinary config of a case."""
    shared: dict[str, Any] = {"dtype": "float32", "weight": "normal"}
    kind = CASES[case].config
    dense: dict[str, Any] = {
        "mode": "eval", "batch": (8,), "in_features": 64, "out_features": 32, "bias": True,
        "weight_dtype": "float32", "activation": "normal",
    }  # fmt: skip
    own: dict[str, dict[str, Any]] = {
        "linear4bit": {
            **dense, "quant_type": "nf4", "blocksize": 64, "nested": False, "quant_storage": "uint8",
            "compute_dtype": None,
        },
        "linear8bitlt": {**dense, "threshold": 0.0, "has_fp16_weights": False},
        "embedding4bit": {"rows": 32, "dim": 64, "index": (10,), "quant_type": "nf4", "quant_storage": "uint8"},
        "embedding8bit": {"rows": 32, "dim": 64, "index": (10,)},
    }  # fmt: skip
    return kind(**shared | own[case.partition("-")[0]] | fields)


BROKEN = {
    "F01 decode": failing("linear4bit-nf4-train", small("linear4bit-nf4-train", in_features=96), "decode/weight"),
    "F01 compute": failing(
        "linear4bit-fp4-train", small("linear4bit-fp4-train", mode="train", in_features=96), "compute/grad_input"
    ),
    "F01 looked up": failing("embedding4bit-nf4", small("embedding4bit-nf4", dim=96), "compute/output"),
    "F10 by number": failing("linear8bitlt-eval", small("linear8bitlt-eval"), "compute/output"),
    "F10 by structure": failing(
        "linear8bitlt-eval",
        small("linear8bitlt-eval", batch=(64,), bias=False),
        "compute/output",
        ratio=0.9,
        place="all",
    ),
    "F12": failing(
        "linear8bitlt-fp16-weights-train-relations",
        small(
            "linear8bitlt-fp16-weights-train-relations", mode="train", has_fp16_weights=True, relation="updated_weight"
        ),
        "invariant/updated_weight",
    ),
    "F13": failing(
        "linear8bitlt-fp16-weights-train",
        small("linear8bitlt-fp16-weights-train", mode="train", has_fp16_weights=True, batch=(2, 3)),
        "contract/completes",
    ),
    "F14": failing("linear8bitlt-eval", small("linear8bitlt-eval", batch=(2, 1, 1)), "contract/output_form"),
    "F23": failing(
        "linear4bit-nf4-eval", small("linear4bit-nf4-eval", nested=True, out_features=64), "encode/nested_codes"
    ),
}  # fmt: skip
"""Findings that 0.50.2 shows on every CPU with AVX-512, and the script of each."""

RIGHT = {
    f"{case} {check} {dtype}": failing(case, config, check)
    for dtype in ("float32", "float16")
    for case, config in (
        (name, small(name, **more, dtype=dtype))
        for name, more in (
            ("linear4bit-nf4-train", {"mode": "train", "compute_dtype": "float32"}),
            ("linear4bit-fp4-train", {"mode": "train", "nested": True, "blocksize": 32, "batch": (2, 3)}),
            ("linear8bitlt-eval", {"threshold": 2.0}),
            ("linear8bitlt-train", {"mode": "train"}),
            ("linear8bitlt-fp16-weights-train", {"mode": "train", "has_fp16_weights": True}),
            ("embedding8bit", {}),
            ("embedding4bit-fp4", {"quant_type": "fp4"}),
        )
    )
    for check in checks(case, config)
    if not (check.endswith("grad_weight") and not getattr(config, "has_fp16_weights", True))
    and not (check.split("/")[0] in ("compute", "quantization") and "grad" in check and config.mode == "eval")
    and not ("nested" in check and not getattr(config, "nested", False))
    and not (check.endswith("offset") and not getattr(config, "nested", False))
    and not (check == "encode/scales" and getattr(config, "nested", False))
    and not (check == "decode/weight_in_compute_dtype" and getattr(config, "compute_dtype", None) is None)
}
"""Every script, of ordinary layers."""

RELATED = {
    f"{case} {name}": failing(case, small(case, mode="train", relation=name, **more), f"invariant/{name}")
    for case, more in (
        ("linear4bit-train-relations", {}),
        ("linear8bitlt-train-relations", {}),
        ("linear8bitlt-fp16-weights-train-relations", {"has_fp16_weights": True}),
    )
    for name in (*relations.EVERYWHERE, *relations.IN_TRAINING, *(relations.OF_A_TRAINED_WEIGHT if more else ()))
}
"""A script for each relation of dense layers."""

RELATED |= {
    f"linear4bit-train-relations {name}": failing(
        "linear4bit-train-relations",
        small("linear4bit-train-relations", mode="train", relation=name),
        f"invariant/{name}",
    )
    for name in relations.OF_4_BITS
} | {
    f"{case} {check}": failing(case, small(case, mode="train", relation="save_and_load", **more), f"contract/{check}")
    for case, more in (
        ("linear4bit-train-relations", {"nested": True, "blocksize": 128, "quant_storage": "bfloat16"}),
        ("linear8bitlt-train-relations", {"bias": False}),
        ("linear8bitlt-fp16-weights-train-relations", {"has_fp16_weights": True}),
    )
    for check in program.SAVED
    if not (check == "saved_state" and "has_fp16_weights" in more)
}
"""And of what only some have: a class of their own, and the form in which they are saved."""


@pytest.mark.skipif(bitsandbytes.__version__ != "0.50.2", reason="the findings, and the patches that mend them")
@pytest.mark.parametrize("mended", [False, True], ids=["plain", "mended"])
def test_scripts_tell_a_broken_library_from_a_mended_one(tmp_path: Path, *, mended: bool) -> None:
    """1 and the words on the plain library, 0 on the mended one; where the library is right all say so."""
    made = {**BROKEN, **RIGHT, **RELATED} if mended else BROKEN
    for number, found in enumerate(made.values()):
        text = program.text(found, BOUNDS)
        drawn_less = re.sub(r"for seed in range\(\d+\)", "for seed in range(4)", text) if mended else text
        (tmp_path / f"{number}.py").write_text(drawn_less, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(HERE / "run_scripts.py")],
        input="\n".join(str(tmp_path / f"{number}.py") for number in range(len(made))),
        env=os.environ | {"PYTHONPATH": str(HERE / "mended") if mended else "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    ended = dict(zip(made, map(json.loads, ran.stdout.splitlines()), strict=True))

    assert {name: said for name, (_, code, said) in ended.items() if code == mended} == {}
    assert all("seen" in said and "wanted" in said for _, code, said in ended.values() if code)


def test_a_crash_is_seen_by_a_process_of_its_own(tmp_path: Path) -> None:
    """The script outlives what it runs, and exits 1; the library here is one that kills its process."""
    (tmp_path / "bitsandbytes.py").write_text("import os\nos.abort()\n", encoding="utf-8")
    found = failing("linear8bitlt-eval", small("linear8bitlt-eval"), "contract/completes", status=Status.CRASH)
    ended = subprocess.run(
        [sys.executable, "-c", program.text(found, BOUNDS)],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert "seen exit code -6" in ended.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which F12 and F13 show."""
    folder = tmp_path_factory.mktemp("scripts") / "run"
    arguments = ["--profile", "smoke", "--device", "cpu", "--jobs", "1", "--seed", "3", "--examples", "1"]
    case = ["--cases", "linear8bitlt-fp16-weights-train"]
    CliRunner().invoke(cli.app, ["nightly", *arguments, *case, "--out", str(folder)])
    return folder


def failing_id(folder: Path) -> str:
    cells = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["cells"]
    return str(next(cell["worst_id"] for cell in cells if cell["verdict"] == "fail"))


def test_the_command_prints_the_script_of_what_fails_first(run: Path) -> None:
    ended = CliRunner().invoke(cli.app, ["script", str(run), failing_id(run)])

    assert ended.exit_code == 0
    compile(ended.stdout, "script", "exec")
    assert "contract/completes" in ended.stdout


def test_an_issue_has_what_a_maintainer_asks_for(run: Path) -> None:
    ended = CliRunner().invoke(cli.app, ["script", str(run), failing_id(run), "--issue"])
    parts = [line for line in ended.stdout.splitlines() if line.startswith(("Title:", "### "))]

    assert ended.exit_code == 0
    assert [part.split(":")[0] for part in parts] == [
        "Title",
        "### Environment",
        "### Seen",
        "### Expected",
        "### Script",
    ]
    assert f"bitsandbytes: `{bitsandbytes.__version__}`" in ended.stdout
    compile(ended.stdout.split("```python\n")[1].split("```")[0], "script", "exec")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["0000000000000000"], "has no case"),
        (["ID", "--check", "encode/codes"], "does not fail in encode/codes"),
        (["ID", "--device", "cuda"], "does not fail on cuda"),
    ],
)
def test_what_does_not_fail_has_no_script(run: Path, arguments: list[str], words: str) -> None:
    """One line, exit code 2."""
    asked = [failing_id(run) if word == "ID" else word for word in arguments]
    ended = CliRunner().invoke(cli.app, ["script", str(run), *asked])

    assert ended.exit_code == 2
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
