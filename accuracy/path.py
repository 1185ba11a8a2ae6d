"""How a path is written: chains of steps from the layer down to what computed.

`MatMul4Bit.forward > gemm_4bit:default > dequantize_4bit:cpu > cdequantize_blockwise_cpu_nf4_fp32` is one chain; a
path joins those that ran, each once, in the order in which they first did. A link of a chain is a function of the
library in Python, an operator with the backend that served it, a function of the native library, or
how the chain ended otherwise. A step is two links that follow each other.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Final

CHAINS: Final = "; "
LINKS: Final = " > "

LAYER: Final = "layer"
"""Calls the first link of every chain."""

TORCH: Final = "torch"
"""Ends a chain where nothing native of the library's ran: torch itself served, or a Triton or Hub kernel."""

RAISED: Final = "raised"
"""Ends a chain whose last link raised before anything served it."""

NO_KERNEL: Final = "none"
"""The backend of an operator that has no kernel for the device."""


@lru_cache(maxsize=1024)  # a case has the paths of many before it, and is measured in milliseconds
def merged(*paths: str) -> str:
    """Several paths as one, each chain once. Empty ones say nothing."""
    return CHAINS.join(dict.fromkeys(chain for path in paths if path for chain in path.split(CHAINS)))


def steps(path: str) -> Iterator[str]:
    """The steps of a path, `CALLER > CALLED`, each once; that something raised is none."""
    chains = ([LAYER, *chain.split(LINKS)] for chain in path.split(CHAINS) if chain)
    yield from dict.fromkeys(
        f"{caller}{LINKS}{called}" for chain in chains for caller, called in pairwise(chain) if called != RAISED
    )
