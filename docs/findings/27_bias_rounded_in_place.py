"""F27: one float16 forward rounds the float32 bias parameter for good (Linear4bit and Linear8bitLt)."""

import sys

import bitsandbytes as bnb
import torch

broken = False
for layer in (bnb.nn.Linear4bit(64, 32), bnb.nn.Linear8bitLt(64, 32, has_fp16_weights=False)):
    torch.nn.init.constant_(layer.bias, 1 / 3)
    layer.to("cpu").train()
    layer(torch.ones(2, 64, dtype=torch.float16))
    layer(torch.ones(2, 64))
    error = (layer.bias[0].double() - 1 / 3).abs().item()
    print(f"{type(layer).__name__}: bias of 1/3 after float16, then float32: off by {error:.1e}, wanted at most 1e-8")
    broken |= not error <= 1e-8
sys.exit(broken)
