"""Configs of the behaviours that upstream's own tests publish: layers that are moved, called again, or stand in a row.

The table of behaviours is in docs/method.md, "upstream behaviours".
"""

from dataclasses import dataclass

from accuracy.case import Linear4bitConfig, Linear8bitConfig, LinearConfig


@dataclass(frozen=True, kw_only=True)
class Repeated(LinearConfig):
    """A layer that is called `steps` times, on a new input each time."""

    steps: int


@dataclass(frozen=True, kw_only=True)
class Network(Repeated):
    """Two dense layers in sequence, of which the config describes one.

    `entering` and `leaving` are the features of the whole, `other` the shape [N, K] of the other layer's weight.
    """

    @property
    def entering(self) -> int:
        """Features of the input."""
        return self.in_features

    @property
    def leaving(self) -> int:
        """Features of the output."""
        return self.in_features

    @property
    def other(self) -> tuple[int, int]:
        """The second layer leads back to as many features as entered the first."""
        return (self.in_features, self.out_features)


@dataclass(frozen=True, kw_only=True)
class Chain(Network):
    """An ordinary layer `first` -> in_features, then the layer that the config describes."""

    first: int

    @property
    def entering(self) -> int:
        """Features of the input of the ordinary layer."""
        return self.first

    @property
    def leaving(self) -> int:
        """Features of the output of the layer under test."""
        return self.out_features

    @property
    def other(self) -> tuple[int, int]:
        """The ordinary layer's weight."""
        return (self.in_features, self.first)


@dataclass(frozen=True, kw_only=True)
class Linear8bitCalls(Linear8bitConfig, Repeated):
    """A `Linear8bitLt` that is moved and cast as `moves` says ("to cast": `.to(device).half()`), then called."""

    moves: str


@dataclass(frozen=True, kw_only=True)
class Linear4bitCalls(Linear4bitConfig, Repeated):
    """A `Linear4bit` that is moved to the device, then called."""


@dataclass(frozen=True, kw_only=True)
class Linear8bitNetwork(Linear8bitCalls, Network):
    """Two `Linear8bitLt` in_features -> out_features -> in_features, moved and cast as `moves` says, then called."""


@dataclass(frozen=True, kw_only=True)
class Linear8bitTraining(Linear8bitConfig, Network):
    """Two `Linear8bitLt` in sequence that train: `steps` batches, an optimizer step of `rate` every `accumulate`."""

    accumulate: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class Linear8bitChain(Linear8bitConfig, Chain):
    """A `Linear8bitLt` behind an ordinary layer."""


@dataclass(frozen=True, kw_only=True)
class Linear4bitChain(Linear4bitConfig, Chain):
    """A `Linear4bit` behind an ordinary layer."""


@dataclass(frozen=True, kw_only=True)
class Linear4bitStack(Linear4bitConfig):
    """So many `Linear4bit` in sequence, called on a batch and, built anew, on a single row of rank `single_rank`."""

    layers: int
    single_rank: int
