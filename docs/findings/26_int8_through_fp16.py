"""F26: int8 layers pass weights through float16: tiny rows vanish, large rows become NaN."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
broken = False
for scale in (1.0, 1e-7, 1e-8, 1e5):
    embedding = bnb.nn.Embedding8bit(16, 64)
    linear = bnb.nn.Linear8bitLt(64, 16, bias=False, has_fp16_weights=False)
    weight = torch.randn(16, 64) * scale
    embedding.weight.data.copy_(weight)
    linear.weight.data.copy_(weight)
    rows = embedding.to("cpu")(torch.arange(16))
    columns = linear.to("cpu").train()(torch.eye(64)).detach().T
    for name, decoded in (("Embedding8bit", rows), ("Linear8bitLt", columns)):
        error = ((decoded - weight).norm() / weight.norm()).item()
        print(f"{name}, weights of size {scale:g}: relative error seen {error:.2g}, wanted at most 0.02")
        broken |= not error <= 0.02
sys.exit(broken)
