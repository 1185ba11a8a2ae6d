"""F41: on CUDA, a block of zeros is stored as -1 in NF4, and a double-quantized scale of it is not zero."""

import sys

import bitsandbytes as bnb
import torch

if not torch.cuda.is_available():
    sys.exit(2)  # this needs a CUDA device
torch.manual_seed(0)
weight = torch.randn(64, 256, device="cuda") * 0.05
weight[::2] = 0  # as pruning leaves them, or padding
packed, state = bnb.functional.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
decoded = bnb.functional.dequantize_4bit(packed, state)
largest = decoded[::2].abs().max().item()
others = weight[1::2].abs().mean().item()
print(f"rows of zeros become {largest:.2g} at most, wanted 0; the others are {others:.2g} on average")
sys.exit(largest > 0)
