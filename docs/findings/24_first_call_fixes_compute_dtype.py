"""F24: Linear4bit without compute_dtype computes for ever in the dtype of its first input."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
layer = bnb.nn.Linear4bit(256, 128, bias=False, quant_type="nf4").to("cpu").train()
x = torch.randn(32, 256)
weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).double()
wanted = x.double() @ weight.T
layer(x.bfloat16())
y = layer(x)
error = ((y.double() - wanted).norm() / wanted.norm()).item()
print(f"float32 input after one bfloat16 input: relative error seen {error:.1e}, wanted at most 1e-6")
sys.exit(not error <= 1e-6)
