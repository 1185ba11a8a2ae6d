"""F36: in bfloat16 an infinity in the last of an odd number of features gives NaN (torch, AVX-512 without BF16)."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
layer = bnb.nn.Linear4bit(65, 96, bias=False, quant_type="nf4", compute_dtype=torch.bfloat16)
layer.weight.data.abs_().add_(1.0)  # all positive, so nothing cancels
layer = layer.to("cpu").train()
x = torch.ones(4, 65, dtype=torch.bfloat16)
x[0, -1] = torch.inf
outputs = layer(x)[0]
print(f"NaN seen in {int(outputs.isnan().sum())} of {outputs.numel()} outputs, wanted in none: each is +inf")
sys.exit(bool(outputs.isnan().any()))
