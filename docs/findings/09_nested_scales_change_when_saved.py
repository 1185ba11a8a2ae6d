"""F09: saving a double-quantized Linear4bit after an eval forward quantizes its scales a second time."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
layer = bnb.nn.Linear4bit(128, 64, bias=False, quant_type="nf4", compress_statistics=True)
layer = layer.to("cpu").train()
x = torch.randn(8, 128)
before, output = {key: value.clone() for key, value in layer.state_dict().items()}, layer(x)

layer.eval()
with torch.no_grad():
    layer(x)
after = layer.state_dict()
changed = layer.train()(x)

different = [key for key in before if not torch.equal(before[key], after[key])]
error = ((changed - output).norm() / output.norm()).item()
print(f"entries of the state_dict that an eval forward changed: seen {different}, wanted []")
print(f"output of the same layer afterwards: relative change seen {error:.1e}, wanted 0")
sys.exit(bool(different) or error != 0)
