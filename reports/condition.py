"""One condition on one input, and how a cut between two neighbouring values is put in words."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from reports import features
from reports.features import Value


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition. For a threshold, `passes` and `fails` are the nearest values on either side."""

    feature: str
    relation: str
    value: Value
    passes: Value | None = None
    fails: Value | None = None

    @property
    def text(self) -> str:
        """The condition as a sentence says it: `rows > 64`, `dtype = bf16`, `no bias`."""
        name = features.label(self.feature)
        if isinstance(self.value, bool):
            return name if self.value == (self.relation == "=") else features.negation(self.feature)
        return f"{name} {self.relation} {features.value_text(self.feature, self.value)}"

    @property
    def edge(self) -> str:
        """How sharp a threshold is known: the nearest value that passes and the nearest that fails."""
        if self.passes is None or self.fails is None:
            return ""
        name = features.label(self.feature)
        return f"{name} {_plain(self.passes)} passes, {_plain(self.fails)} fails"


def together(conditions: Iterable[Condition]) -> str:
    """The conditions joined: `in_features ≥ 1024 and dtype = fp16`; what two say of one input names it once."""
    told: list[str] = []
    subject = ""
    for text in (condition.text for condition in conditions):
        told.append(text.removeprefix(subject) if subject and text.startswith(subject) else text)
        subject = f"{text.partition(' is ')[0]} is " if " is " in text else ""
    return " and ".join(told)


def upward(name: str, low: float, high: float) -> Condition:
    """Values from `high` on: said as `> low` where `low` is the rounder number."""
    from_high = _is_power_of_two(high) and not _is_power_of_two(low) and low != 0
    strict = not from_high and (low == 0 or _is_power_of_two(low))
    return Condition(
        feature=name,
        relation=">" if strict else "≥",
        value=exact(low if strict else high),
        passes=exact(low),
        fails=exact(high),
    )


def downward(name: str, low: float, high: float, *, lowest: bool) -> Condition:
    """Values up to `low`: said as `= low` where it is the smallest, as `< high` where that is rounder."""
    if lowest:
        return Condition(feature=name, relation="=", value=exact(low), passes=exact(high), fails=exact(low))
    strict = _is_power_of_two(high) and not _is_power_of_two(low)
    return Condition(
        feature=name,
        relation="<" if strict else "≤",
        value=exact(high if strict else low),
        passes=exact(high),
        fails=exact(low),
    )


def _is_power_of_two(value: float) -> bool:
    return value > 0 and math.frexp(value)[0] == 1 / 2


def exact(value: float) -> int | float:
    """A whole number as an int, which is how the config held it."""
    return int(value) if float(value).is_integer() else float(value)


def _plain(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
