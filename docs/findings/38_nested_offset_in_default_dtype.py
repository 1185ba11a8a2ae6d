"""F38: the state dict of a double-quantized layer, loaded while torch's default dtype has 16 bits, is off."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
made = {"bias": False, "compute_dtype": torch.float32, "quant_type": "nf4"}
layer = bnb.nn.Linear4bit(512, 128, compress_statistics=True, **made).to("cpu")
state = layer.state_dict()
statistics = {key.removeprefix("weight."): value for key, value in state.items() if key.startswith("weight.")}
x = torch.randn(8, 512, requires_grad=True)
wanted = layer.train()(x).double()

torch.set_default_dtype(torch.bfloat16)  # as loaders of models do
loaded = bnb.nn.Linear4bit(512, 128, **made)
loaded.weight = bnb.nn.Params4bit.from_prequantized(state["weight"], statistics, device="cpu", module=loaded)
torch.set_default_dtype(torch.float32)

seen = loaded.train()(x).double()
error = ((seen - wanted).norm() / wanted.norm()).item()
print(f"offset is {loaded.weight.quant_state.offset.dtype}, wanted {layer.weight.quant_state.offset.dtype}")
print(f"output differs by {error:.2g} of it, wanted 0")
sys.exit(error > 0)
