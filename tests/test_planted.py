"""Small faults in a mended library: each is found, in its stage, and nothing else is."""

import os
import subprocess
import sys
from pathlib import Path

import bitsandbytes
import pandas as pd
import pytest

HERE = Path(__file__).parent
FAULTS = {
    "scale +0.01 %": ("linear4bit-nf4-train", "float32", "compute/output"),
    "scale +0.1 %": ("linear4bit-nf4-train", "float16", "compute/output"),
    "scale +0.5 %": ("linear4bit-nf4-train", "bfloat16", "compute/output"),
    "sums in 16 bits": ("linear4bit-fp4-train", "float16", "compute/output"),
    "one call in twenty": ("linear8bitlt-eval", "float32", "compute/output"),
    "a dead column": ("linear8bitlt-eval", "float16", "compute/output"),
    "a wrong last element": ("linear8bitlt-eval", "bfloat16", "compute/output"),
    "two scales swapped": ("embedding8bit", "float32", "compute/output"),
    "a wrong table entry": ("embedding4bit-nf4", "float32", "compute/output"),
}
"""What is planted (tests/planted), and the cell at its root."""

pytestmark = pytest.mark.skipif(bitsandbytes.__version__ != "0.50.2", reason="the patches that mend are for 0.50.2")


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The cells that fail in a smoke run of the six cases on the mended library with the faults."""
    folder = tmp_path_factory.mktemp("planted") / "run"
    cases = [word for name in sorted({case for case, _, _ in FAULTS.values()}) for word in ("--cases", name)]
    arguments = ("--profile", "smoke", "--device", "cpu", "--jobs", "1", "--seed", "3", "--out", str(folder))
    subprocess.run(
        [sys.executable, "-m", "accuracy", "nightly", *arguments, *cases],
        cwd=HERE.parent,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE / "planted"), str(HERE / "mended")])},
        capture_output=True,
        check=False,
    )
    cells = pd.read_parquet(folder / "verdicts.parquet")
    return cells[cells["verdict"] == "fail"]


@pytest.mark.parametrize("fault", FAULTS)
def test_each_is_found_in_its_stage(fault: str, failing: pd.DataFrame) -> None:
    """By the cell that names the stage, not by one that follows from it."""
    case, dtype, cell = FAULTS[fault]
    found = failing[(failing["case"] == case) & (failing["dtype"] == dtype)]

    assert cell in set(found["stage"] + "/" + found["quantity"])


def test_nothing_else_fails(failing: pd.DataFrame) -> None:
    """A fault in one dtype of one case is no reason to doubt another."""
    touched = {(case, dtype) for case, dtype, _ in FAULTS.values()}
    tables = {(case, dtype) for case in ("embedding8bit", "embedding4bit-nf4") for dtype in ("float16", "bfloat16")}

    assert set(zip(failing["case"], failing["dtype"], strict=True)) <= touched | tables
