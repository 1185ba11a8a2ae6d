"""Which condition on the inputs separates the cases that fail from those that pass.

A search over single conditions and conjunctions of two. It is a decision stump, not a model: what it
finds is said in words a kernel author can check, and it says nothing when chance would do as well.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports import candidates
from reports.candidates import Candidate, Mask
from reports.coded import Coded
from reports.condition import Condition, together

SEPARATES = 0.9
"""F1 from which a condition is said to separate failing from passing cases."""

CHANCE = 0.01
"""Largest probability, times the number of conditions tried, that the same split comes by chance."""

WORTH_A_SECOND = 0.05
"""How much F1 a second condition must add before the sentence grows by it."""

WORTH_A_PART = 0.2
"""Share of the failing rows from which those under one condition are set apart as a cause of their own."""

HALF = 1 / 2

MOST_PARTS = 3


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
        return together(self.conditions)


def find(inputs: Mapping[str, Coded], failing: Mask, *, copies: int = 1) -> Trigger | None:
    """The simplest condition on `inputs` that tells failing rows from passing ones.

    Args:
        inputs: one row a case, one column a feature, the most telling features first; no value
            where a case has no such input.
        failing: which rows fail, in the same order.
        copies: how many rows tell the same, as one case does on devices that agree; they are one
            piece of evidence, not several.

    Returns:
        None where nothing fails or no condition does better than chance.
    """
    return _found(_search(inputs, failing, copies))


def split(inputs: Mapping[str, Coded], failing: Mask, *, copies: int = 1) -> tuple[tuple[Trigger | None, Mask], ...]:
    """The failing rows in parts, each with its condition: one part where one condition separates all.

    Where none does, the largest part that fails without exception under some condition, or at least mostly,
    is set apart, and the search goes on without the rows under it; what remains has no condition.
    """
    parts: list[tuple[Trigger | None, Mask]] = []
    open_rows = np.ones(len(failing), dtype=bool)
    while (left := failing & open_rows).any():
        still = {name: column.at(open_rows) for name, column in inputs.items()}
        search = _search(still, failing[open_rows], copies)
        found = _found(search)
        part = None if found or len(parts) == MOST_PARTS else _part(search)
        if part is None:
            parts.append((found, left))
            break
        member = np.zeros(len(failing), dtype=bool)
        member[np.flatnonzero(open_rows)[part.mask]] = True
        parts.append((_trigger(part, search), member & failing))
        open_rows &= ~member
    return tuple(parts)


@dataclass(frozen=True, kw_only=True)
class _Search:
    """All conditions on one input, with what it takes to tell a finding from chance."""

    singles: Sequence[Candidate]
    failing: Mask
    bad: int
    copies: int

    @property
    def total(self) -> int:
        """How many rows there are."""
        return len(self.failing)

    def surprising(self, candidate: Candidate) -> bool:
        """Whether chance, given as many tries as there are candidates, hardly ever does as well."""
        number = len(self.singles)
        tried = number if len(candidate.conditions) == 1 else number * (number + 1) // 2
        hits, size, bad, total = (
            count // self.copies for count in (candidate.hits, candidate.size, self.bad, self.total)
        )
        return tried * _chance(hits, size, bad, total) < CHANCE


def _search(inputs: Mapping[str, Coded], failing: Mask, copies: int) -> _Search:
    bad = int(failing.sum())
    singles = candidates.singles(inputs, failing) if 0 < bad < len(failing) else []
    return _Search(singles=singles, failing=failing, bad=bad, copies=copies)


def _found(search: _Search) -> Trigger | None:
    bad, total = search.bad, search.total
    if bad in (0, total):
        everywhere = Trigger(conditions=(), matching=total, matching_failing=bad, failing=bad, total=total)
        return everywhere if bad else None
    pairs = candidates.pairs([each for each in search.singles if each.reach(bad) >= SEPARATES], search.failing)
    chosen = _separating(search, pairs) or _necessary(search, pairs)
    return None if chosen is None else _trigger(chosen, search)


def _trigger(chosen: Candidate, search: _Search) -> Trigger:
    return Trigger(
        conditions=chosen.conditions,
        matching=chosen.size,
        matching_failing=chosen.hits,
        failing=search.bad,
        total=search.total,
    )


def _separating(search: _Search, pairs: Sequence[Candidate]) -> Candidate | None:
    """The condition of best F1, if it is good enough; a second condition only where it adds something."""
    bad = search.bad
    always = 2 * bad / (search.total + bad)
    options = [max(found, key=lambda candidate: candidate.f1(bad)) for found in (search.singles, pairs) if found]
    if len(options) > 1 and options[1].f1(bad) >= options[0].f1(bad) + WORTH_A_SECOND:
        options.reverse()
    for candidate in options:
        score = candidate.f1(bad)
        better_than_always = score == 1 or score >= always + WORTH_A_SECOND
        if score >= SEPARATES and better_than_always and search.surprising(candidate):
            return candidate
    return None


def _necessary(search: _Search, pairs: Sequence[Candidate]) -> Candidate | None:
    """The tightest condition that every failing row meets, if it spares most of the passing rows."""
    for tried in (search.singles, pairs):
        covering = [candidate for candidate in tried if candidate.hits == search.bad]
        best = min(covering, key=lambda candidate: candidate.size, default=None)
        if best is None:
            continue
        spared = (search.total - best.size) / (search.total - search.bad)
        if spared > 1 / 2 and search.surprising(best):
            return best
    return None


def _part(search: _Search) -> Candidate | None:
    """The condition that sets most of the failures apart, if it is worth saying.

    One under which every row fails; else one that describes the failures half as well as it could, and under which
    more rows fail than pass.
    """
    large = [candidate for candidate in search.singles if candidate.hits >= WORTH_A_PART * search.bad]
    worth = [
        candidate
        for candidate in (*large, *candidates.pairs(large, search.failing))
        if candidate.hits >= WORTH_A_PART * search.bad
        and (candidate.hits == candidate.size or min(candidate.f1(search.bad), candidate.hits / candidate.size) > HALF)
        and search.surprising(candidate)
    ]
    return max(worth, key=lambda candidate: (candidate.hits == candidate.size, candidate.hits), default=None)


def _chance(hits: int, size: int, bad: int, total: int) -> float:
    """Probability that `bad` of `total` rows, drawn at random, hit `size` rows at least `hits` times."""
    logs = [
        _log_choose(size, hit) + _log_choose(total - size, bad - hit) - _log_choose(total, bad)
        for hit in range(hits, min(bad, size) + 1)
        if bad - hit <= total - size
    ]
    return math.fsum(math.exp(value) for value in logs)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
