"""F23: the 8-bit quantizer behind double quantization does not pick the nearest code; zero is not kept."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
x = torch.cat([torch.zeros(1), torch.randn(4095)])
codes, state = bnb.functional.quantize_blockwise(x, blocksize=256)
decoded = bnb.functional.dequantize_blockwise(codes, state)
table = state.code.double()
v = x.double() / state.absmax.double().repeat_interleave(256)
nearest = (v[:, None] - table).abs().min(dim=1).values
excess = (v - table[codes.long()]).abs() - nearest
print(f"codes that are not the nearest (beyond 1e-6): seen {(excess > 1e-6).sum()} of 4096, wanted 0")
print(f"largest excess, in units of the block's maximum: seen {excess.max():.1e}, wanted at most 1e-6")
print(f"zero decodes to: seen {decoded[0]:.1e}, wanted 0")
sys.exit(not excess.max() <= 1e-6)
