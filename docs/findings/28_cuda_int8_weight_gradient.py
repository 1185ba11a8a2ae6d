"""F28: on CUDA, the weight gradient of Linear8bitLt pairs row-wise codes with column-wise scales."""

import sys

import bitsandbytes as bnb
import torch

if not torch.cuda.is_available():
    sys.exit(2)  # this needs a CUDA device
torch.manual_seed(0)
layer = bnb.nn.Linear8bitLt(64, 32, bias=False, has_fp16_weights=True).half().cuda()
x = torch.randn(128, 64, dtype=torch.float16, device="cuda")
grad = (
    torch.randn(128, 32, dtype=torch.float16, device="cuda") * torch.logspace(-2, 0, 128, device="cuda").half()[:, None]
)
layer(x).backward(grad)
expected = grad.double().T @ x.double()
error = ((layer.weight.grad.double() - expected).norm() / expected.norm()).item()
print(f"relative error of the weight gradient: {error:.3f}; int8 columns on both sides give about 0.01")
sys.exit(error > 0.05)
