"""F14: Linear8bitLt in eval raises for inputs of rank 1 and 4, or returns another shape."""

import sys

import bitsandbytes as bnb
import torch

broken = False
for shape in ((4, 64), (2, 4, 64), (64,), (2, 3, 4, 64), (2, 1, 1, 64)):
    layer = bnb.nn.Linear8bitLt(64, 32, has_fp16_weights=False).to("cpu").eval()
    wanted = (*shape[:-1], 32)
    try:
        with torch.no_grad():
            seen = tuple(layer(torch.ones(shape)).shape)
    except (IndexError, RuntimeError) as error:
        seen = f"{type(error).__name__}: {error}"
    print(f"input {shape}: seen {seen}, wanted {wanted}")
    broken |= seen != wanted
sys.exit(broken)
