"""Planted workloads that need an NVIDIA device."""

import ctypes
import time

import bitsandbytes
import torch

from accuracy.rows import Measured, apart
from faults.workloads import Task, row


def on_cuda(task: Task, device: str) -> Measured:
    """A product on the device whose value depends on the seed alone, after the fault that the config's weight names."""
    fault = task["config"]["weight"]
    if fault == "assert":
        _ = torch.zeros(4, device=device)[torch.tensor([9], device=device)]  # its error comes later
    if fault == "memory":
        torch.empty(1 << 45, device=device)
    if fault == "address":
        _read_unmapped(device)
    if fault == "hang":
        time.sleep(600)
    generator = torch.Generator().manual_seed(task["seed"])
    values = torch.randn(64, 64, generator=generator).to(device)
    return apart([row(task, abs_max=float((values @ values).abs().max().item()))])


def _read_unmapped(device: str) -> None:
    """Lets a kernel of the library read scales where no memory is: its error comes later, and stays."""
    packed = torch.zeros(2048, dtype=torch.uint8, device=device)
    out = torch.empty(4096, device=device)
    stream = torch.cuda.current_stream(packed.device).cuda_stream
    unmapped = 1 << 20
    bitsandbytes.functional.lib.cdequantize_blockwise_fp32_nf4(
        None, packed.data_ptr(), ctypes.c_void_p(unmapped), out.data_ptr(), 64, out.numel(), stream
    )
