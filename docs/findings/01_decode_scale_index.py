"""F01: 4-bit decode takes the wrong block scale when in_features % 16 == 0 and % blocksize != 0 (AVX-512)."""

import sys

import bitsandbytes as bnb
import torch

# Every block of 64 holds one value, so the format itself loses nothing.
weight = (torch.arange(4 * 96) // 64 + 1.0).reshape(4, 96)
linear = bnb.nn.Linear4bit(96, 4, bias=False, quant_type="nf4", compress_statistics=False)
embedding = bnb.nn.Embedding4bit(4, 96, quant_type="nf4")
linear.weight.data.copy_(weight)
embedding.weight.data.copy_(weight)
linear, embedding = linear.to("cpu").train(), embedding.to("cpu")

seen = {
    "Linear4bit": linear(torch.eye(96)).detach().T,
    "Embedding4bit": embedding(torch.arange(4)),
}
for name, decoded in seen.items():
    print(f"{name}: last weight seen {decoded[3, 95]:g}, wanted {weight[3, 95]:g}")
    print(f"{name}: wrong weights seen {(decoded != weight).sum()} of {weight.numel()}, wanted 0")
sys.exit(not all(torch.equal(decoded, weight) for decoded in seen.values()))
