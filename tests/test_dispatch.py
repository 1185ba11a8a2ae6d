"""Which kernel served: paths of real layers worked out by hand, reroutes that show, results that stay as they are."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from layers import INT8, NF4, ROWS4, ROWS8, measured

from accuracy import dispatch
from accuracy.case import Config
from accuracy.path import steps

ROOT = Path(__file__).resolve().parents[1]
PACKS = bool(bnb.functional.has_avx512bf16())
NATIVE = "cdequantize_blockwise_cpu"
INT8_PRODUCT = f"int8_linear_matmul:{dispatch.backend('int8_linear_matmul', 'cpu')}"

TRAINED = {
    "encode/codes": "quantize_4bit:default > torch",
    "decode/weight": f"dequantize_4bit:cpu > {NATIVE}_nf4_fp32",
    "compute/output": f"MatMul4Bit.forward > gemm_4bit:default > dequantize_4bit:cpu > {NATIVE}_nf4_fp32",
    "compute/grad_input": f"MatMul4Bit.backward > dequantize_4bit:cpu > {NATIVE}_nf4_fp32",
    "compute/grad_bias": f"MatMul4Bit.backward > dequantize_4bit:cpu > {NATIVE}_nf4_fp32",
}
BY_HAND: dict[str, tuple[str, Config, dict[str, str]]] = {
    "4 bit, training": ("linear4bit-nf4-train", NF4, TRAINED),
    "4 bit, rows of odd length": (
        "linear4bit-nf4-train",
        replace(NF4, in_features=65),
        {
            "decode/weight": "dequantize_4bit:cpu > torch",
            "compute/output": "MatMul4Bit.forward > gemm_4bit:default > dequantize_4bit:cpu > torch",
        },
    ),
    "4 bit, computing in another dtype than the weight had": (
        "linear4bit-fp4-train",
        replace(NF4, quant_type="fp4", weight_dtype="float16", compute_dtype="bfloat16"),
        {
            "compute/output": f"MatMul4Bit.forward > gemm_4bit:default > dequantize_4bit:cpu > {NATIVE}_fp4_bf16",
            "compute/grad_input": f"MatMul4Bit.backward > dequantize_4bit:cpu > {NATIVE}_fp4_fp16",
        },
    ),
    "4 bit, double-quantized": (
        "linear4bit-nf4-train",
        replace(NF4, nested=True),
        {
            "encode/nested_codes": "quantize_4bit:default > torch; "
            "quantize_blockwise:cpu > cquantize_blockwise_cpu_fp32",
            "decode/weight": f"dequantize_blockwise:cpu > {NATIVE}_fp32; dequantize_4bit:cpu > {NATIVE}_nf4_fp32",
        },
    ),
    "int8, training with fp16 weights": (
        "linear8bitlt-fp16-weights-train",
        INT8,
        {
            "encode/codes": "MatMul8bitFp.forward > int8_vectorwise_quant:default > torch",
            "decode/weight": "int8_vectorwise_dequant:default > torch",
            "compute/output": "MatMul8bitFp.forward > int8_vectorwise_quant:default > torch",
            "compute/grad_weight": "MatMul8bitFp.backward > torch",
        },
    ),
    "int8, inference": (
        "linear8bitlt-eval",
        replace(INT8, mode="eval", dtype="float16", has_fp16_weights=False),
        {
            "encode/codes": "int8_vectorwise_quant:default > torch",
            "compute/output": "MatMul8bitLt.forward > int8_vectorwise_quant:default > torch; "
            f"MatMul8bitLt.forward > int8_scaled_mm:default > {INT8_PRODUCT} > torch; "
            "MatMul8bitLt.forward > int8_scaled_mm:default > int8_mm_dequant:default > torch",
        },
    ),
    "embedding, whole blocks in each row": (
        "embedding4bit-nf4",
        ROWS4,
        {"compute/output": f"_forward_with_partial_dequantize > dequantize_4bit:cpu > {NATIVE}_nf4_fp32"},
    ),
    "embedding, rows end inside a block": (
        "embedding4bit-nf4",
        replace(ROWS4, dim=80),
        {"compute/output": f"dequantize_4bit:cpu > {NATIVE}_nf4_fp32"},
    ),
    "embedding of int8 rows": ("embedding8bit", ROWS8, {"compute/output": "torch"}),
}


def paths(case: str, config: Config) -> dict[str, str]:
    return {f"{row['stage']}/{row['quantity']}": row["path"] for row in measured(case, config)}


@pytest.mark.parametrize("name", BY_HAND)
def test_the_path_of_each_quantity_is_that_of_the_library_s_source(name: str) -> None:
    """Followed by hand through the pinned release."""
    case, config, expected = BY_HAND[name]
    seen = paths(case, config)

    assert {key: seen[key] for key in expected if expected[key]} == {
        key: path for key, path in expected.items() if path
    }


@pytest.mark.skipif(not PACKS, reason="weights are packed for AVX512-BF16 only")
def test_a_packed_weight_is_served_by_the_packed_kernel() -> None:
    """The first forward pass in inference packs, then multiplies; nested scales are decoded on the way."""
    seen = paths("linear4bit-nf4-eval", replace(NF4, mode="eval", nested=True))
    assert seen["compute/output"] == (
        f"_convert_weight_packed_for_cpu > dequantize_blockwise:cpu > {NATIVE}_fp32; "
        "gemv_4bit:cpu > gemv_4bit_inference_cpu_nf4_bf16"
    )


def test_a_layer_that_raises_keeps_the_path_up_to_there() -> None:
    """The CPU has no kernel that the default int8 layer needs in inference."""
    (row,) = measured("linear8bitlt-fp16-weights-eval", replace(INT8, mode="eval", dtype="float16"))
    assert row["path"] == "MatMul8bitLt.forward > int8_double_quant:none > raised"


Reroute = Callable[[pytest.MonkeyPatch], None]


def whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The branch of an embedding that decodes only the rows looked up is skipped."""

    def forward(self: Any, index: torch.Tensor) -> torch.Tensor:
        table = bnb.functional.dequantize_4bit(self.weight.data, self.weight.quant_state)
        return torch.nn.functional.embedding(weight=table, input=index).to(self.dtype)

    monkeypatch.setattr(bnb.nn.Embedding4bit, "forward", forward)


