"""Which devices are there. Only the process that looks for devices imports this, so it may import torch."""

import torch


def names() -> list[str]:
    """One device, named after the build of torch that runs it."""
    return [f"an example on torch {torch.__version__}"]
