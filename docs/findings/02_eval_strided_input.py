"""F02: Linear4bit in eval reads a non-contiguous input as if it were contiguous (AVX512-BF16 CPUs)."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
inputs = {
    "transposed, float32": torch.randn(64, 8).T,
    "transposed, bfloat16": torch.randn(64, 8).bfloat16().T,
    "slice of odd row length, bfloat16": torch.randn(8, 65).bfloat16()[:, :64],
    "every second column, bfloat16": torch.randn(8, 128).bfloat16()[:, ::2],
}
broken = False
for name, x in inputs.items():
    layer = bnb.nn.Linear4bit(64, 32, quant_type="nf4").to("cpu").eval()
    with torch.no_grad():
        seen, wanted = layer(x).float(), layer(x.contiguous()).float()
    error = ((seen - wanted).norm() / wanted.norm()).item()
    print(f"{name}: against the same input made contiguous, relative difference seen {error:.2g}, wanted 0")
    broken |= error != 0
sys.exit(broken)
