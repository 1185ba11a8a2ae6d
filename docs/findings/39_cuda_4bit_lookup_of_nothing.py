"""F39: on CUDA, an Embedding4bit that is asked for no row ends the process, and no exception says so."""

import sys

import bitsandbytes as bnb
import torch

if not torch.cuda.is_available():
    sys.exit(2)  # this needs a CUDA device
table = bnb.nn.Embedding4bit(128, 64, quant_type="nf4").cuda()
print("if nothing but an error of ops.cu follows, C code ended this process, with exit code 1", flush=True)
rows = table(torch.empty(0, dtype=torch.int64, device="cuda"))
print(f"no row number gives rows of shape {tuple(rows.shape)}")
