"""Which condition on the inputs separates the cases that fail from those that pass.

A search over single conditions and conjunctions of two. It is a decision stump, not a model: what it
finds is said in words a kernel author can check, and it says nothing when chance would do as well.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.condition import Condition, downward, exact, together, upward

Mask = NDArray[np.bool_]

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

CUTS_PER_FEATURE = 8


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


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    conditions: tuple[Condition, ...]
    mask: Mask
    hits: int
    size: int

    def f1(self, failing: int) -> float:
        return 2 * self.hits / (self.size + failing)


def find(inputs: pd.DataFrame, failing: Mask, *, copies: int = 1) -> Trigger | None:
    """The simplest condition on `inputs` that tells failing rows from passing ones.

    Args:
        inputs: one row a case, one column a feature, the most telling features first; None or NaN
            where a case has no such input.
        failing: which rows fail, in the same order.
        copies: how many rows tell the same, as one case does on devices that agree; they are one
            piece of evidence, not several.

    Returns:
        None where nothing fails or no condition does better than chance.
    """
    return _found(_search(inputs, failing, copies))


def split(inputs: pd.DataFrame, failing: Mask, *, copies: int = 1) -> tuple[tuple[Trigger | None, Mask], ...]:
    """The failing rows in parts, each with its condition: one part where one condition separates all.

    Where none does, the largest part that fails without exception under some condition, or at least mostly,
    is set apart, and the search goes on without the rows under it; what remains has no condition.
    """
    parts: list[tuple[Trigger | None, Mask]] = []
    open_rows = np.ones(len(failing), dtype=bool)
    while (left := failing & open_rows).any():
        search = _search(inputs[open_rows], failing[open_rows], copies)
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
    """All candidates, with what it takes to tell a finding from chance."""

    singles: Sequence[_Candidate]
    pairs: Sequence[_Candidate]
    bad: int
    total: int
    copies: int

    def surprising(self, candidate: _Candidate) -> bool:
        """Whether chance, given as many tries as there are candidates, hardly ever does as well."""
        number = len(self.singles)
        tried = number if len(candidate.conditions) == 1 else number * (number + 1) // 2
        hits, size, bad, total = (
            count // self.copies for count in (candidate.hits, candidate.size, self.bad, self.total)
        )
        return tried * _chance(hits, size, bad, total) < CHANCE


def _search(inputs: pd.DataFrame, failing: Mask, copies: int) -> _Search:
    mixed = failing.any() and not failing.all()
    singles = [
        candidate for name in inputs.columns if mixed for candidate in _candidates(str(name), inputs[name], failing)
    ]
    return _Search(
        singles=singles,
        pairs=_pairs(singles, failing),
        bad=int(failing.sum()),
        total=len(failing),
        copies=copies,
    )


def _found(search: _Search) -> Trigger | None:
    bad, total = search.bad, search.total
    if bad in (0, total):
        everywhere = Trigger(conditions=(), matching=total, matching_failing=bad, failing=bad, total=total)
        return everywhere if bad else None
    chosen = _separating(search) or _necessary(search)
    return None if chosen is None else _trigger(chosen, search)


def _trigger(chosen: _Candidate, search: _Search) -> Trigger:
    return Trigger(
        conditions=chosen.conditions,
        matching=chosen.size,
        matching_failing=chosen.hits,
        failing=search.bad,
        total=search.total,
    )


def _separating(search: _Search) -> _Candidate | None:
    """The condition of best F1, if it is good enough; a second condition only where it adds something."""
    bad = search.bad
    always = 2 * bad / (search.total + bad)
    options = [max(found, key=lambda candidate: candidate.f1(bad)) for found in (search.singles, search.pairs) if found]
    if len(options) > 1 and options[1].f1(bad) >= options[0].f1(bad) + WORTH_A_SECOND:
        options.reverse()
    for candidate in options:
        score = candidate.f1(bad)
        better_than_always = score == 1 or score >= always + WORTH_A_SECOND
        if score >= SEPARATES and better_than_always and search.surprising(candidate):
            return candidate
    return None


def _necessary(search: _Search) -> _Candidate | None:
    """The tightest condition that every failing row meets, if it spares most of the passing rows."""
    for candidates in (search.singles, search.pairs):
        covering = [candidate for candidate in candidates if candidate.hits == search.bad]
        best = min(covering, key=lambda candidate: candidate.size, default=None)
        if best is None:
            continue
        spared = (search.total - best.size) / (search.total - search.bad)
        if spared > 1 / 2 and search.surprising(best):
            return best
    return None


def _part(search: _Search) -> _Candidate | None:
    """The condition that sets most of the failures apart, if it is worth saying.

    One under which every row fails; else one that describes the failures half as well as it could, and under which
    more rows fail than pass.
    """
    worth = [
        candidate
        for candidate in (*search.singles, *search.pairs)
        if candidate.hits >= WORTH_A_PART * search.bad
        and (candidate.hits == candidate.size or min(candidate.f1(search.bad), candidate.hits / candidate.size) > HALF)
        and search.surprising(candidate)
    ]
    return max(worth, key=lambda candidate: (candidate.hits == candidate.size, candidate.hits), default=None)


def _pairs(singles: Sequence[_Candidate], failing: Mask) -> list[_Candidate]:
    """The few best conjunctions of conditions on two different features.

    Counts of all pairs come from two matrix products; only the best by F1, the tightest that covers
    every failing row and the largest that no passing row meets are built.
    """
    if not singles:
        return []
    masks = np.stack([candidate.mask for candidate in singles]).astype(np.float32)  # counts below 2**24 stay exact
    sizes = masks @ masks.T
    hits = masks[:, failing] @ masks[:, failing].T
    bad = int(failing.sum())
    names = np.array([candidate.conditions[0].feature for candidate in singles])
    allowed = np.triu(names[:, None] != names[None, :])
    if not allowed.any():
        return []
    f1 = np.where(allowed, 2 * hits / (sizes + bad), -1)
    covering = np.where(allowed & (hits == bad), -sizes, -np.inf)
    pure = np.where(allowed & (hits == sizes), hits, -1)
    places = {int(np.argmax(f1)), int(np.argmax(covering)), int(np.argmax(pure))}
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
        equal = (values == level).astype(bool) & present
        yield _candidate(Condition(feature=name, relation="=", value=level), equal, failing)
        if len(levels) > 2:  # noqa: PLR2004  # of two levels, "not one" is "the other"
            yield _candidate(Condition(feature=name, relation="≠", value=level), present & ~equal, failing)


def _thresholds(name: str, values: NDArray[np.object_], present: Mask, failing: Mask) -> Iterator[_Candidate]:
    """Cuts between neighbouring values, and single values; the best few in each direction.

    A cut that every failing row lies beyond is kept whatever its F1: it may be one half of a pair.
    """
    size = np.where(present, values, np.nan).astype(np.float64)
    distinct, level = np.unique(size[present], return_inverse=True)
    number = np.bincount(level, minlength=len(distinct))
    hits = np.bincount(level[failing[present]], minlength=len(distinct))
    up_to, hits_up_to = np.cumsum(number)[:-1], np.cumsum(hits)[:-1]
    bad = int(failing.sum())
    for cut in _best(hits.sum() - hits_up_to, number.sum() - up_to, bad):
        low, high = distinct[cut], distinct[cut + 1]
        yield _candidate(upward(name, low, high), present & (size >= high), failing)
    for cut in _best(hits_up_to, up_to, bad):
        low, high = distinct[cut], distinct[cut + 1]
        yield _candidate(downward(name, low, high, lowest=cut == 0), present & (size <= low), failing)
    for value in distinct[1:-1][_best(hits[1:-1], number[1:-1], bad)]:
        yield _candidate(Condition(feature=name, relation="=", value=exact(value)), size == value, failing)


def _best(hits: NDArray[np.int64], size: NDArray[np.int64], bad: int) -> list[int]:
    """Places of the few best of some masks, given as counts: by F1, and the tightest that covers all failing rows."""
    best: list[int] = np.argsort(-2 * hits / (size + bad), kind="stable")[:CUTS_PER_FEATURE].tolist()
    covering = np.flatnonzero(hits == bad)
    if covering.size and (tightest := int(covering[np.argmin(size[covering])])) not in best:
        best.append(tightest)
    return best


def _candidate(condition: Condition, mask: Mask, failing: Mask) -> _Candidate:
    return _Candidate(conditions=(condition,), mask=mask, hits=int((mask & failing).sum()), size=int(mask.sum()))


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
