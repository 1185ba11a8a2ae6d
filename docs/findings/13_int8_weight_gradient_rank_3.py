"""F13: Linear8bitLt with 16-bit weights raises in backward on CPU unless the input is a matrix."""

import sys

import bitsandbytes as bnb
import torch

broken = False
for shape in ((4, 64), (2, 4, 64), (2, 2, 4, 64)):
    layer = bnb.nn.Linear8bitLt(64, 32, bias=False, has_fp16_weights=True).train()
    x = torch.ones(shape)
    try:
        layer(x).sum().backward()
        seen = f"a gradient, equal to the exact one: {torch.allclose(layer.weight.grad, x.flatten(0, -2).sum(0))}"
    except RuntimeError as error:
        seen = f"RuntimeError: {error}"
    print(f"input {shape}: seen {seen}; wanted a gradient, equal to the exact one: True")
    broken |= not seen.endswith("True")
sys.exit(broken)
