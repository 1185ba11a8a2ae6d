"""F22: Embedding4bit raises for a scalar index when the dimension is a multiple of 64."""

import sys

import bitsandbytes as bnb
import torch

broken = False
for dim in (65, 64):
    embedding = bnb.nn.Embedding4bit(4, dim, quant_type="nf4").to("cpu")
    try:
        seen = tuple(embedding(torch.tensor(1)).shape)
    except AssertionError as error:
        seen = f"AssertionError: {error}"
    print(f"dimension {dim}, index tensor(1): seen {seen}, wanted {(dim,)}")
    broken |= seen != (dim,)

packed, state = bnb.functional.quantize_4bit(torch.ones(64), quant_type="nf4")
shape = tuple(bnb.functional.dequantize_4bit(packed, state).shape)
print(f"quantize and dequantize a tensor of shape (64,): seen {shape}, wanted (64,)")
sys.exit(broken or shape != (64,))
