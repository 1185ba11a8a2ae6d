"""What a worker runs on: versions, device, threads, and the switches that change how numbers come out."""

import hashlib
import os
import platform
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

PRICE: Final = frozenset({"tally"})
"""Facts that change what a row costs and not what it says: machines that differ in them are one."""


def facts(device: str) -> dict[str, Any]:
    """The environment of this process, as far as the modules that are loaded can tell.

    Only a fixed list of facts: no environment variables, host names or file names, since the report is shared.
    `paths` are the steps that the library can take on the device, for a worker that notes which it takes.
    """
    known: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "device_name": processor(),
    }
    library = sys.modules.get("bitsandbytes")
    if library is not None:
        known["bitsandbytes"] = str(getattr(library, "__version__", "unknown"))
    totals = sys.modules.get("accuracy.totals")
    if totals is not None:
        known["tally"] = "numpy" if totals.compiled is None else "compiled"  # the same rows, at another price
    known |= read_ahead(device)
    if "torch" in sys.modules:
        known.update(_torch_facts(device))
    return known


def read_ahead(device: str) -> dict[str, Any]:
    """What is read of the library's source: slow, and known to all children of a fork server that has done it.

    Nothing where the library, or who notes its steps, is not loaded. Computes nothing and starts no device.
    """
    library, dispatch = (sys.modules.get(name) for name in ("bitsandbytes", "accuracy.dispatch"))
    return {} if library is None or dispatch is None else _paths(dispatch, library, device)


def _paths(dispatch: ModuleType, library: ModuleType, device: str) -> dict[str, Any]:
    """The steps that can be taken there; or why they are not known, which keeps no worker from measuring."""
    try:
        return {"paths": dispatch.paths(library, device)}
    except Exception as error:  # noqa: BLE001  the source of a release to come may be of any form
        return {"paths": [], "paths_unknown": f"{type(error).__name__}: {error}"[:200]}


def processor() -> str:
    """The CPU's name as the system gives it."""
    return of_processor("model name") or platform.processor() or platform.machine()


def of_processor(fact: str) -> str:
    """What the system says of the first processor under this name, nothing where it says nothing."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    said = (value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == fact)
    return next(said, "")


def device_name(device: str) -> str:
    """The hardware behind a device, by torch's name of it, as its vendor calls it. torch must be imported.

    A ROCm build of torch calls AMD's devices cuda; then the name says ROCm.
    """
    torch, kind = sys.modules["torch"], device.partition(":")[0]
    if kind == "cpu":
        capability = os.environ.get("ATEN_CPU_CAPABILITY")
        return f"{processor()} limited to {capability}" if capability else processor()
    vendor = getattr(getattr(torch, kind, None), "get_device_name", None)
    if vendor is None:
        return f"{kind} of {processor()}"
    rocm = f", ROCm {torch.version.hip}" if kind == "cuda" and torch.version.hip else ""
    return f"{vendor(device)}{rocm}"


def _torch_facts(device: str) -> dict[str, Any]:
    torch = sys.modules["torch"]
    configuration = torch.__config__.show()
    known = {
        "torch": str(torch.__version__),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda or "",
        "hip": torch.version.hip or "",
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cuda_matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "fp16_reduced_precision_reduction": torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
        "bf16_reduced_precision_reduction": torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
        "mkldnn": torch.backends.mkldnn.is_available(),
        "mkl": torch.backends.mkl.is_available(),
        "torch_configuration": hashlib.sha256(configuration.encode()).hexdigest()[:16],
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    return known | {"device_name": device_name(device)}
