"""The inner loop of the library's own backprop test beside the same layers, batches and thread in this harness.

The loop is written out as upstream has it (`tests/test_modules.py`, `test_kbit_backprop`): 36→84→128, batches of
16, nine kinds of layer in two dtypes, four mean errors and two assertions a step.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch
from torch import nn

from accuracy.case import Dtype, Linear4bitConfig, Linear8bitConfig, Task
from accuracy.selftest.published import BATCH, BIAS_ATOL, FIRST, LAST, RTOL, SECOND, WEIGHT_ATOL, kinds
from bench import clock, work
from bench.layers import INT8, NF4, now_for
from bench.table import Section, seconds, times
from bench.work import Work

DTYPES: Final[tuple[Dtype, ...]] = ("float16", "bfloat16")
OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "4bit": {"quant_type": "fp4", "nested": True},
    "FP4": {"quant_type": "fp4", "nested": True},
    "NF4": {"quant_type": "nf4", "nested": True},
    "FP4+C": {"quant_type": "fp4", "nested": True},
    "NF4+C": {"quant_type": "nf4", "nested": True},
    "NF4+fp32": {"quant_type": "nf4", "nested": True, "compute_dtype": "float32"},
    "NF4+fp16": {"quant_type": "nf4", "nested": True, "compute_dtype": "float16"},
    "NF4+bf16": {"quant_type": "nf4", "nested": True, "compute_dtype": "bfloat16"},
}
"""What the published 4-bit kinds are; double quantization is the library's default."""

HARNESS: Final = {"harness": "constant", "harness, normal gradient": "normal"}
"""What is measured beside the published loop, and its gradient; that of the loop's `mean()` has one value."""

ELEMENTS: Final = BATCH * LAST + SECOND * FIRST + SECOND
"""Elements that one published step compares: outputs, and gradients of the first weight and bias."""

TENSORS: Final = 3
"""Tensors that it compares."""


def section(device: str, *, batches: int = 100, turns: int = 5) -> Section:
    """Steps and elements a second of both, and their ratio."""
    each_kind = [(kind, dtype) for kind in kinds() for dtype in DTYPES]
    loops = [published(kind, dtype, batches, device) for kind, dtype in each_kind]
    cases = {
        name: [work.of(task(kind, dtype, batches, gradient), device) for kind, dtype in each_kind]
        for name, gradient in HARNESS.items()
    }
    each: dict[str, Callable[[], object]] = {"published": lambda: [loop() for loop in loops]}
    each |= {name: partial(_answers, works) for name, works in cases.items()}
    seen = clock.in_turn(each, turns=turns, now=now_for(device))
    steps = len(loops) * batches
    elements, tensors = {"published": steps * ELEMENTS}, {"published": steps * TENSORS}
    for name, works in cases.items():
        ours = [work.compared(case, batches) for case in works]
        elements[name], tensors[name] = (sum(numbers) for numbers in zip(*ours, strict=True))
    rows = [
        (
            name,
            seconds(seen[name].median),
            seconds(seen[name].median / steps),
            f"{steps / seen[name].median:,.0f}",
            f"{tensors[name] / seen[name].median:,.0f}",
            f"{elements[name] / seen[name].median / 1e6:.3g} million",
        )
        for name in each
    ]
    for name in HARNESS:
        quotient = clock.ratio(seen["published"], seen[name])
        by_tensors, by_elements = (
            replace(quotient, seconds=tuple(each * number[name] / number["published"] for each in quotient.seconds))
            for number in (tensors, elements)
        )
        rows.append((f"{name} ÷ published", "", "", times(quotient), times(by_tensors), times(by_elements)))
    return Section(
        heading="Against the published suite's own inner loop",
        words=f"*Published*: `test_kbit_backprop` of the library, {len(loops)} kinds and dtypes × {batches} batches of "
        f"{BATCH} rows = {steps:,} steps forward and backward through 36→84→128, with its four mean errors and two "
        "assertions; none of them is kept. *Harness*: the k-bit layers of these kinds, dtypes and shapes on as many "
        f"batches of {BATCH} rows and with a gradient of one value, as that of a mean is; they share one quantized "
        "weight and go through the layer together. Drawing, quantizing, float64 oracles of codes, scales and decoded "
        "weight, and the answer over the wire are included; output and input gradient of every batch are compared with "
        "float64 products and with the fp32 layer, and full distributions are kept. A gradient of normal numbers has "
        "to be drawn, and its input gradient is looked through for structure, which one value does not allow. A "
        f"step is one batch, a comparison one tensor of it: three of a published step. One thread, medians of {turns} "
        "turns. Target: at least 5 × the comparisons.",
        columns=("", "all", "a step", "steps/s", "comparisons/s", "elements compared/s"),
        rows=tuple(rows),
    )


