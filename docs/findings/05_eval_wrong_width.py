"""F05: Linear4bit in eval accepts an input of the wrong width and reads memory that is not its own."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
broken = False
for width in (32, 63, 128):
    layer = bnb.nn.Linear4bit(64, 96, bias=False, quant_type="nf4").to("cpu").eval()
    try:
        with torch.no_grad():
            y = layer(torch.ones(3, width))
        seen = f"an output of shape {tuple(y.shape)}, largest value {y.abs().max():.2g}"
        broken = True
    except (RuntimeError, ValueError, AssertionError) as error:
        seen = f"{type(error).__name__}: {error}"
    print(f"in_features 64, input (3, {width}): seen {seen}; wanted an exception that names the shapes")
sys.exit(broken)
