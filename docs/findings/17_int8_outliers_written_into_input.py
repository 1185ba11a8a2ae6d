"""F17: Linear8bitLt with a threshold writes into its float16 input, which breaks the backward of others."""

import sys

import bitsandbytes as bnb
import torch

layer = bnb.nn.Linear8bitLt(64, 32, has_fp16_weights=False, threshold=2.0).half().to("cpu").eval()
x = torch.full((4, 64), 0.5, dtype=torch.float16)
x[:, 3] = 8  # an outlier column
x.requires_grad_()
square = x * x  # saves x for backward
y = layer(x)
try:
    (square.sum() + y.sum()).backward()
    seen = "gradients"
except RuntimeError as error:
    seen = f"RuntimeError: {str(error)[:100]}"
print(f"backward of x * x and layer(x): seen {seen}, wanted gradients")
sys.exit(seen != "gradients")
