"""Which devices torch sees here. Runs in the process that looks for devices, which imports torch and nothing else."""

import importlib
import importlib.util

import torch

from accuracy.environment import device_name, processor

WITHIN = {"AVX512": ("avx2", "default"), "AVX2": ("default",)}
"""Variants that do less than a CPU of this capability can."""


def cpu() -> list[str]:
    """The processor: always there, and one."""
    return [processor()]


def cpu_variants() -> dict[str, str]:
    """Why limiting this CPU to each variant would change nothing, "" where it would."""
    capability = torch.backends.cpu.get_cpu_capability()
    same = f"the CPU has no more than that: its capability is {capability}"
    return {name: "" if name in WITHIN.get(capability, ()) else same for name in WITHIN["AVX512"]}


def cuda() -> list[str]:
    """NVIDIA's or AMD's devices."""
    return _listed("cuda")


def xpu() -> list[str]:
    """Intel's GPUs."""
    return _listed("xpu")


def hpu() -> list[str]:
    """Intel's Gaudi; torch may know of it only once its package is imported, as the library does."""
    if importlib.util.find_spec("habana_frameworks") is not None:
        importlib.import_module("habana_frameworks.torch")
    return _listed("hpu")


def mps() -> list[str]:
    """Apple's GPU: there or not, and one."""
    return [device_name("mps")] if torch.backends.mps.is_available() else []


def _listed(kind: str) -> list[str]:
    backend = getattr(torch, kind, None)
    if backend is None or not backend.is_available():
        return []
    return [device_name(f"{kind}:{index}") for index in range(backend.device_count())]
