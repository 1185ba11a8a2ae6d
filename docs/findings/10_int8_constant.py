"""F10: Linear8bitLt in eval multiplies by 6.200124e-05 where 1/127**2 is 6.2000124e-05: 1.8e-5 too large."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
layer = bnb.nn.Linear8bitLt(1024, 256, bias=False, has_fp16_weights=False).to("cpu").eval()
# All inputs of one size and all weights multiples of the scale: int8 loses nothing.
codes, scales = layer.weight.CB.double(), layer.weight.SCB.double()
x = torch.randint(0, 2, (32, 1024)) * 2.0 - 1
with torch.no_grad():
    y = layer(x).double()
wanted = x.double() @ (codes * scales[:, None] / 127).T
slope = ((y * wanted).sum() / (wanted * wanted).sum()).item()
print(f"output / exact output: seen 1 {slope - 1:+.2e}, wanted 1 to within 1e-6")
sys.exit(not abs(slope - 1) <= 1e-6)
