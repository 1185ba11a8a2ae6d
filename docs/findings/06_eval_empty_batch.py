"""F06: an empty batch in eval kills the process with SIGFPE (Linear4bit, AVX512-BF16 CPUs)."""

import subprocess
import sys

CHILD = """
import bitsandbytes as bnb
import torch

layer = bnb.nn.Linear4bit(64, 32, quant_type="nf4").to("cpu").eval()
with torch.no_grad():
    assert layer(torch.zeros(0, 64)).shape == (0, 32)
"""
code = subprocess.run([sys.executable, "-c", CHILD], check=False).returncode
print(f"input (0, 64): exit code of the process seen {code} (-8 is SIGFPE), wanted 0")
sys.exit(code != 0)
