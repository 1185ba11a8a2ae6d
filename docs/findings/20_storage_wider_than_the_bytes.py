"""F20: a quant_storage wider than one byte raises unless it divides the number of packed bytes."""

import sys

import bitsandbytes as bnb
import torch

broken = False
for in_features, out_features, storage in (
    (64, 64, torch.float32),
    (65, 33, torch.bfloat16),
    (65, 33, torch.float32),
    (66, 1, torch.float32),
    (4, 1, torch.bfloat16),
):
    layer = bnb.nn.Linear4bit(in_features, out_features, quant_type="nf4", quant_storage=storage)
    try:
        layer = layer.to("cpu").train()
        seen = tuple(layer(torch.ones(2, in_features)).shape)
    except RuntimeError as error:
        seen = f"RuntimeError: {error}"
    print(f"{in_features}->{out_features} in {storage}: seen {seen}, wanted {(2, out_features)}")
    broken |= seen != (2, out_features)
sys.exit(broken)
