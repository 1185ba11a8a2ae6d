"""F15: Linear8bitLt with in_features=1 returns uninitialised memory in eval (AVX-512, through torch._int_mm)."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
layer = bnb.nn.Linear8bitLt(1, 64, bias=False, has_fp16_weights=False)
weight = layer.weight.data.clone()
layer = layer.to("cpu").eval()
x = torch.randn(8, 1)
with torch.no_grad():
    y = layer(x)
wanted = x @ weight.T
print(f"largest output: seen {y.abs().max():.3g}, wanted {wanted.abs().max():.3g}")
sys.exit(not torch.allclose(y, wanted, rtol=0.02, atol=0.02))
