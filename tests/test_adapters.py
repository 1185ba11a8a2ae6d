"""What a device refuses is data with a source, covers what the source says, and hides nothing anywhere else."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
from layers import INT8, NF4, ROWS4, ROWS8

from accuracy import plan
from accuracy.adapter import Adapter, Refusal, Variant
from accuracy.adapters import BUILT_IN, hpu
from accuracy.capabilities import refusal
from accuracy.case import Task
from accuracy.cases import CASES
from accuracy.devices import parse

LIBRARY = Path(bitsandbytes.__file__).parent
LINEAR, TABLE = CASES["linear4bit-nf4-train"], CASES["embedding4bit-nf4"]


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    """A smoke plan of every case: each stratum and each published point."""
    return plan.make(list(CASES.values()), plan.PROFILES["smoke"], 20261122)


@pytest.mark.parametrize("kind", ["cpu", "cuda", "xpu", "mps"])
def test_devices_that_support_everything_refuse_nothing(tasks: list[Task], kind: str) -> None:
    """A refusal there would hide a measured failure."""
    assert [task for task in tasks if refusal(task, parse(kind))] == []


def test_hpu_takes_nf4_in_two_storages_and_no_fp4(tasks: list[Task]) -> None:
    """Of a whole plan: every 8-bit task, and of the 4-bit ones exactly NF4 in uint8 or bfloat16 without float16."""
    for task in tasks:
        config = vars(task.config)
        four_bit = "4bit" in task.case
        dtypes = {config[name] for name in ("dtype", "weight_dtype", "compute_dtype") if name in config}
        taken = not four_bit or (
            config["quant_type"] == "nf4"
            and config["quant_storage"] in {"uint8", "bfloat16"}
            and "float16" not in dtypes
        )
        assert (refusal(task, parse("hpu")) == "") is taken, task
    assert {bool(refusal(task, parse("hpu"))) for task in tasks if "nf4" in task.case} == {True, False}


def test_the_library_still_refuses_what_hpu_is_said_to_refuse() -> None:
    """When the decoder takes more one day, the refusal is out of date and this says so."""
    decoder = (LIBRARY / "backends" / "hpu" / "ops.py").read_text(encoding="utf-8")

    assert hpu.DECODER == "bitsandbytes/backends/hpu/ops.py, dequantize_4bit"
    assert re.search(r'if quant_type != "nf4":\s+raise ValueError', decoder)
    assert re.search(r"if A\.dtype not in \(torch\.bfloat16, torch\.uint8\):\s+raise ValueError", decoder)
    assert len(re.findall(r"register_kernel\(", decoder)) == 1


@pytest.mark.parametrize("adapter", BUILT_IN, ids=lambda adapter: adapter.kind)
def test_every_refusal_says_why_and_who_says_so(adapter: Adapter) -> None:
    """A reason without a source cannot be checked."""
    assert all(refused.reason and refused.source for refused in adapter.refusals)


@pytest.mark.parametrize(
    ("refused", "config", "covered"),
    [
        ({}, NF4, True),
        ({"layer": "Linear*"}, NF4, True),
        ({"layer": "Embedding*"}, NF4, False),
        ({"case": "*-eval"}, NF4, False),
        ({"where": {"quant_type": "nf4", "mode": "train"}}, NF4, True),
        ({"where": {"quant_type": "nf4", "mode": "eval"}}, NF4, False),
        ({"where": {"blocksize": "64"}}, NF4, True),
        ({"where": {"blocksize": "6"}}, NF4, False),
        ({"where": {"bias": "true", "compute_dtype": "null", "batch": "[[]8]"}}, NF4, True),
        ({"where": {"bias": "True"}}, NF4, False),
        ({"where": {"threshold": "*"}}, NF4, False),
    ],
)
def test_what_a_refusal_covers(refused: dict[str, Any], config: Any, covered: bool) -> None:  # noqa: FBT001  a column of the table
    """Layer, case and all named fields must match; a field that the config lacks matches nothing."""
    assert Refusal(reason="planted", source="here", **refused).covers(LINEAR, config) is covered


def test_the_first_refusal_that_covers_gives_the_reason() -> None:
    """With its source; nothing where none covers."""
    adapter = Adapter(
        kind="planted",
        listing="planted:listing",
        refusals=(
            Refusal(reason="no lookups", source="manual", layer="Embedding*"),
            Refusal(reason="nothing", source="manual, p. 2", where={"mode": "eval"}),
        ),
    )
    assert adapter.refusal(TABLE, ROWS4) == "no lookups (manual)"
    assert adapter.refusal(CASES["embedding8bit"], ROWS8) == "no lookups (manual)"
    assert adapter.refusal(LINEAR, replace(NF4, mode="eval")) == "nothing (manual, p. 2)"
    assert adapter.refusal(CASES["linear8bitlt-train"], INT8) == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kind": "my device"}, "'my device' is no name of a device"),
        ({"kind": "cuda:1"}, "'cuda:1' is no name of a device"),
        ({"listing": "module"}, "'module' is no reference; module:function is wanted"),
        ({"check": "a:b:c"}, "'a:b:c' is no reference"),
        ({"offers": "a b:c"}, "'a b:c' is no reference"),
        ({"variants": (Variant(name="Fast", limit="", environment={}),)}, "'Fast' is no name of a device"),
        ({"variants": (Variant(name="a", limit="", environment={}),) * 2}, "two variants of one name: a, a"),
    ],
)
def test_an_adapter_that_cannot_work_is_refused_when_it_is_made(changed: dict[str, Any], said: str) -> None:
    """In one line."""
    with pytest.raises(ValueError, match=said):
        Adapter(**{"kind": "planted", "listing": "planted:listing"} | changed)


def test_a_device_runs_under_its_own_name_in_torch_unless_it_says_otherwise() -> None:
    """`cuda` is torch's cuda; another kind may run on torch's cpu."""
    assert Adapter(kind="npu", listing="a:b").torch_device == "npu"
    assert Adapter(kind="example", listing="a:b", torch_device="cpu").torch_device == "cpu"
