"""F19: .to(dtype) on a quantized layer with a float quant_storage converts the packed codes as numbers."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
broken = False
for storage, dtype in (
    (torch.uint8, torch.float16),
    (torch.bfloat16, torch.float16),
    (torch.float16, torch.bfloat16),
    (torch.bfloat16, torch.float32),
):
    layer = bnb.nn.Linear4bit(64, 32, bias=False, quant_type="nf4", quant_storage=storage)
    weight, x = layer.weight.data.clone(), torch.randn(8, 64)
    try:
        y = layer.to("cpu").to(dtype).train()(x.to(dtype)).float()
        error = ((y - x @ weight.T).norm() / (x @ weight.T).norm()).item()
        seen = f"relative error {error:.2g}"
    except RuntimeError as raised:
        error, seen = float("nan"), f"RuntimeError: {raised}"
    print(f"quant_storage {storage}, then .to({dtype}): seen {seen}; wanted at most 0.15")
    broken |= not error <= 0.15
sys.exit(broken)
