"""The assertion of the library's own `test_kbit_backprop`, as it is evaluated there, beside our own measurement.

A first layer 36→84 and a k-bit layer 84→128, batch 16, mean loss; the gradients of the first layer are compared
with those of an unquantized pair. Upstream tests `isinstance` on the class, so its tighter limit for int8 never
applies. Outputs and the k-bit layer's own gradients are not asserted there.

This module runs in a worker: `measure` answers a task of the plan as the pipeline does, and a published one
by running the assertion.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from accuracy.case import Observation, Stage
from accuracy.rows import Measured, apart
from accuracy.selftest import plant
from accuracy.selftest.tasks import CASE, split_origin

BATCH: Final = 16
FIRST, SECOND, LAST = 36, 84, 128
WEIGHT_ATOL: Final = 0.015  # the three tolerances and the count are upstream's, quoted
BIAS_ATOL: Final = 0.02
RTOL: Final = 0.05
OUTLIERS: Final = 1


def measure(task: Mapping[str, Any], device: str) -> Measured:
    """The observations of a task under the fault, of the size, that the task's origin names."""
    from accuracy.measure import measure as measure_case

    origin, fault, size = split_origin(task["origin"])
    plant.wake(fault, size, proving=task["case"] != CASE)
    if task["case"] != CASE:
        return measure_case({**task, "origin": origin}, device)
    config = task["config"]
    seen = assertion(config["kind"], config["dtype"], config["batches"])
    row = Observation(
        id=task["id"],
        case=CASE,
        config=task["text"],
        seed=str(task["seed"]),
        origin=origin,
        device=device,
        device_name="",
        dtype=config["dtype"],
        mode="train",
        stage=Stage.CONTRACT.value,
        quantity="assertion",
        count=1,
        ratio=math.inf if seen else 0.0,
        observed=seen,
    )
    return apart([asdict(row)])


def assertion(kind: str, dtype: str, batches: int) -> str:
    """What the published assertion says of one kind of layer: nothing if it holds, else the first failure."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    wanted = getattr(torch, dtype)
    first, second = nn.Linear(FIRST, SECOND), nn.Linear(SECOND, LAST)
    nn.init.kaiming_normal_(first.weight)
    nn.init.kaiming_normal_(second.weight)
    reference = nn.Sequential(first, second)
    second.weight.requires_grad = False
    quantized: Any = nn.Sequential(nn.Linear(FIRST, SECOND), kinds()[kind](SECOND, LAST))
    with torch.no_grad():
        for mine, its in zip(quantized, reference, strict=True):
            mine.weight.copy_(its.weight)
            mine.bias.copy_(its.bias)
    quantized[1].weight.requires_grad = False
    reference = reference.to(wanted)
    quantized = quantized.to(wanted).to("cpu")
    try:
        for _ in range(batches):
            batch = torch.randn(BATCH, FIRST, dtype=wanted)
            reference(batch).mean().backward()
            quantized(batch).mean().backward()
            outside = ~torch.isclose(first.weight.grad, quantized[0].weight.grad, atol=WEIGHT_ATOL, rtol=RTOL)  # type: ignore[arg-type]  # there after backward
            if outside.sum() > OUTLIERS:
                return f"{int(outside.sum())} elements of the weight gradient are outside"
            torch.testing.assert_close(first.bias.grad, quantized[0].bias.grad, atol=BIAS_ATOL, rtol=RTOL)
            reference.zero_grad()
            quantized.zero_grad()
    except Exception as error:  # noqa: BLE001 - a test that raises has failed
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
    return ""


def kinds() -> dict[str, Any]:
    """The layers of the published test, by its own names."""
    import torch
    from bitsandbytes import nn

    def compressed(layer: Any, **options: Any) -> Any:
        return partial(layer, compress_statistics=True, **options)

    return {
        "Int8Lt": nn.Linear8bitLt,
        "4bit": nn.Linear4bit,
        "FP4": nn.LinearFP4,
        "NF4": nn.LinearNF4,
        "FP4+C": compressed(nn.LinearFP4),
        "NF4+C": compressed(nn.LinearNF4),
        **{
            f"NF4+{short}": compressed(nn.LinearNF4, compute_dtype=getattr(torch, dtype))
            for short, dtype in (("fp32", "float32"), ("fp16", "float16"), ("bf16", "bfloat16"))
        },
    }
