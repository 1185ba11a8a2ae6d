"""F29: on CUDA, Linear8bitLt reads a non-contiguous float16 input as if it were contiguous."""

import sys

import bitsandbytes as bnb
import torch

if not torch.cuda.is_available():
    sys.exit(2)  # this needs a CUDA device
torch.manual_seed(0)
layer = bnb.nn.Linear8bitLt(64, 32, bias=False, has_fp16_weights=False).half().cuda().eval()
wide = torch.randn(8, 64, 2, dtype=torch.float16, device="cuda")
with torch.no_grad():
    contiguous, strided = layer(wide[..., 0].contiguous()), layer(wide[..., 0])
error = ((strided.double() - contiguous.double()).norm() / contiguous.double().norm()).item()
print(f"the same input as a view differs by {error:.3f} of the output, expected 0")
sys.exit(error > 0)
