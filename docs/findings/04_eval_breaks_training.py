"""F04: after one eval forward, Linear4bit cannot train any more: it raises, or loses the input gradient."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
broken = False
for bias in (True, False):
    layer = bnb.nn.Linear4bit(64, 32, bias=bias, quant_type="nf4").to("cpu").eval()
    with torch.no_grad():
        layer(torch.randn(4, 64))
    x = torch.randn(4, 64, requires_grad=True)
    try:
        layer.train()(x).sum().backward()
        seen = "no input gradient" if x.grad is None else "an input gradient"
    except RuntimeError as error:
        seen = f"RuntimeError: {error}"
    print(f"bias={bias}, eval forward, then train: seen {seen}; wanted an input gradient")
    broken |= x.grad is None
sys.exit(broken)
