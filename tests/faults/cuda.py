"""Planted workloads that need an NVIDIA device."""

import time

import torch

from faults.workloads import Row, Task, row


def on_cuda(task: Task, device: str) -> list[Row]:
    """A product on the device whose value depends on the seed alone, after the fault that the config's weight names."""
    fault = task["config"]["weight"]
    if fault == "assert":
        _ = torch.zeros(4, device=device)[torch.tensor([9], device=device)]  # its error comes later
    if fault == "memory":
        torch.empty(1 << 45, device=device)
    if fault == "hang":
        time.sleep(600)
    generator = torch.Generator().manual_seed(task["seed"])
    values = torch.randn(64, 64, generator=generator).to(device)
    return [row(task, abs_max=float((values @ values).abs().max().item()))]
