"""Two devices on the same layers: equal bits are told from differences, and those from ones that no bound allows."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import patching
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from observed import frame

from accuracy import paired, store
from accuracy.paired import Agreement, element_distances

ROOT = Path(paired.__file__).resolve().parent.parent
INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("first", "second", "bounds", "distance"),
    [
        (1.0, 1.0, (0.0, 0.0), 0.0),
        (1.0, 1.5, (0.5, 0.25), 1.0),
        (1.0, 1.5, (0.25, 0.125), 2.0),
        (-1.0, 1.0, (0.5, 4.0), 0.5),
        (0.0, -0.0, (0.0, 0.0), 0.0),
        (1.0, 1.5, (0.0, 0.0), INF),
        (INF, INF, (1.0, 1.0), 0.0),
        (NAN, NAN, (NAN, NAN), 0.0),
        (INF, -INF, (1.0, 1.0), INF),
        (NAN, INF, (1.0, 1.0), INF),
        (1.0, NAN, (1.0, 1.0), INF),
        (INF, 1.0, (INF, INF), INF),
        (1.0, 2.0, (NAN, 1.0), INF),
        (1.0, 2.0, (-0.0, 0.0), INF),
        (1.0, 2.0, (INF, 1.0), 0.0),
        (1e308, -1e308, (1e308, 1e308), INF),
    ],
)
def test_the_distance_of_two_numbers(first: float, second: float, bounds: tuple[float, float], distance: float) -> None:
    """In units of the larger bound; equal is equal, specials too, and what has no number is never near."""
    assert between(first, second, bounds) == between(second, first, bounds[::-1]) == distance


def between(first: float, second: float, bounds: Sequence[float]) -> float:
    return float(element_distances(*(np.array([value]) for value in (first, second, *bounds)))[0])


@given(st.lists(st.floats(), min_size=4, max_size=4))
def test_a_distance_is_a_number(values: list[float]) -> None:
    """Not NaN, not negative, whatever comes in; and zero only for equals or where anything is allowed."""
    first, second, *bounds = values
    seen = between(first, second, bounds)

    assert seen >= 0
    if seen == 0 and not (first == second or (math.isnan(first) and math.isnan(second))):
        assert abs(first - second) / max(bounds) == 0


def row(device: str, values: Sequence[float] = (1.0,), bounds: Sequence[float] = (0.5,), **more: Any) -> dict[str, Any]:
    """One observation; its digest follows from its values unless it is given."""
    sample = {"sample_values": tuple(values), "sample_bounds": tuple(bounds)}
    return {"device": device, "digest": repr(tuple(values))} | sample | more


def agreements(*rows: dict[str, Any], devices: Sequence[str] = ("cpu", "cuda")) -> list[tuple[str, float]]:
    """What is said of each pair, and how far apart it is; the same with lists as arrays and as Arrow holds them."""
    held = frame(*rows)
    kind = pd.ArrowDtype(pa.list_(pa.float64()))
    samples = {name: pd.Series(held[name].tolist(), dtype=kind) for name in ("sample_values", "sample_bounds")}
    found, again = (paired.pairs(each, devices) for each in (held, held.assign(**samples)))
    pd.testing.assert_frame_equal(found, again)
    return list(zip(found["agreement"], found["distance"], strict=True))


def test_equal_digests_are_identical_whatever_the_sample() -> None:
    assert agreements(row("cpu"), row("cuda")) == [(Agreement.IDENTICAL, 0.0)]


@pytest.mark.parametrize(
    ("values", "agreement", "distance"),
    [
        ((1.0, 2.5), Agreement.WITHIN, 1.0),
        ((1.0, 2.625), Agreement.APART, 1.25),
        ((1.25, 2.25), Agreement.WITHIN, 0.5),
        ((1.0, NAN), Agreement.APART, INF),
        ((1.0, 2.0, 3.0), Agreement.APART, INF),
    ],
)
def test_the_farthest_element_of_the_sample_decides(
    values: tuple[float, ...], agreement: Agreement, distance: float
) -> None:
    """Beside (1, 2) with bounds of a half: exactly at the bound is within it, another size is never near."""
    bounds = [0.5] * len(values)
    assert agreements(row("cpu", (1.0, 2.0), (0.5, 0.25)), row("cuda", values, bounds)) == [(agreement, distance)]


def test_a_difference_outside_the_sample_is_no_more_than_different() -> None:
    """The digest sees it, the sample does not say how far: within, and not identical."""
    assert agreements(row("cpu"), row("cuda", digest="another")) == [(Agreement.WITHIN, 0.0)]
    assert agreements(row("cpu", (), ()), row("cuda", (), (), digest="another")) == [(Agreement.WITHIN, 0.0)]


def test_only_the_same_observation_is_paired() -> None:
    """Id, stage and quantity; not contracts or relations, nothing without a digest, no device without a partner."""
    rows = [
        row("cpu", id="a"),
        row("cuda", id="b"),
        row("cpu", id="c", quantity="grad_input"),
        row("cuda", id="c"),
        *(row(device, id="d", stage="invariant", quantity="repeat") for device in ("cpu", "cuda")),
        *(row(device, id="e", digest="") for device in ("cpu", "cuda")),
        row("cpu", id="f") | {"status": "crash", "digest": ""},
        row("cuda", id="f"),
    ]
    assert agreements(*rows) == []
    assert agreements(*rows, devices=("cpu",)) == []


def test_pairs_do_not_depend_on_the_order_of_the_rows() -> None:
    """Each two of three devices, in the order that the caller names them."""
    rows = [row(device, (value,), id=name) for device, value in (("a", 1.0), ("b", 1.0), ("c", 9.0)) for name in "xy"]
    found = paired.pairs(frame(*rows), ("b", "a", "c"))

    named = ["first", "second", "id", "agreement"]
    assert found[named].to_numpy().tolist() == [
        *(["b", "a", name, "identical"] for name in "xy"),
        *(["b", "c", name, "apart"] for name in "xy"),
        *(["a", "c", name, "apart"] for name in "xy"),
    ]
    pd.testing.assert_frame_equal(paired.pairs(frame(*rows[::-1]), ("b", "a", "c")), found)


PLANT = """
import os


