"""The CPU under another name: the least that a package needs to add a device."""

from accuracy.adapter import Adapter, Refusal
from accuracy.adapters import cpu

ADAPTER = Adapter(
    kind="example",
    listing="accuracy_example_device.hardware:names",
    torch_device="cpu",
    on_host=True,
    environment={"EXAMPLE_DEVICE": "on"},
    arithmetic=cpu.ADAPTER.arithmetic,
    refusals=(
        Refusal(
            reason="4-bit embeddings are not supported on example",
            source="accuracy_example_device, as an example",
            layer="Embedding4bit",
        ),
    ),
)
