"""Faults that need two or three conditions at once: a smoke plan misses each of them, the exploration finds it.

The library is a mended one with the faults of tests/cornered: what fails is one of them, but for F36, which is torch's.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bitsandbytes
import numpy as np
import pandas as pd
import pytest

from reports import known

HERE = Path(__file__).parent
EXAMPLES = 200
SEED = os.environ.get("ACCURACY_TEST_SEED", "3")

CORNERS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "linear8bitlt-eval": lambda c: c["batch"] == [1, 1, 1] and c["in_features"] % 2 == 1 and c["dtype"] != "float32",
    "linear8bitlt-train": lambda c: (
        c["batch"] == [1, 1, 1] and c["threshold"] > 0 and c["activation"] not in {"normal", "uniform", "constant"}
    ),
    "linear4bit-nf4-train": lambda c: (
        c["blocksize"] >= 2048 and c["in_features"] % c["blocksize"] == 0 and c["quant_storage"] != "uint8"
    ),
    "embedding4bit-nf4": lambda c: c["weight"] == "with_infinities" and c["dim"] % 64 != 0 and c["dtype"] == "bfloat16",
    "embedding8bit": lambda c: c["weight"] == "near_overflow" and c["dim"] % 2 == 1 and c["dtype"] == "float16",
}
"""Where each family has a fault (tests/cornered), by its config."""

pytestmark = pytest.mark.skipif(bitsandbytes.__version__ != "0.50.2", reason="the patches that mend are for 0.50.2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smoke run of the five families, each explored with so many examples, without any memory of earlier nights."""
    folder = tmp_path_factory.mktemp("cornered")
    cases = [word for name in CORNERS for word in ("--cases", name)]
    arguments = ("--profile", "smoke", "--device", "cpu", "--seed", SEED, "--explore", str(EXAMPLES))
    path = os.pathsep.join([str(HERE / "cornered"), str(HERE / "mended")])
    subprocess.run(
        [sys.executable, "-m", "accuracy", "nightly", *arguments, *cases, "--out", str(folder / "run")],
        cwd=HERE.parent,
        env=os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(folder)},
        capture_output=True,
        check=False,
    )
    return folder / "run"


@pytest.fixture(scope="module")
def failing(run: Path) -> pd.DataFrame:
    """The rows that fail, with their configs."""
    rows = pd.read_parquet(run / "observations.parquet")
    rows = rows[rows["status"].isin(["fail", "crash", "timeout"])]
    of_torch = ["F36" in known.fitting(row) for row in rows.to_dict("records")]  # type: ignore[arg-type]  # names are text
    return rows[~np.array(of_torch, dtype=bool)].assign(config=rows["config"].map(json.loads))


def test_a_smoke_plan_misses_all_of_them(run: Path, failing: pd.DataFrame) -> None:
    """None of its cases is in such a corner, and none fails."""
    plan = pd.read_parquet(run / "plan.parquet")
    planned = plan[plan["origin"] != "explored"]

    assert failing[failing["origin"] != "explored"].empty
    assert not any(
        CORNERS[case](json.loads(config)) for case, config in zip(planned["case"], planned["config"], strict=True)
    )


@pytest.mark.parametrize("case", CORNERS)
def test_the_exploration_finds_each(case: str, run: Path, failing: pd.DataFrame) -> None:
    """With so many examples of its family, in the corner where it is and nowhere else."""
    found = failing[failing["case"] == case]
    counts = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["exploration"]["cases"][case]

    assert not found.empty
    assert all(CORNERS[case](config) for config in found["config"])
    assert counts["examples"] <= EXAMPLES
    assert counts["found"] > 0
