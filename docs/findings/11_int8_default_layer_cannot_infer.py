"""F11: Linear8bitLt as it is built by default (has_fp16_weights=True) cannot run in eval on CPU."""

import sys

import bitsandbytes as bnb
import torch

layer = bnb.nn.Linear8bitLt(64, 32)
x = torch.ones(2, 64)
layer.train()(x)
try:
    with torch.no_grad():
        seen = tuple(layer.eval()(x).shape)
except NotImplementedError as error:
    seen = f"NotImplementedError: {str(error).splitlines()[0][:80]}"
print(f"train forward works; eval forward: seen {seen}, wanted {(2, 32)}")
sys.exit(seen != (2, 32))
