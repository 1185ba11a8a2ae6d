"""F08: Linear4bit in eval computes in bfloat16 whatever compute_dtype asks for (AVX512-BF16 CPUs)."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
broken = False
for dtype, limit in ((torch.float32, 1e-6), (torch.float16, 5e-4)):
    layer = bnb.nn.Linear4bit(256, 128, bias=False, quant_type="nf4", compute_dtype=dtype)
    layer = layer.to(dtype).to("cpu")
    weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).double()
    x = torch.randn(64, 256).to(dtype)
    wanted = x.double() @ weight.T
    for mode in ("train", "eval"):
        with torch.no_grad():
            y = layer.train(mode == "train")(x).double()
        error = ((y - wanted).norm() / wanted.norm()).item()
        print(f"{dtype}, {mode}: relative error seen {error:.1e}, wanted at most {limit:.0e}")
        broken |= not error <= limit
sys.exit(broken)
