"""F37: in autocast, Linear8bitLt in eval rounds its int8 product to 16 bits where there is no int8 kernel."""

import os
import sys

os.environ["ATEN_CPU_CAPABILITY"] = "avx2"  # before torch: without AVX-512, as on every ARM, there is no int8 kernel

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
worst = 0.0
for dtype in (torch.bfloat16, torch.float16):
    layer = bnb.nn.Linear8bitLt(256, 64, bias=False, has_fp16_weights=False).to(dtype).to("cpu").eval()
    x = torch.randn(8, 256, dtype=dtype)
    with torch.no_grad():
        wanted = layer(x).double()
        with torch.autocast("cpu", dtype=dtype):
            seen = layer(x).double()
    error = ((seen - wanted).norm() / wanted.norm()).item()
    worst = max(worst, error)
    print(f"autocast to {dtype}: output differs by {error:.2g} of it, wanted 0")
sys.exit(worst > 0)
