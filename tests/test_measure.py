"""One layer through the whole path: real ones pass, and a defect planted in the library fails in its own stage."""

import math
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from layers import INT8, NF4, ROWS4, ROWS8, SEED, measured, seen

from accuracy.case import Config, Linear4bitRelation, Observation, Task, canonical_json
from accuracy.cases import CASES
from accuracy.measure import parse_config

HEALTHY: tuple[tuple[str, Config], ...] = (
    ("linear4bit-nf4-train", NF4),
    ("linear4bit-nf4-train", replace(NF4, dtype="float16", compute_dtype="float32")),
    ("linear4bit-nf4-train", replace(NF4, dtype="bfloat16", nested=True, batch=(2, 3), out_features=32)),
    ("linear4bit-fp4-train", replace(NF4, quant_type="fp4", weight_dtype="float16")),
    ("linear8bitlt-fp16-weights-train", INT8),
    ("linear8bitlt-train", replace(INT8, dtype="float16", has_fp16_weights=False)),
    ("embedding8bit", ROWS8),
    ("embedding8bit", replace(ROWS8, dtype="bfloat16", dim=65)),
    ("embedding4bit-nf4", ROWS4),
)
Patch = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize(("case", "config"), HEALTHY)
def test_a_healthy_layer_passes(case: str, config: Config) -> None:
    """Without these a planted defect would prove nothing."""
    result = seen(case, config)

    assert result.failing == []
    assert result.verdict == "release"
    assert not any(row["status"] == "not_run" for row in result.rows.values())


def quantizer(change: Callable[[Any, Any], None]) -> Patch:
    """The library's 4-bit quantizer, with its packed bytes and state changed on the way out."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original = bnb.functional.quantize_4bit

        def quantize(*args: Any, **options: Any) -> Any:
            packed, state = original(*args, **options)
            change(packed, state)
            return packed, state

        monkeypatch.setattr(bnb.functional, "quantize_4bit", quantize)

    return patch


def returns(owner: Any, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Patch:
    """A function or method of the library, with its result changed."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **options: change(original(*args, **options)))

    return patch


def one_scale(_: Any, state: Any) -> None:
    state.absmax[17] = math.nextafter(state.absmax[17].item(), math.inf) * (1 + 2**-22)


def all_scales(_: Any, state: Any) -> None:
    state.absmax *= 1.001


def swapped_scales(_: Any, state: Any) -> None:
    state.absmax[[3, 4]] = state.absmax[[4, 3]]


def swapped_halves(packed: Any, _: Any) -> None:
    packed.copy_((packed << 4) | (packed >> 4))


def one_code(packed: Any, _: Any) -> None:
    packed.view(-1)[100] ^= 0x10


def nested_offset(_: Any, state: Any) -> None:
    state.offset = state.offset * 1.0001


