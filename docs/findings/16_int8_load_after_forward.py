"""F16: Linear8bitLt refuses its own state_dict once it has run, and says it was not quantized."""

import sys

import bitsandbytes as bnb
import torch

layer = bnb.nn.Linear8bitLt(64, 32, has_fp16_weights=False).to("cpu").eval()
saved = {key: value.clone() for key, value in layer.state_dict().items()}
layer.load_state_dict(saved)
with torch.no_grad():
    layer(torch.ones(2, 64))
try:
    layer.load_state_dict(saved)
    seen = "loaded"
except RuntimeError as error:
    seen = f"RuntimeError: {error}"
print(f"load_state_dict: loaded before the first forward; after it seen {seen!r}, wanted 'loaded'")
sys.exit(seen != "loaded")
