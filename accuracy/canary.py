"""Whether an accelerator still computes: a kernel that goes wrong can leave it useless for all that follows."""

import torch


def check(device: str) -> None:
    """Waits for what was asked of `device`, then multiplies two small matrices whose product is known.

    Errors of an accelerator come late; waiting for them here puts them on the task that caused them.

    Raises:
        RuntimeError: if the device reports an error or the product is wrong.
    """
    kind = device.partition(":")[0]
    getattr(torch, kind).synchronize()
    ones = torch.ones((8, 8), device=device)
    total = float((ones @ ones).sum().item())
    if total != 8**3:
        raise RuntimeError(f"the canary product on {device} is {total}, not {8**3}")
