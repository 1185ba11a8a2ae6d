"""F34: on CUDA, the 4-bit matrix kernel writes pairs of outputs, and an odd number of them is a misaligned address."""

import sys

import bitsandbytes as bnb
import torch

if not torch.cuda.is_available():
    sys.exit(2)  # this needs a CUDA device
layer = bnb.nn.Linear4bit(64, 233, bias=False, quant_type="nf4", compute_dtype=torch.float16).cuda().eval()
x = torch.randn(64, 64, dtype=torch.float16, device="cuda")
try:
    with torch.no_grad():
        layer(x)
    torch.cuda.synchronize()
except RuntimeError as error:
    print(f"64 rows, 233 output features: {str(error).splitlines()[0]}")
    sys.exit(1)
print("64 rows, 233 output features: computed")
