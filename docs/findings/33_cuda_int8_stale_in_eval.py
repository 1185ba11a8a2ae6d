"""F33: on CUDA, Linear8bitLt with fp16 weights keeps the first codes in eval mode, whatever becomes of the weight."""

import sys

import bitsandbytes as bnb
import torch

if not torch.cuda.is_available():
    sys.exit(2)  # this needs a CUDA device
torch.manual_seed(0)
layer = bnb.nn.Linear8bitLt(64, 32, bias=False, has_fp16_weights=True).half().cuda().eval()
x = torch.randn(8, 64, dtype=torch.float16, device="cuda")
with torch.no_grad():
    before = layer(x)
    layer.weight.neg_()
    after = layer(x)
stale = torch.equal(before, after)
print(f"after the weight was negated, the output is unchanged: {stale}; expected its negative")
sys.exit(stale)
