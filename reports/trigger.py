"""Which condition on the inputs separates the cases that fail from those that pass.

A search over single conditions and conjunctions of two. It is a decision stump, not a model: what it
finds is said in words a kernel author can check, and it says nothing when chance would do as well.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports import features
from reports.features import Value

Mask = NDArray[np.bool_]

SEPARATES = 0.9
"""F1 from which a condition is said to separate failing from passing cases."""

CHANCE = 0.01
"""Largest probability, times the number of conditions tried, that the same split comes by chance."""

WORTH_A_SECOND = 0.05
"""How much F1 a second condition must add before the sentence grows by it."""

CUTS_PER_FEATURE = 8


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
            return name if self.value == (self.relation == "=") else f"no {name}"
        return f"{name} {self.relation} {features.value_text(self.feature, self.value)}"

    @property
    def edge(self) -> str:
        """How sharp a threshold is known: the nearest value that passes and the nearest that fails."""
        if self.passes is None or self.fails is None:
            return ""
        name = features.label(self.feature)
        return f"{name} {_plain(self.passes)} passes, {_plain(self.fails)} fails"


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """What failing cases have in common. `conditions` is empty where every case fails.

    `matching` cases meet the conditions and `matching_failing` of them fail; `failing` of `total` do.
    """

    conditions: tuple[Condition, ...]
    matching: int
    matching_failing: int
    failing: int
    total: int

    @property
    def necessary(self) -> bool:
        """Whether no case fails without it."""
        return self.matching_failing == self.failing

    @property
    def sufficient(self) -> bool:
        """Whether no case passes with it."""
        return self.matching_failing == self.matching

    @property
    def text(self) -> str:
        """The conditions joined: `in_features ≥ 1024 and dtype = fp16`."""
        return " and ".join(condition.text for condition in self.conditions)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    conditions: tuple[Condition, ...]
    mask: Mask
    hits: int
    size: int

    def f1(self, failing: int) -> float:
        return 2 * self.hits / (self.size + failing)


def find(inputs: pd.DataFrame, failing: Mask) -> Trigger | None:
    """The simplest condition on `inputs` that tells failing rows from passing ones.

    Args:
        inputs: one row a case, one column a feature, the most telling features first; None or NaN
            where a case has no such input.
        failing: which rows fail, in the same order.

    Returns:
        None where nothing fails or no condition does better than chance.
    """
    total, bad = len(failing), int(failing.sum())
    if bad == 0:
        return None
    if bad == total:
        return Trigger(conditions=(), matching=total, matching_failing=bad, failing=bad, total=total)
    singles = [candidate for name in inputs.columns for candidate in _candidates(name, inputs[name], failing)]
    if not singles:
        return None
    pairs = _pairs(singles, failing)
    tried = (len(singles), len(singles) + len(singles) * (len(singles) - 1) // 2)
    chosen = _separating(singles, pairs, tried, bad, total) or _necessary(singles, pairs, tried, bad, total)
    if chosen is None:
        return None
    return Trigger(
        conditions=chosen.conditions,
        matching=chosen.size,
        matching_failing=chosen.hits,
        failing=bad,
        total=total,
    )


def _separating(
    singles: Sequence[_Candidate], pairs: Sequence[_Candidate], tried: tuple[int, int], bad: int, total: int
) -> _Candidate | None:
    best = max(singles, key=lambda candidate: candidate.f1(bad))
    best_pair = max(pairs, key=lambda candidate: candidate.f1(bad), default=best)
    options = [(best, tried[0]), (best_pair, tried[1])]
    if best_pair.f1(bad) >= best.f1(bad) + WORTH_A_SECOND:
        options.reverse()
    always = 2 * bad / (total + bad)
    for candidate, number in options:
        score = candidate.f1(bad)
        better_than_always = score == 1 or score >= always + WORTH_A_SECOND
        if score >= SEPARATES and better_than_always and number * _chance(candidate, bad, total) < CHANCE:
            return candidate
    return None


def _necessary(
    singles: Sequence[_Candidate], pairs: Sequence[_Candidate], tried: tuple[int, int], bad: int, total: int
) -> _Candidate | None:
    """The tightest condition that every failing row meets, if it spares most of the passing rows."""
    for candidates, number in ((singles, tried[0]), (pairs, tried[1])):
        covering = [candidate for candidate in candidates if candidate.hits == bad]
        best = min(covering, key=lambda candidate: candidate.size, default=None)
        if best is None:
            continue
        spared = (total - best.size) / (total - bad)
        if spared > 1 / 2 and number * _chance(best, bad, total) < CHANCE:
            return best
    return None


def _pairs(singles: Sequence[_Candidate], failing: Mask) -> list[_Candidate]:
    """The few best conjunctions of conditions on two different features.

    Counts of all pairs come from two matrix products; only the best by F1 and the tightest that
    cover every failing row are built.
    """
    masks = np.stack([candidate.mask for candidate in singles]).astype(np.float64)
    sizes = masks @ masks.T
    hits = (masks * failing) @ masks.T
    bad = int(failing.sum())
    names = np.array([candidate.conditions[0].feature for candidate in singles])
    allowed = np.triu(names[:, None] != names[None, :])
    if not allowed.any():
        return []
    f1 = np.where(allowed, 2 * hits / (sizes + bad), -1)
    covering = np.where(allowed & (hits == bad), -sizes, -np.inf)
    places = {int(np.argmax(f1)), int(np.argmax(covering))}
    built = []
    for place in sorted(places):
        first, second = (singles[i] for i in divmod(place, len(singles)))
        mask = first.mask & second.mask
        built.append(
            _Candidate(
                conditions=first.conditions + second.conditions,
                mask=mask,
                hits=int((mask & failing).sum()),
                size=int(mask.sum()),
            )
        )
    return built


def _candidates(name: str, column: pd.Series, failing: Mask) -> Iterator[_Candidate]:
    present = column.notna().to_numpy()
    values = column.to_numpy(dtype=object)
    if not present.any():
        return
    known = values[present]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        yield from _thresholds(name, values, present, failing)
    else:
        yield from _levels(name, values, present, failing)


def _levels(name: str, values: NDArray[np.object_], present: Mask, failing: Mask) -> Iterator[_Candidate]:
    levels = sorted(set(values[present]), key=lambda level: (str(type(level)), str(level)))
    if len(levels) == 1:
        return
    for level in levels:
        equal = np.array([bool(value == level) for value in values]) & present
        yield _candidate(Condition(feature=name, relation="=", value=level), equal, failing)
        if len(levels) > 2:  # noqa: PLR2004  # of two levels, "not one" is "the other"
            yield _candidate(Condition(feature=name, relation="≠", value=level), present & ~equal, failing)


def _thresholds(name: str, values: NDArray[np.object_], present: Mask, failing: Mask) -> Iterator[_Candidate]:
    """Cuts between neighbouring values, and single values; the best few in each direction.

    A cut that every failing row lies beyond is kept whatever its F1: it may be one half of a pair.
    """
    size = np.where(present, values, np.nan).astype(np.float64)
    distinct = np.unique(size[present])
    above = [
        _candidate(_upward(name, low, high), present & (size >= high), failing)
        for low, high in itertools.pairwise(distinct)
    ]
    below = [
        _candidate(_downward(name, low, high, lowest=low == distinct[0]), present & (size <= low), failing)
        for low, high in itertools.pairwise(distinct)
    ]
    single = [
        _candidate(Condition(feature=name, relation="=", value=_exact(value)), size == value, failing)
        for value in distinct[1:-1]
    ]
    bad = int(failing.sum())
    for family in (above, below, single):
        covering = [candidate for candidate in family if candidate.hits == bad]
        tightest = min(covering, key=lambda candidate: candidate.size, default=None)
        best = sorted(family, key=lambda candidate: -candidate.f1(bad))[:CUTS_PER_FEATURE]
        if tightest is not None and tightest not in best:
            best.append(tightest)
        yield from best


def _candidate(condition: Condition, mask: Mask, failing: Mask) -> _Candidate:
    return _Candidate(conditions=(condition,), mask=mask, hits=int((mask & failing).sum()), size=int(mask.sum()))


def _upward(name: str, low: float, high: float) -> Condition:
    """Values from `high` on: said as `> low` where `low` is the rounder number."""
    from_high = _is_power_of_two(high) and not _is_power_of_two(low) and low != 0
    strict = not from_high and (low == 0 or _is_power_of_two(low))
    return Condition(
        feature=name,
        relation=">" if strict else "≥",
        value=_exact(low if strict else high),
        passes=_exact(low),
        fails=_exact(high),
    )


def _downward(name: str, low: float, high: float, *, lowest: bool) -> Condition:
    """Values up to `low`: said as `= low` where it is the smallest, as `< high` where that is rounder."""
    if lowest:
        return Condition(feature=name, relation="=", value=_exact(low), passes=_exact(high), fails=_exact(low))
    strict = _is_power_of_two(high) and not _is_power_of_two(low)
    return Condition(
        feature=name,
        relation="<" if strict else "≤",
        value=_exact(high if strict else low),
        passes=_exact(high),
        fails=_exact(low),
    )


def _chance(candidate: _Candidate, bad: int, total: int) -> float:
    """Probability that `bad` rows drawn at random hit the condition at least as often (hypergeometric)."""
    highest = min(bad, candidate.size)
    logs = [
        _log_choose(candidate.size, hits) + _log_choose(total - candidate.size, bad - hits) - _log_choose(total, bad)
        for hits in range(candidate.hits, highest + 1)
        if bad - hits <= total - candidate.size
    ]
    return math.fsum(math.exp(value) for value in logs)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _is_power_of_two(value: float) -> bool:
    return value > 0 and math.frexp(value)[0] == 1 / 2


def _exact(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)


def _plain(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