def other_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product goes through decoding and torch, past the operator meant for it."""

    def product(x: Any, weight: Any, *, quant_state: Any, bias: Any = None) -> Any:
        decoded = bnb.functional.dequantize_4bit(weight.data.view(-1, 1), quant_state).to(x.dtype)
        return torch.nn.functional.linear(x, decoded, bias)

    monkeypatch.setattr(bnb, "matmul_4bit", product)


def other_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes the function of the wrong format."""
    native = bnb.cextension.lib

    class Wrong:
        def __getattr__(self, name: str) -> Any:
            return getattr(native, name.replace("nf4", "fp4"))

    monkeypatch.setattr("bitsandbytes.backends.cpu.ops.lib", Wrong())


REROUTES: dict[str, tuple[Reroute, str, Config, str, str]] = {
    "a branch of Python skipped": (
        whole_table, "embedding4bit-nf4", ROWS4, "compute/output", f"dequantize_4bit:cpu > {NATIVE}_nf4_fp32"
    ),
    "an operator passed by": (
        other_operator, "linear4bit-nf4-train", NF4, "compute/output", f"dequantize_4bit:cpu > {NATIVE}_nf4_fp32"
    ),
    "another native function taken": (
        other_symbol, "linear4bit-nf4-train", NF4, "decode/weight", f"dequantize_4bit:cpu > {NATIVE}_fp4_fp32"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REROUTES)
def test_a_reroute_shows_in_the_column(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Planted in the library: another path serves, and the path says so."""
    reroute, case, config, quantity, expected = REROUTES[name]
    before = paths(case, config)[quantity]
    reroute(monkeypatch)

    assert paths(case, config)[quantity] == expected != before


@pytest.fixture
def served_by_a_plug_in() -> Iterator[None]:
    """A kernel for the CPU registered beside the default one that served until now."""
    kernels: Any = torch.library.Library("bitsandbytes", "IMPL")  # type: ignore[no-untyped-call]  # torch's
    kernels.impl(
        "int8_vectorwise_dequant", lambda codes, scales: codes * scales.view(-1, 1) * 7.874015718698502e-3, "CPU"
    )
    dispatch.backend.cache_clear()
    yield
    kernels._destroy()
    dispatch.backend.cache_clear()


@pytest.mark.usefixtures("served_by_a_plug_in")
def test_a_kernel_registered_for_the_device_takes_over_in_the_column() -> None:
    """What a plug-in does: same operator, other backend."""
    config = replace(INT8, has_fp16_weights=False)
    assert paths("linear8bitlt-train", config)["decode/weight"] == "int8_vectorwise_dequant:cpu > torch"


def test_a_native_function_is_given_out_as_it_is() -> None:
    """Argument types are set on the function itself, and a crash in it names the library's line."""
    native = bnb.cextension.lib
    assert native.cdequantize_blockwise_cpu_fp32 is native._lib.cdequantize_blockwise_cpu_fp32


def test_a_library_without_its_binary_raises_what_it_did_and_notes_nothing() -> None:
    """The stand-in that bitsandbytes has for a binary that could not be loaded."""
    native = bnb.cextension.ErrorHandlerMockBNBNativeLibrary("no binary")
    dispatch._watch_native(native)
    dispatch.taken()

    with pytest.raises(RuntimeError, match="native library"):
        native.cdequantize_blockwise_cpu_fp32()
    assert dispatch.taken() == ""
    assert isinstance(native, bnb.cextension.ErrorHandlerMockBNBNativeLibrary)


def test_every_step_taken_is_among_those_listed() -> None:
    """The list comes from the source, the steps from running it: a step that is not listed is a hole in the list."""
    listed = {step["path"] for step in dispatch.paths(bnb, "cpu")}
    configs = [(case, config) for case, config, _ in BY_HAND.values()]
    configs += [("linear4bit-nf4-eval", replace(NF4, mode="eval", nested=nested)) for nested in (False, True)]
    taken = {step for case, config in configs for path in paths(case, config).values() for step in steps(path)}

    assert taken <= listed
    assert len(taken) > 25


COMPARISON = """
import json, sys
sys.path[:0] = {paths!r}
from accuracy import dispatch
watch, dispatch.watch = dispatch.watch, lambda library: None
import bitsandbytes
from test_dispatch import BY_HAND
from layers import measured
def rows():
    return [
        {{name: value for name, value in row.items() if name not in ("path", "seconds")}}
        for case, config, _ in BY_HAND.values() for row in measured(case, config)
    ]
from accuracy import subjects
without = repr(rows())
watch(bitsandbytes)
print(json.dumps([without == repr(rows()), len(without), len(dispatch.taken())]))
"""


def test_noting_changes_no_bit_of_any_result() -> None:
    """The same layers in one process, first as the library is, then watched: every number and digest is the same."""
    code = COMPARISON.format(paths=[str(ROOT), str(ROOT / "tests")])
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    equal, length, _ = json.loads(ended.stdout.splitlines()[-1])
    assert equal
    assert length > 10_000
