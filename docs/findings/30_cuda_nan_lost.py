"""F30: on CUDA, NaN in weights or activations is quantized to an ordinary number, so it does not reach the output."""

import sys

import bitsandbytes as bnb
import torch

if not torch.cuda.is_available():
    sys.exit(2)  # this needs a CUDA device
torch.manual_seed(0)
weight = torch.randn(32, 64, dtype=torch.float16, device="cuda")
weight[0, 0] = torch.nan
packed, state = bnb.functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
four_bit = bnb.functional.dequantize_4bit(packed, state)
layer = bnb.nn.Linear8bitLt(64, 32, bias=False, has_fp16_weights=False).half().cuda().eval()
x = torch.randn(4, 64, dtype=torch.float16, device="cuda")
x[0, 0] = torch.nan
with torch.no_grad():
    output = layer(x)
print(f"NaN in the weight, decoded: {four_bit[0, 0].item()}; NaN in the input, int8 output: {output[0, :3].tolist()}")
sys.exit(not (four_bit.isnan().any() and output[0].isnan().all()))
