"""F03: after one eval forward, state_dict() holds the block scales transposed, and so does the layer."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
layer = bnb.nn.Linear4bit(128, 32, bias=False, quant_type="nf4", compress_statistics=False)
layer.weight.data.mul_(torch.logspace(-2, 0, 32)[:, None])  # rows of different size
layer = layer.to("cpu").train()
x = torch.randn(8, 128)
before, output = layer.state_dict()["weight.absmax"].clone(), layer(x)

layer.eval()
with torch.no_grad():
    layer(x)
after = layer.state_dict()["weight.absmax"].clone()
changed = layer.train()(x)

error = ((changed - output).norm() / output.norm()).item()
print(f"saved scales: seen {tuple(after.shape)} {after.dtype}, wanted {tuple(before.shape)} {before.dtype}")
print(f"output of the same layer afterwards: relative change seen {error:.2g}, wanted at most 0.01")
sys.exit(after.shape != before.shape or not torch.equal(after, before) or not error <= 0.01)
