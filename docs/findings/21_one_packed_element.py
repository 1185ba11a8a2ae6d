"""F21: a weight that packs into a single storage element is decoded transposed."""

import sys

import bitsandbytes as bnb
import torch

torch.manual_seed(0)
layer = bnb.nn.Linear4bit(2, 2, bias=False, quant_type="nf4", quant_storage=torch.float16)
layer = layer.to("cpu").train()
weight = layer(torch.eye(2)).detach().T
x = torch.zeros(1, 2, requires_grad=True)
layer(x)[0, 1].backward()
print(f"2->2 in float16: gradient of output 1 seen {x.grad[0].tolist()}, wanted {weight[1].tolist()}")

embedding = bnb.nn.Embedding4bit(1, 2, quant_type="nf4").to("cpu")
shape = tuple(embedding(torch.tensor([0])).shape)
print(f"Embedding4bit(1, 2)([0]): shape seen {shape}, wanted {(1, 2)}")
sys.exit(not torch.equal(x.grad[0], weight[1]) or shape != (1, 2))
