"""F40: the bias' gradient of an input of rank 3 is rounded to 16 bits halfway: infinite where its sum is not."""

import sys

import bitsandbytes as bnb
import torch

rows = torch.full((2, 3, 32), 40000.0, dtype=torch.float16)
rows[:, 1:] *= torch.tensor([[-1.0], [0.5]], dtype=torch.float16)  # 80000, -80000 and 40000: together 40000
wanted = rows.double().sum(dim=(0, 1))

failed = False
makers = {
    "Linear4bit": lambda: bnb.nn.Linear4bit(64, 32, compute_dtype=torch.float16, quant_type="nf4"),
    "Linear8bitLt": lambda: bnb.nn.Linear8bitLt(64, 32, has_fp16_weights=False),
    "torch.nn.Linear": lambda: torch.nn.Linear(64, 32),
}
for name, make in makers.items():
    layer = make().half().to("cpu").train()
    layer(torch.randn(2, 3, 64, dtype=torch.float16, requires_grad=True)).backward(rows)
    seen = layer.bias.grad
    print(f"{name}: the bias' gradient is {seen[0].item()}, wanted {wanted[0].item()}")
    failed |= not torch.allclose(seen.double(), wanted)
sys.exit(failed)
