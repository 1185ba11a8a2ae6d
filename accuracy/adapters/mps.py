"""Apple GPUs. Nothing of ours is refused: bitsandbytes/backends/mps/ops.py falls back to plain torch."""

from accuracy.adapter import Adapter

ADAPTER = Adapter(kind="mps", listing="accuracy.adapters.hardware:mps")