def element(*index: int, factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(values: torch.Tensor) -> torch.Tensor:
        mask = torch.ones_like(values)
        mask[index] = factor
        return values * mask

    return change


FORWARD = (bnb.nn.Linear4bit, "forward")
DECODE = (bnb.functional, "dequantize_4bit")
DEFECTS: dict[str, tuple[Patch, str, Config, list[str], str]] = {
    "one scale, two bits": (quantizer(one_scale), "linear4bit-nf4-train", NF4, ["encode/scales"], "encode"),
    "all scales, 0.1 %": (quantizer(all_scales), "linear4bit-nf4-train", NF4, ["encode/scales"], "encode"),
    "two scales swapped": (
        quantizer(swapped_scales), "linear4bit-nf4-train", NF4, ["encode/scales", "quantization/weight"], "encode"
    ),
    "halves of each byte swapped": (
        quantizer(swapped_halves), "linear4bit-nf4-train", NF4, ["encode/codes", "quantization/weight"], "encode"
    ),
    "one code beside the nearest": (quantizer(one_code), "linear4bit-nf4-train", NF4, ["encode/codes"], "encode"),
    "scales of embeddings, 0.1 %": (quantizer(all_scales), "embedding4bit-nf4", ROWS4, ["encode/scales"], "encode"),
    "offset of nested scales, 0.01 %": (
        quantizer(nested_offset), "linear4bit-nf4-train", replace(NF4, nested=True), ["encode/offset"], "encode"
    ),
    "one decoded weight, one bit": (
        returns(*DECODE, element(3, 5, factor=1 + 2**-22)), "linear4bit-nf4-train", NF4, ["decode/weight"], "decode"
    ),
    "one output, 0.1 %": (
        returns(*FORWARD, element(5, 60, factor=1.001)), "linear4bit-nf4-train", NF4, ["compute/output"], "compute"
    ),
    "the last output is dead": (
        returns(*FORWARD, element(7, 63, factor=0.0)), "linear4bit-nf4-train", NF4, ["compute/output"], "compute"
    ),
    "one output is NaN": (
        returns(*FORWARD, element(0, 0, factor=math.nan)), "linear4bit-nf4-train", NF4, ["compute/output"], "compute"
    ),
    "output in float16": (
        returns(*FORWARD, torch.Tensor.half), "linear4bit-nf4-train", NF4, ["contract/output_form"], "contract"
    ),
    "output transposed": (
        returns(*FORWARD, lambda values: values.T.contiguous()),
        "linear4bit-nf4-train",
        replace(NF4, mode="eval"),
        ["contract/output_form", "compute/output"],
        "contract",
    ),
    "one row of an 8-bit embedding": (
        returns(bnb.nn.Embedding8bit, "forward", element(1, 0, factor=1 + 2**-20)),
        "embedding8bit", ROWS8, ["compute/output"], "compute",
    ),
    "int8 weight decoded 1e-6 too large": (
        returns(bnb.functional, "int8_vectorwise_dequant", lambda values: values * (1 + 1e-6)),
        "linear8bitlt-fp16-weights-train", INT8, ["decode/weight"], "decode",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_fails_in_its_stage(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness is worth nothing if a broken layer passes, and little if it blames the wrong stage."""
    patch, case, config, failing, stage = DEFECTS[name]
    patch(monkeypatch)
    result = seen(case, config)

    assert result.verdict == "do-not-release"
    assert set(failing) <= set(result.failing)
    assert result.named == stage
    assert next(iter(result.failing)).startswith(stage)


def test_a_wrong_gradient_fails_beside_a_right_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream's own test looks at gradients only, others at outputs only."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, values: torch.Tensor) -> torch.Tensor:
            return values.clone()

        @staticmethod
        def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * 1.0001

    def scaled(values: torch.Tensor) -> torch.Tensor:
        return Scaled.apply(values)  # type: ignore[no-untyped-call,no-any-return]  # torch gives it no types

    returns(*FORWARD, scaled)(monkeypatch)
    result = seen("linear4bit-nf4-train", NF4)

    assert result.failing == ["compute/grad_input", "compute/grad_bias"]


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def test_a_layer_that_raises_fails_its_contract_and_keeps_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that were stored are still compared; an output there is none, and no row of it passes."""
    monkeypatch.setattr(*FORWARD, raising(RuntimeError("planted\nsecond line")))
    result = seen("linear4bit-nf4-train", NF4)

    assert result.failing == ["contract/completes"]
    assert result.rows["contract/completes"]["reason"] == "RuntimeError: planted"
    assert {"encode/scales", "decode/weight"} <= set(result.rows)
    assert "compute/output" not in result.rows


def test_what_the_library_says_it_cannot_do_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a pass nor a failure."""
    monkeypatch.setattr(*FORWARD, raising(NotImplementedError("not on this device")))
    row = seen("linear4bit-nf4-train", NF4).rows["contract/completes"]

    assert (row["status"], row["count"]) == ("not_supported", 0)
    assert row["reason"] == "NotImplementedError: not on this device"


def test_a_relation_that_is_refused_is_a_row_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cell that it shares with relations that ran it would not be seen."""
    monkeypatch.setattr(*FORWARD, raising(NotImplementedError("not on this device")))
    config = Linear4bitRelation(**{**vars(NF4), "mode": "eval"}, relation="repeat")
    rows = seen("linear4bit-eval-relations", config).rows

    assert {rows[name]["status"] for name in ("contract/completes", "invariant/repeat")} == {"not_supported"}


def test_running_out_of_memory_is_no_answer_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on to the worker, which knows what to do about it."""
    monkeypatch.setattr(*FORWARD, raising(MemoryError()))
    with pytest.raises(MemoryError):
        measured("linear4bit-nf4-train", NF4)


def test_a_check_that_raises_did_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight of a shape that its bytes cannot hold: the checks cannot read it, and nothing of it is green."""

    def longer(_: Any, state: Any) -> None:
        state.shape = torch.Size((65, 128))

    quantizer(longer)(monkeypatch)
    monkeypatch.setattr(*DECODE, raising(RuntimeError("planted")))
    result = seen("linear4bit-nf4-train", NF4)

    assert result.rows["encode/check"]["status"] == "not_run"
    assert "cannot hold 8320 4-bit codes" in result.rows["encode/check"]["reason"]
    assert not any(row["status"] == "ok" and row["stage"] != "contract" for row in result.rows.values())


def test_the_same_task_gives_the_same_rows() -> None:
    """To the last bit, times apart: otherwise no two runs could be compared."""
    one, other = (measured("linear4bit-nf4-train", NF4) for _ in range(2))
    for row in (*one, *other):
        row.pop("seconds")

    assert str(one) == str(other)


def test_measuring_leaves_no_trace_in_what_is_measured_next() -> None:
    """A task measured alone gives what it gives after others."""
    alone = measured("embedding8bit", ROWS8)
    measured("linear4bit-nf4-train", NF4)
    after = measured("embedding8bit", ROWS8)
    for row in (*alone, *after):
        row.pop("seconds")

    assert str(alone) == str(after)


@pytest.mark.parametrize(("case", "config"), HEALTHY)
def test_rows_say_what_was_measured(case: str, config: Config) -> None:
    """Each row has all columns, the task's own names, and a basis."""
    task = Task(case=case, config=config, seed=SEED, origin="sample")
    rows = measured(case, config)

    for row in rows:
        assert set(row) == {field.name for field in fields(Observation)}
        assert (row["id"], row["case"], row["seed"], row["device"]) == (task.id, case, str(SEED), "cpu")
        assert (row["dtype"], row["mode"]) == (config.dtype, config.mode)
        assert row["config"] == canonical_json(asdict(config))
        assert row["strata"] == [stratum.name for stratum in CASES[case].strata if stratum.holds(config)]
        assert row["basis"]
        assert row["count"] > 0


@pytest.mark.parametrize(("case", "config"), HEALTHY)
def test_the_total_error_is_the_sum_of_its_terms(case: str, config: Config) -> None:
    """Total = compute + quantization to 1e-12 in each row that has both, and their norms fit."""
    rows = [row for row in measured(case, config) if not math.isnan(row["total_fro"])]

    assert {row["quantity"] for row in rows} >= {"output"}
    for row in rows:
        assert row["identity_error"] <= 1e-12
        assert row["total_fro"] <= row["compute_fro"] + row["quantization_fro"] + 1e-12
        assert row["compute_fro"] < row["quantization_fro"]


@pytest.mark.parametrize(("case", "config"), HEALTHY)
def test_a_config_survives_its_way_through_json(case: str, config: Config) -> None:
    """Lists become the tuples they were, so that the worker has the very config that was planned."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}
    assert parse_config(CASES[case], values) == config
