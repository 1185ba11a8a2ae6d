"""The kinds of devices that need no package of their own, in the order in which they are listed."""

from accuracy.adapters import cpu, cuda, hpu, mps, xpu

BUILT_IN = (cpu.ADAPTER, cuda.ADAPTER, xpu.ADAPTER, hpu.ADAPTER, mps.ADAPTER)
