"""F32: on CUDA, the result of Linear8bitLt passes through float16, also for float32 and bfloat16 inputs."""

import sys

import bitsandbytes as bnb
import torch

if not torch.cuda.is_available():
    sys.exit(2)  # this needs a CUDA device
torch.manual_seed(0)
layer = bnb.nn.Linear8bitLt(64, 32, bias=False, has_fp16_weights=False).cuda().eval()
x = torch.randn(8, 64, device="cuda")
with torch.no_grad():
    output, large = layer(x), layer(x * 3.0e4)
exactly_float16 = torch.equal(output, output.half().float())
print(f"every output is a float16 number: {exactly_float16}; infinities at 3e4 times the input: {large.isinf().sum()}")
sys.exit(exactly_float16 or bool(large.isinf().any()))
