"""F31: on CUDA, the 4-bit kernel for few rows rounds codes, scales and each product to 16 bits, and can overflow."""

import sys

import bitsandbytes as bnb
import torch

if not torch.cuda.is_available():
    sys.exit(2)  # this needs a CUDA device
torch.manual_seed(0)
layer = (
    bnb.nn.Linear4bit(512, 64, bias=False, quant_type="nf4", compute_dtype=torch.float16, compress_statistics=False)
    .cuda()
    .eval()
)
weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).half()
x = torch.randn(1, 512, dtype=torch.float16, device="cuda")
large = torch.full((1, 512), 6.0e4, dtype=torch.float16, device="cuda")
layer.weight.quant_state.absmax.mul_(32)
weight.mul_(32)
with torch.no_grad():
    output, overflow = layer(x), layer(large)
exact = x.double() @ weight.double().T
error = ((output.double() - exact).norm() / exact.norm()).item()
print(f"relative error {error:.1e}, one rounding gives 2e-4; NaN where a product overflows: {overflow.isnan().sum()}")
sys.exit(error > 4e-4 or bool(overflow.isnan().any()))
