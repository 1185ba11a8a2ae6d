"""F18: the bias gradient raises for an input of rank 1 (Linear4bit and Linear8bitLt in train)."""

import sys

import bitsandbytes as bnb
import torch

broken = False
for layer in (bnb.nn.Linear4bit(64, 32), bnb.nn.Linear8bitLt(64, 32, has_fp16_weights=False)):
    layer.to("cpu").train()
    try:
        layer(torch.ones(64, requires_grad=True)).sum().backward()
        seen = tuple(layer.bias.grad.shape)
    except RuntimeError as error:
        seen = f"RuntimeError: {error}"
    print(f"{type(layer).__name__}, input (64,): bias gradient seen {seen}, wanted (32,)")
    broken |= seen != (32,)
sys.exit(broken)
