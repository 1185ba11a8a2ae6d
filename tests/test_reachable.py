"""What the source of a library allows, read without running it: a small library made for it, and the pinned one."""

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import bitsandbytes as bnb
import pytest

from accuracy import dispatch, reachable
from accuracy.path import merged, steps

FILES = {
    "__init__.py": "",
    "cextension.py": """
        class Native:
            _lib = type("Binary", (), {"cfast_fp32": 1, "cgemv_fp4": 1})()
        lib = Native()
    """,
    "_ops.py": """
        import torch
        register_kernel = torch.library.register_kernel if False else (lambda *where: lambda kernel: kernel)
    """,
    "backends/__init__.py": "",
    "backends/ops.py": """
        from smalllib._ops import register_kernel
        from smalllib.cextension import lib

        hub_kernel = None

        @register_kernel("bitsandbytes::multiply", "cpu")
        def _(x, dtype):
            if hub_kernel is not None:
                return hub_kernel(x)
            if x.rows % 2:
                return fallback(x)
            if dtype == 1:
                lib.cfast_fp32(x)
            elif dtype == 2:
                lib.cfast_fp16(x)
            return x

        @register_kernel("bitsandbytes::gemv", "cpu")
        def _(x, kind):
            fn = lib.cgemv_fp4 if kind else getattr(lib, f"cgemv_{kind}")
            with lib.get_context():
                fn(x)

        def plain(x):
            return x

        register_kernel("bitsandbytes::plain", None)(plain)

        def fallback(x):
            from smalllib.functional import decode
            return decode(x)
    """,
    "functional.py": """
        import torch

        def decode(x):
            return torch.ops.bitsandbytes.plain.default(x)

        def lost(x):
            torch.ops.bitsandbytes.lost(x)
            return torch.ops.bitsandbytes.gemv(x)
    """,
    "autograd/__init__.py": "",
    "autograd/_functions.py": """
        import torch
        import smalllib.functional as F

        class MatMul:
            apply = None

            @staticmethod
            def forward(ctx, x):
                return torch.ops.bitsandbytes.multiply(x) if x.rows else F.decode(x)

            @staticmethod
            def backward(ctx, x):
                return F.lost(x) if ctx.needed else None

        def matmul(x):
            if x.device.type in ("cpu", "xpu"):
                return MatMul.apply(x)
            return torch.ops.bitsandbytes.gemv.default(x)
    """,
    "nn/__init__.py": "",
    "nn/modules.py": """
        import smalllib
        from smalllib.autograd._functions import matmul

        class Linear4bit:
            def forward(self, x):
                if self.support_avx512bf16_for_cpu and not self.training:
                    return smalllib.functional.lost(x)
                return matmul(x) if self.check(x) else None

            def check(self, x):
                assert x
                return True

        class Embedding8bit:
            def forward(self, x):
                return x
    """,
}
SERVED = {"multiply": "cpu", "gemv": "cpu", "plain": "default"}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for name, text in FILES.items():
        file = tmp_path / "smalllib" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    for name in ("backends.ops", "nn.modules", "autograd._functions", "functional", "cextension"):
        importlib.import_module(f"smalllib.{name}")
    yield importlib.import_module("smalllib")
    for name in set(sys.modules) - before:
        del sys.modules[name]


def listed(library: ModuleType, device_type: str = "cpu") -> dict[str, reachable.Step]:
    found = reachable.steps(library, device_type, lambda operator: SERVED.get(operator, "none"))
    return {step.path: step for step in found}


def test_the_steps_of_a_small_library_are_those_that_its_source_allows(library: ModuleType) -> None:
    """By hand.

    The chain of `elif` names every dtype. The branch for packed weights and a Hub kernel that is None are not taken.
    After an operator without a kernel nothing comes.
    """
    assert sorted(listed(library)) == sorted([
        "layer > MatMul.forward",
        "layer > MatMul.backward",
        "layer > torch",
        "MatMul.forward > multiply:cpu",
        "MatMul.forward > plain:default",
        "MatMul.backward > lost:none",
        "MatMul.backward > torch",
        "multiply:cpu > plain:default",
        "multiply:cpu > cfast_fp32",
        "multiply:cpu > cfast_fp16",
        "plain:default > torch",
    ])  # fmt: skip


def test_another_device_takes_the_branch_for_it(library: ModuleType) -> None:
    """The type of the device is decided, so the autograd function is out; a name made at run time is told as such."""
    found = listed(library, "cuda")

    assert {path for path in found if path.startswith("layer")} == {"layer > gemv:cpu", "layer > torch"}
    assert {path.partition(" > ")[2] for path in found if path.startswith("gemv")} == {
        "cgemv_fp4",
        "getattr(lib, f'cgemv_{kind}')",
    }


def test_a_symbol_that_the_binary_lacks_is_listed_and_said_to_be_missing(library: ModuleType) -> None:
    """As after a rename in the native library that the kernels do not know of."""
    found = listed(library)
    assert {path: step.built for path, step in found.items() if path.startswith("multiply:cpu > c")} == {
        "multiply:cpu > cfast_fp32": True,
        "multiply:cpu > cfast_fp16": False,
    }


def test_steps_say_which_layers_can_take_them(library: ModuleType) -> None:
    found = listed(library)
    assert found["layer > torch"].layers == ("Embedding8bit",)
    assert found["plain:default > torch"].layers == ("Linear4bit",)


def test_a_step_that_no_longer_leads_anywhere_is_gone(library: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list follows the library: what a release removes is not asked for."""
    monkeypatch.setattr(library.nn.modules.Linear4bit, "forward", library.nn.modules.Embedding8bit.forward)
    assert list(listed(library)) == ["layer > torch"]
    assert listed(library)["layer > torch"].layers == ("Embedding8bit", "Linear4bit")


def test_the_pinned_library_lists_what_a_reader_finds_in_its_source() -> None:
    """Some steps of each kind, and no optimizer: no layer calls one."""
    found = {step["path"]: step for step in dispatch.paths(bnb, "cpu")}

    assert {f"dequantize_4bit:cpu > cdequantize_blockwise_cpu_{q}_{t}" for q in ("nf4", "fp4") for t in DTYPES} < {
        *found
    }
    assert {"dequantize_4bit:cpu > torch", "layer > MatMul8bitFp.forward", "layer > MatMul8bitLt.backward"} < {*found}
    assert all(step["built"] for step in found.values())
    assert not [path for path in found if "optimizer" in path or ".out" in path]
    assert "never double-quantized" in str(found["layer > quantize_blockwise:cpu"]["unreached"])


DTYPES = ("fp32", "fp16", "bf16")


def test_a_path_is_its_steps_each_once() -> None:
    path = "a > b > c; a > d > raised; a > b > e"
    assert list(steps(path)) == ["layer > a", "a > b", "b > c", "a > d", "b > e"]
    assert list(steps("")) == []


def test_merging_keeps_the_order_and_drops_what_was_there() -> None:
    assert merged("a > b; c", "", "c; d") == "a > b; c; d"
