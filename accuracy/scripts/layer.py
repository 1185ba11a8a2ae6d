"""The layer of a script: how it is built, run and drawn, as expressions and words. Needs no torch."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from accuracy.behaviour import Linear8bitNetwork
from accuracy.case import Embedding4bitConfig, Embedding8bitConfig, Linear4bitConfig
from accuracy.devices import Device, parse
from accuracy.scripts.draws import drawn
from accuracy.scripts.failure import Failure

NF4: Final = (
    "-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0",
    "0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0",
    "",
)
FP4: Final = ("0.0, 0.0625, 8, 12, 4, 6, 2, 3, -0.0, -0.0625, -8, -12, -4, -6, -2, -3", "", " / 12")
"""The code tables as two lines and what follows: nine digits name a float32."""

OPERATIONS: Final = 2e8
"""Multiplications that all draws of a script may take together: some seconds."""

MOST_DRAWS: Final = 200
GRADIENT: Final = frozenset({
    "doubled_gradient", "accumulated_gradient", "trains_after_eval", "gradient_in_eval", "no_rows_gradient",
    "frozen_input", "updated_weight", "requantized_weight", "expanded_gradient", "two_forwards", "retained_graph",
    "autocast_gradient", "checkpointed", "transposed_gradient", "gradient_kept", "smaller_between", "two_layers",
    "permuted_gradient",
    "accumulated_weight_gradient", "transposed_weight_gradient", "accumulated_bias_gradient",
})  # fmt: skip
"""Relations that take a backward pass."""

ONLY_GRADIENT: Final = GRADIENT - {"trains_after_eval", "updated_weight", "requantized_weight"}
SUMMED: Final = frozenset({
    "rows_alone", "row_order", "zero_columns", "strided_input", "with_gradients", "inference_mode", "two_threads",
    "transposed_input", "unaligned_input", "frozen_bias",
})  # fmt: skip
"""Relations between two orders of one sum."""

WITHOUT_BIAS: Final = frozenset({"other_dtype", "autocast_of_large_input"})
COPIED: Final = frozenset({"deep_copy", "copy_after_forward", "copy_apart", "replaced_weight"})


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A failure by its layer: `config` and `quantity` are those of the layer alone."""

    failure: Failure
    config: Any
    quantity: str

    @property
    def stage(self) -> str:
        """The stage that fails."""
        return self.failure.stage.value

    @property
    def kind(self) -> str:
        """The class of the layer."""
        return self.failure.case.layer

    @property
    def what(self) -> str:
        """What the script speaks of."""
        return f"{self.stage}/{self.failure.quantity}"

    @property
    def title(self) -> str:
        """What is wrong, in a line."""
        mode = "training" if self.config.mode == "train" else "inference"
        return f"{self.kind} in {mode} on {self.failure.device}: {self.stage}/{self.failure.quantity} is wrong"

    @property
    def origin(self) -> str:
        """Where it was seen."""
        seen = ", ".join(
            f"{name} {text}" for name, text in self.failure.versions.items() if name not in ("python", "hypothesis")
        )
        return f"Case {self.failure.id}, seen with {seen or 'unknown versions'}."

    # Where it runs

    @cached_property
    def _device(self) -> Device:
        return parse(self.failure.device)

    @property
    def device(self) -> str:
        """Torch's name of the device."""
        return self._device.torch_name

    @property
    def to(self) -> str:
        """How a tensor gets there."""
        return "" if self.device == "cpu" else f'.to("{self.device}")'

    @property
    def environment(self) -> dict[str, str]:
        """Variables that workers had."""
        variant = self._device.variant
        return {
            "TORCHDYNAMO_DISABLE": "1",
            **self._device.adapter.environment,
            **(variant.environment if variant else {}),
        }

    @property
    def set_environment(self) -> str:
        """The statement that sets them."""
        values = ", ".join(f'"{name}": "{value}"' for name, value in self.environment.items())
        return f"os.environ |= {{{values}}}"

    @property
    def standard(self) -> str:
        """What is imported of the standard library."""
        copied = self.relation in COPIED or (self.embedding and self.relation == "device_round_trip")
        parsed = self.quantity == "saved_state" and self.four_bit
        return "copy, os, sys" if copied else "json, os, sys" if parsed else "os, sys"

    # The layer and its tensors

    @property
    def embedding(self) -> bool:
        """Whether it is a table."""
        return isinstance(self.config, Embedding8bitConfig)

    @property
    def four_bit(self) -> bool:
        """Whether codes have four bits."""
        return isinstance(self.config, Linear4bitConfig | Embedding4bitConfig)

    @property
    def relation(self) -> str:
        """The relation that the config names, if it names one."""
        return getattr(self.config, "relation", "")

    @property
    def bias(self) -> bool:
        """Whether the layer has a bias."""
        biased = getattr(self.config, "bias", False) and self.relation not in WITHOUT_BIAS
        return bool(biased) or self.relation in {
            "frozen_input",
            "updated_bias",
            "other_bias",
            "accumulated_bias_gradient",
        }

    @property
    def rows(self) -> int:
        """Rows of the weight."""
        return int(self.config.rows if self.embedding else self.config.out_features)

    @property
    def columns(self) -> int:
        """Columns of the weight."""
        return int(self.config.dim if self.embedding else self.config.in_features)

    @property
    def elements(self) -> int:
        """Elements of the weight."""
        return self.rows * self.columns

    @property
    def blocksize(self) -> int:
        """Elements of a block."""
        return int(getattr(self.config, "blocksize", 64))

    @property
    def blocks(self) -> int:
        """Blocks of the weight."""
        return -(-self.elements // self.blocksize)

    @property
    def nested(self) -> bool:
        """Whether scales are quantized, too."""
        return bool(getattr(self.config, "nested", False))

    @property
    def features(self) -> str:
        """Those that go in and out, as a layer is built with them; relations build several."""
        return "*weight.T.shape" if self.relation else f"{self.columns}, {self.rows}"

    @property
    def table(self) -> tuple[str, str, str]:
        """The code table."""
        return NF4 if self.config.quant_type == "nf4" else FP4

    @property
    def weight(self) -> str:
        """The weight, drawn."""
        dtype = self.config.dtype if self.embedding else self.config.weight_dtype
        return drawn(self.config.weight, (self.rows, self.columns), dtype)

    @property
    def bias_drawn(self) -> str:
        """The bias, drawn."""
        if not self.config.bias:
            return drawn("zeros", (self.rows,), self.config.dtype)
        return drawn("normal", (self.rows,), self.config.dtype)

    @property
    def x(self) -> str:
        """The input, drawn."""
        return drawn(self.config.activation, (*self.config.batch, self.columns), self.config.dtype)

    @property
    def gradient(self) -> str:
        """The gradient of the output, drawn; empty if none is asked for."""
        backward = self.failure.quantity == "completes" or self.quantity.startswith("grad")
        if self.relation not in GRADIENT if self.relation else self.config.mode != "train" or not backward:
            return ""
        return drawn(self.config.gradient, (*self.config.batch, self.rows), self.config.dtype)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the output."""
        return (*self.config.batch, self.rows)

    @property
    def draws(self) -> int:
        """How often the script draws: often, but no more than takes some seconds."""
        batch = math.prod(self.config.index if self.embedding else self.config.batch)
        operations = self.elements * (batch + 64) + 10_000
        return max(2, min(MOST_DRAWS, int(OPERATIONS // operations)))

    timeout = 60

    # Networks

    @property
    def network(self) -> int:
        """How often a network of two such layers is called before it is trained; 0 where there is but one layer."""
        config = self.failure.config
        return int(config.steps) if isinstance(config, Linear8bitNetwork) else 0

    @property
    def moves(self) -> str:
        """How it is moved and cast."""
        ways = {"to": f'.to("{self.device}")', "cast": f".to(torch.{self.config.dtype})"}
        return "".join(ways[word] for word in getattr(self.failure.config, "moves", "to").split() if word in ways)

    # What an 8-bit layer stores

    @property
    def after_run(self) -> bool:
        """Whether codes exist only after a forward pass."""
        return bool(getattr(self.config, "has_fp16_weights", False))

    @property
    def stored_codes(self) -> str:
        """The int8 codes of the weight."""
        return "layer.state.CB" if self.after_run else "layer.weight.data" if self.embedding else "layer.weight.CB"

    @property
    def stored_scales(self) -> str:
        """Their scales."""
        return "layer.state.SCB" if self.after_run else "layer.weight.SCB"

    @property
    def quantizes(self) -> bool:
        """Whether an 8-bit layer multiplies codes here, those of its input too."""
        int8 = not self.four_bit and not self.embedding
        return int8 and (self.config.mode == "eval" or not self._device.adapter.arithmetic.dequantizes_in_training)

    @property
    def fused_outliers(self) -> bool:
        """Whether the product of the outlier columns is added without a rounding of its own."""
        return self._device.adapter.arithmetic.fused_outliers

    # Relations

    # These have a backward pass of their own.
    use_gradient = GRADIENT - {
        "two_forwards", "smaller_between", "retained_graph", "gradient_kept", "accumulated_weight_gradient",
        "transposed_weight_gradient", "accumulated_bias_gradient",
    }  # fmt: skip
    use_gradient_alone = ONLY_GRADIENT

    @property
    def summed_relation(self) -> bool:
        """Whether two orders of one sum are compared."""
        return self.relation in SUMMED

    @property
    def padding(self) -> int:
        """Columns of zeros that are appended."""
        return self.blocksize

    # Contracts

    @property
    def wanted(self) -> str:
        """What should have been."""
        if self.quantity == "output_form":
            shape = (*self.config.index, self.config.dim) if self.embedding else self.output_shape
            return f"torch.{self.config.dtype} {shape}"
        return "no exception"
