"""A layer inside of a network, or called many times, as the same layer alone: what a script can show in 40 lines."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from accuracy.behaviour import Linear4bitChain, Linear8bitChain, Linear8bitNetwork, Linear8bitTraining, Repeated
from accuracy.case import Linear4bitConfig, Linear8bitConfig

INNER: Final = ("first_", "second_", "kbit_")
"""How a quantity begins that belongs to one layer of a network."""

CAST: Final = (Linear8bitTraining, Linear8bitChain, Linear4bitChain)
"""Networks that are cast to the dtype of their input before they are quantized."""


def alone(config: Any, quantity: str) -> tuple[Any, str]:
    """The config of the layer alone, and what its quantity is called there; others stay as they are."""
    if not isinstance(config, Repeated):
        return config, quantity
    inner = next((name for name in INNER if quantity.startswith(name)), "")
    kind: type[Any] = Linear4bitConfig if isinstance(config, Linear4bitConfig) else Linear8bitConfig
    values: Mapping[str, Any] = {field.name: getattr(config, field.name) for field in fields(kind)}
    layer = kind(**values)
    if isinstance(config, CAST) or getattr(config, "moves", "").startswith("cast"):
        layer = replace(layer, weight_dtype=config.dtype)
    if inner == "second_" and isinstance(config, (Linear8bitNetwork, Linear8bitTraining)):
        layer = replace(layer, in_features=config.out_features, out_features=config.in_features)
    return layer, quantity.removeprefix(inner)
