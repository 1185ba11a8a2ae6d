"""F42: on CUDA, a 4-bit product reads words of 16 bytes; an input that begins elsewhere is a misaligned address."""

import sys

import bitsandbytes as bnb
import torch

if not torch.cuda.is_available():
    sys.exit(2)  # this needs a CUDA device
layer = bnb.nn.Linear4bit(256, 64, bias=False, quant_type="nf4", compute_dtype=torch.float16).cuda().eval()
numbers = torch.randn(1 + 17 * 256, dtype=torch.float16, device="cuda")
plain = torch.nn.Linear(256, 64, bias=False, dtype=torch.float16, device="cuda")
try:
    with torch.no_grad():
        for name, each in (("torch.nn.Linear", plain), ("Linear4bit", layer)):
            print(f"{name}, 17 rows from the second number of a buffer on: ", end="", flush=True)
            each(numbers[1:].view(17, 256))
            torch.cuda.synchronize()
            print("computed")
except RuntimeError as error:
    print(str(error).splitlines()[0])
    sys.exit(1)
