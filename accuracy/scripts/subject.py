"""What the templates of scripts fill in: a failure with what is allowed, as expressions, numbers and words."""

import math
from dataclasses import dataclass
from typing import Final

from accuracy import formats
from accuracy.case import Stage
from accuracy.limits import Bounds
from accuracy.roundoff import SUBNORMAL, UNIT, gamma, probabilistic_gamma
from accuracy.scripts.layer import Layer

OVERFLOWING: Final = frozenset({"near_overflow", "huge_scale", "with_infinities"})
NOT_FINITE: Final = frozenset({"with_nan", "with_infinities", "near_overflow"})
HALF_OVERFLOWS: Final = 65520
"""From here rounding to float16 gives infinity."""


def power(value: float) -> str:
    """A number as a script shows it: powers of two as such, others with four digits."""
    mantissa, exponent = math.frexp(value)
    return f"2**{exponent - 1}" if mantissa == 1 / 2 else f"{value:.4g}"


@dataclass(frozen=True, kw_only=True)
class Subject(Layer):
    """A failure as a script tells it: `bounds` are those it was measured with, `most_z` is the limit of a structure.

    `tight` asks for fewer lines, where there would be too many.
    """

    bounds: Bounds
    most_z: float
    tight: bool = False

    @property
    def saved_tensors(self) -> str:
        """The dtypes of the tensors that a layer is saved as, by name."""
        return str(formats.saved_tensors(self.config))

    @property
    def saved_state(self) -> str:
        """What is saved beside them."""
        return str(formats.saved_state(self.config))

    # What is allowed

    @property
    def compute(self) -> str:
        """The dtype of the product."""
        return str(getattr(self.config, "compute_dtype", None) or self.config.dtype)

    @property
    def out(self) -> str:
        """The dtype of what is compared."""
        return str(self.config.weight_dtype if self.quantity == "grad_weight" else self.config.dtype)

    @property
    def to_compute(self) -> str:
        """How an operand is rounded to the compute dtype."""
        return f".to(torch.{self.compute})"

    @property
    def decoded_to(self) -> str:
        """The dtype in which a weight is decoded."""
        if self.quantity == "weight_in_compute_dtype":
            return self.compute
        return str(self.config.dtype if self.embedding else self.config.weight_dtype)

    @property
    def unit(self) -> str:
        """Unit roundoff of the compute dtype."""
        return power(UNIT[self.compute])

    @property
    def subnormal(self) -> str:
        """What roundings below the normal numbers may cost: half the smallest number each, two of them."""
        return power(SUBNORMAL[self.compute])

    @property
    def unit_out(self) -> str:
        """Unit roundoff of the result, where it is rounded once more."""
        return "" if self.compute == self.out else power(UNIT[self.out])

    @property
    def subnormal_out(self) -> str:
        """The like below the normal numbers."""
        return power(SUBNORMAL[self.out] / 2)

    @property
    def unit_weight(self) -> str:
        """Unit roundoff of the decoded weight."""
        return power(UNIT[self.config.weight_dtype])

    @property
    def subnormal_weight(self) -> str:
        """The like below the normal numbers."""
        return power(SUBNORMAL[self.config.weight_dtype] / 2)

    @property
    def _roundings(self) -> float:
        dtypes = {self.compute, self.out, getattr(self.config, "weight_dtype", self.compute)}
        return (1 if self.embedding else 3) * sum(UNIT[name] for name in dtypes)

    @property
    def roundings(self) -> str:
        """Roundings of operands and result on the way, in units of the result or its magnitude."""
        return power(self._roundings)

    def _sum(self, terms: int) -> float:
        return probabilistic_gamma(terms, UNIT["float32"], self.bounds.confidence)

    @property
    def growth(self) -> str:
        """What the float32 sum over the inner dimension may cost, relative to the sum of magnitudes."""
        inner = self.rows if self.quantity == "grad_input" else self.columns
        return power(self._sum(inner + 1) * (1 + UNIT[self.compute]))

    @property
    def sum_growth(self) -> str:
        """The like of a sum over all rows of the input, in any order."""
        return power(gamma(math.prod(self.config.batch), UNIT["float32"]))

    @property
    def sum_growth_probable(self) -> str:
        """The like of a product over all rows."""
        return power(self._sum(math.prod(self.config.batch)) * (1 + UNIT[self.compute]))

    @property
    def _code_slack(self) -> float:
        exact = self._device.adapter.arithmetic.ieee_division
        return self.bounds.code_slack if exact else self.bounds.code_slack_accelerator

    @property
    def code_slack(self) -> str:
        """How much farther than the nearest a code may be, in units of the scale."""
        return power(self._code_slack)

    @property
    def nearest_slack(self) -> str:
        """The same and the roundings of a stored scale, of a product with it and of a quotient."""
        return power(self._code_slack + 3 * UNIT["float32"])

    @property
    def product_slack(self) -> str:
        """What a product may cost, of operands that are rounded first: relative to the sum of magnitudes."""
        return power(self._sum(max(self.rows, self.columns) + 1) + self._roundings)

    @property
    def zero_scale(self) -> str:
        """The scale that a block of zeros may have."""
        return power(self.bounds.zero_block_scale)

    @property
    def mean_growth(self) -> str:
        """What a float32 mean of all block scales may cost."""
        return power(self._sum(self.blocks) + 2 * UNIT["float32"])

    @property
    def underflow(self) -> str:
        """What halving may lose below the normal numbers."""
        return power(2 * max(SUBNORMAL[self.compute], SUBNORMAL[self.config.dtype]))

    @property
    def either(self) -> bool:
        """Whether NaN and infinity may stand for each other."""
        return (
            self.stage in (Stage.COMPUTE, Stage.INVARIANT) and self.config.weight in NOT_FINITE and not self.embedding
        )

    @property
    def overflow(self) -> str:
        """From where a result may be infinite; empty where none can be."""
        names = {getattr(self.config, name, "") for name in ("weight", "activation", "gradient")}
        narrow = "float16" in (self.compute, self.out) and self.stage in (Stage.COMPUTE, Stage.QUANTIZATION)
        may = narrow and names & OVERFLOWING and not self.embedding and not self.structured
        return str(HALF_OVERFLOWS) if may else ""

    @property
    def tie_slack(self) -> str:
        """How near a tie either code is right; empty where ties are known."""
        return "" if self._device.adapter.arithmetic.ieee_division else power(self.bounds.tie_slack)

    # Structures

    @property
    def _in_numbers(self) -> bool:
        return self.failure.ratio <= 1

    @property
    def in_sum(self) -> bool:
        """Whether only the sum of all errors is off."""
        return self.stage == Stage.QUANTIZATION and self.quantity == "weight" and self._in_numbers

    @property
    def structured(self) -> str:
        """The group whose errors have something in common: all, row, column or block; empty if a single one is off."""
        if self.stage != Stage.COMPUTE or not self._in_numbers:
            return ""
        words = self.failure.place.removeprefix("mean of ").split()
        return words[0] if words and words[0] in ("all", "row", "column", "block") else ""

    @property
    def mean(self) -> bool:
        """Whether they have a shift in common, and not a factor."""
        return self.failure.place.startswith("mean of ")

    @property
    def group(self) -> str:
        """What a place is called."""
        return {"all": "group", "block": "group"}.get(self.structured, self.structured)

    @property
    def summed(self) -> str:
        """The dimension over which a group is summed up."""
        return {"column": "0", "row": "1"}.get(self.structured, "")

    @property
    def number(self) -> int:
        """Elements of a group in all draws."""
        batch = math.prod(self.config.batch)
        return int(self.draws * batch * (1 if self.structured == "column" else self.output_shape[-1]))

    @property
    def part(self) -> tuple[int, int]:
        """Which of the inner dimension a block has."""
        words = self.failure.place.split()
        number, count = int(words[1]), int(words[3])
        inner = self.rows if self.quantity == "grad_input" else self.columns
        size = -(-inner // count)
        return number * size, min(inner, (number + 1) * size)

    @property
    def least_effect(self) -> str:
        """The relative size from which a structure counts."""
        coarsest = max(UNIT[self.config.dtype], UNIT[self.compute])
        if coarsest == UNIT["float32"]:
            return power(self.bounds.structure_effect_float32 * coarsest)
        return power(self.bounds.structure_effect * coarsest)
