"""F25: backward of Linear4bit rounds the weight to the dtype it had before quantization, forward does not."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
layer = bnb.nn.Linear4bit(256, 128, bias=False, quant_type="nf4", compute_dtype=torch.float32)
layer = layer.to(torch.bfloat16).to("cpu").train()
forward = layer(torch.eye(256)).detach().T
x = torch.zeros(1, 256, requires_grad=True)
backward = torch.stack([torch.autograd.grad(layer(x)[0, row], x)[0][0] for row in range(128)])
error = ((backward - forward).norm() / forward.norm()).item()
print(f"weight seen by backward against that seen by forward: {error:.1e} apart, wanted at most 1e-6")
sys.exit(not error <= 1e-6)
