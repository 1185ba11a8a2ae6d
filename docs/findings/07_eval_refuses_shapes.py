"""F07: shapes that Linear4bit builds, quantizes and trains raise in eval (AVX512-BF16 CPUs)."""

import sys

import bitsandbytes as bnb
import torch

broken = False
for in_features, out_features, why in (
    (64, 32, "in_features % 64 == 0 and out_features % 32 == 0: the control"),
    (64, 33, "out_features % 32 != 0"),
    (65, 64, "in_features odd"),
    (96, 32, "in_features % blocksize != 0"),
    (32, 32, "in_features < blocksize"),
):
    layer = bnb.nn.Linear4bit(in_features, out_features, quant_type="nf4").to("cpu")
    x = torch.ones(2, in_features)
    layer.train()(x)
    try:
        with torch.no_grad():
            seen = tuple(layer.eval()(x).shape)
    except (AssertionError, RuntimeError) as error:
        seen = f"{type(error).__name__}: {error}"
    print(f"{in_features}->{out_features}, {why}: seen {seen}, wanted {(2, out_features)}")
    broken |= seen != (2, out_features)
sys.exit(broken)
