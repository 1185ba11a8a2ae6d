"""F12: Linear8bitLt with 16-bit weights keeps computing with old weights while .grad is not None."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
layer = bnb.nn.Linear8bitLt(64, 32, bias=False, has_fp16_weights=True).train()
optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
x = torch.randn(8, 64)
first = layer(x)
first.square().sum().backward()
optimizer.step()
optimizer.zero_grad(set_to_none=False)

with torch.no_grad():
    second = layer(x)
wanted = torch.nn.functional.linear(x, layer.weight.detach())
error = ((second - wanted).norm() / wanted.norm()).item()
print(f"after an optimizer step and zero_grad(set_to_none=False): relative error seen {error:.2g}, wanted < 0.05")
print(f"output equal to that before the step: seen {torch.equal(first, second)}, wanted False")
sys.exit(not error < 0.05)