def planted(spec):
    execute = spec.loader.exec_module

    def exec_module(module):
        execute(module)
        original = module.Embedding8bit.forward

        def forward(self, input):
            return original(self, input).nan_to_num() * 1.5 + 1

        if os.environ.get("ATEN_CPU_CAPABILITY") == "avx2":
            module.Embedding8bit.forward = forward

    spec.loader.exec_module = exec_module
    return spec
"""


def test_a_difference_that_one_variant_has_is_found_between_the_devices(tmp_path: Path) -> None:
    """A library that is wrong on avx2 only: apart from the other two in every output, which are identical."""
    path = os.pathsep.join((str(patching.planted(tmp_path, "bitsandbytes.nn.modules", PLANT)), str(ROOT)))
    devices = ("cpu", "cpu:avx2", "cpu:default")
    chosen = [word for device in devices for word in ("--device", device)]
    arguments = ("--profile", "smoke", "--cases", "embedding8bit", "--seed", "7", "--out", str(tmp_path / "run"))
    ended = subprocess.run(
        [sys.executable, "-m", "cli", "nightly", *chosen, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    run = store.read(tmp_path / "run")
    found = paired.pairs(run.observations, devices)
    outputs = found[(found["stage"] == "compute") & (found["quantity"] == "output")]

    assert ended.returncode == 1, ended.stderr
    assert set(found[(found["first"] == "cpu") & (found["second"] == "cpu:default")]["agreement"]) == {"identical"}
    assert set(found[found["stage"] == "encode"]["agreement"]) == {"identical"}
    wrong = outputs[(outputs["first"] == "cpu:avx2") | (outputs["second"] == "cpu:avx2")]
    assert set(wrong["agreement"]) == {"apart"}
    assert len(wrong) == 2 * (run.plan["case"] == "embedding8bit").sum()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "cpu and cpu:avx2" in page.partition("disagree by more than either bound allows</h3>")[2]