def _answers(works: Sequence[Work]) -> list[bytes]:
    return [work.whole(each) for each in works]


def task(kind: str, dtype: Dtype, batches: int, gradient: str) -> Task:
    """The k-bit layer of one published kind on that many batches, with a gradient so distributed."""
    shared: dict[str, Any] = {
        "mode": "train",
        "dtype": dtype,
        "batch": (batches, BATCH),
        "in_features": SECOND,
        "out_features": LAST,
        "weight": "kaiming_normal",
        "weight_dtype": dtype,
        "gradient": gradient,
    }
    if kind == "Int8Lt":
        int8: Linear8bitConfig = replace(INT8, **shared, has_fp16_weights=True)
        return Task(case="linear8bitlt-fp16-weights-train", config=int8, seed=7, origin="sample")
    four: Linear4bitConfig = replace(NF4, **shared, **OPTIONS[kind])
    return Task(case=f"linear4bit-{four.quant_type}-train", config=four, seed=7, origin="sample")


def published(kind: str, dtype: Dtype, batches: int, device: str) -> Callable[[], float]:
    """The loop over one kind, ready to run; it returns the mean of its mean errors, so that they are of some use."""
    wanted: torch.dtype = getattr(torch, dtype)
    reference: Any = nn.Sequential(nn.Linear(FIRST, SECOND), nn.Linear(SECOND, LAST))
    for layer in reference:
        nn.init.kaiming_normal_(layer.weight)
    reference[1].weight.requires_grad = False
    kbit: Any = nn.Sequential(nn.Linear(FIRST, SECOND), kinds()[kind](SECOND, LAST))
    with torch.no_grad():
        for mine, its in zip(kbit, reference, strict=True):
            mine.weight.copy_(its.weight)
            mine.bias.copy_(its.bias)
    kbit[1].weight.requires_grad = False
    reference, kbit = (net.to(device=device, dtype=wanted) for net in (reference, kbit))
    return partial(_loop, reference, kbit, batches, wanted, device)


def _loop(reference: Any, kbit: Any, batches: int, dtype: torch.dtype, device: str) -> float:
    means: tuple[list[float], ...] = ([], [], [], [])
    for _ in range(batches):
        batch = torch.randn(BATCH, FIRST, device=device, dtype=dtype)
        one, other = reference(batch), kbit(batch)
        one.mean().backward()
        other.mean().backward()
        grad, its = reference[0].weight.grad, kbit[0].weight.grad
        bias, its_bias = reference[0].bias.grad, kbit[0].bias.grad
        error, grad_error = (one - other).abs().float(), (grad - its).abs().float()
        relative = error / (one.abs().float() + 1e-9)
        grad_relative = grad_error / (grad.abs().float() + 1e-9)
        for kept, values in zip(means, (error, grad_error, relative, grad_relative), strict=True):
            kept.append(values.mean().item())
        (~torch.isclose(grad, its, atol=WEIGHT_ATOL, rtol=RTOL)).sum().item()
        with suppress(AssertionError):  # what it says is not measured here
            torch.testing.assert_close(bias, its_bias, atol=BIAS_ATOL, rtol=RTOL)
        reference.zero_grad()
        kbit.zero_grad()
    return sum(map(sum, means)) / batches
