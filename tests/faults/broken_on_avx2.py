"""A library that cannot be imported where vector instructions are limited to AVX2."""

import os

if os.environ.get("ATEN_CPU_CAPABILITY") == "avx2":
    raise RuntimeError("no code for avx2")
