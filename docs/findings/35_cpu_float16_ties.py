"""F35: on the CPU, a build of the library for CUDA decodes to float16 with ties rounded up instead of to even."""

import sys

import bitsandbytes as bnb
import torch

# Odd multiples of 1/2048 lie half way between two float16 values of [1, 2).
values = 1 + (2 * torch.arange(512) + 1) / 2048
weight = values.reshape(512, 1).repeat(1, 64)  # each block of 64 holds one value, so the format itself loses nothing
packed, state = bnb.functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
state.dtype = torch.float16
decoded = bnb.functional.dequantize_4bit(packed, state)
wanted = weight.half()
wrong = int((decoded != wanted).sum())
first = int((decoded != wanted).reshape(-1).nonzero()[0]) if wrong else 0
print(
    f"{weight.reshape(-1)[first]:.10f} seen {decoded.reshape(-1)[first]:.10f}, wanted {wanted.reshape(-1)[first]:.10f}"
)
print(f"wrong weights seen {wrong} of {weight.numel()}, wanted 0")
sys.exit(wrong > 0)
