"""Conditions on one input, and on two, that may tell failing rows from passing ones, with the rows that meet them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.coded import Coded
from reports.condition import Condition, downward, exact, upward
from reports.features import Value

Mask = NDArray[np.bool_]

CUTS_PER_FEATURE = 8


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Conditions that hold together, and the rows that meet them: `size` rows, of which `hits` fail."""

    conditions: tuple[Condition, ...]
    mask: Mask
    hits: int
    size: int

    def f1(self, failing: int) -> float:
        """How well it describes so many failing rows: the harmonic mean of precision and recall."""
        return 2 * self.hits / (self.size + failing)

    def reach(self, failing: int) -> float:
        """The best F1 that this and other conditions together can have: what they meet is part of what this meets."""
        return 2 * self.hits / (self.hits + failing)


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """How many rows have each level of a column, how many of these fail, and how many fail in all."""

    number: NDArray[np.int64]
    hits: NDArray[np.int64]
    bad: int


def singles(inputs: Mapping[str, Coded], failing: Mask) -> list[Candidate]:
    """The conditions on one input that are worth a look: levels, and of sizes the few best cuts."""
    return [candidate for name, column in inputs.items() for candidate in _of_input(name, column, failing)]


def pairs(halves: Sequence[Candidate], failing: Mask) -> list[Candidate]:
    """The few best conjunctions of conditions on two different features.

    Only the best by F1, the tightest that covers every failing row and the largest that no passing row meets are
    built.
    """
    if not halves:
        return []
    masks = np.stack([candidate.mask for candidate in halves])
    sizes, hits = _shared(masks), _shared(masks[:, failing])
    bad = int(failing.sum())
    names = np.array([candidate.conditions[0].feature for candidate in halves])
    allowed = np.triu(names[:, None] != names[None, :])
    if not allowed.any():
        return []
    f1 = np.where(allowed, 2 * hits / (sizes + bad), -1)
    covering = np.where(allowed & (hits == bad), -sizes, -np.inf)
    pure = np.where(allowed & (hits == sizes), hits, -1)
    places = {int(np.argmax(f1)), int(np.argmax(covering)), int(np.argmax(pure))}
    built = []
    for first, second in (divmod(place, len(halves)) for place in sorted(places)):
        built.append(
            Candidate(
                conditions=halves[first].conditions + halves[second].conditions,
                mask=halves[first].mask & halves[second].mask,
                hits=int(hits[first, second]),
                size=int(sizes[first, second]),
            )
        )
    return built


def _shared(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many columns each two rows have in common, from the first row on to the second.

    Bits are counted. A product of matrices would wake threads of its library, and they wait for work at full speed.
    """
    rows = [int.from_bytes(row.tobytes()) for row in np.packbits(masks, axis=1)]
    shared = np.zeros((len(rows), len(rows)), dtype=np.int64)
    for place, one in enumerate(rows):
        shared[place, place:] = [(one & other).bit_count() for other in rows[place:]]
    return shared


def _of_input(name: str, column: Coded, failing: Mask) -> Iterator[Candidate]:
    of = _Counts(number=column.counts(), hits=column.at(failing).counts(), bad=int(failing.sum()))
    occurring = np.flatnonzero(of.number).tolist()
    if not all(_is_number(column.levels[code]) for code in occurring):
        yield from _levels(name, column, of)
    elif occurring:
        yield from _thresholds(name, column, of)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _levels(name: str, column: Coded, of: _Counts) -> Iterator[Candidate]:
    alike: dict[Value, list[int]] = {}
    for code in np.flatnonzero(of.number).tolist():
        alike.setdefault(column.levels[code], []).append(code)  # 1, 1.0 and True are one value here
    if len(alike) == 1:
        return
    number, hits, present = of.number.tolist(), of.hits.tolist(), column.codes >= 0
    total, bad = sum(number), sum(hits)
    for level, (first, *more) in sorted(alike.items(), key=lambda entry: (str(type(entry[0])), str(entry[0]))):
        equal, size, own = column.codes == first, number[first], hits[first]
        for code in more:
            equal, size, own = equal | (column.codes == code), size + number[code], own + hits[code]
        is_level, is_other = (Condition(feature=name, relation=relation, value=level) for relation in "=≠")
        yield Candidate(conditions=(is_level,), mask=equal, hits=own, size=size)
        if len(alike) > 2:  # noqa: PLR2004  # of two levels, "not one" is "the other"
            yield Candidate(conditions=(is_other,), mask=present & ~equal, hits=bad - own, size=total - size)


def _thresholds(name: str, column: Coded, of: _Counts) -> Iterator[Candidate]:
    """Cuts between neighbouring values, and single values; the best few in each direction.

    A cut that every failing row lies beyond is kept whatever its F1: it may be one half of a pair.
    """
    occurring = np.flatnonzero(of.number)
    distinct, place = np.unique([float(column.levels[code]) for code in occurring], return_inverse=True)
    rank_of = np.full(len(column.levels) + 1, -1, dtype=np.int64)  # its last entry is that of no value
    rank_of[occurring] = place
    rank = rank_of[column.codes]
    number, hits = np.zeros((2, len(distinct)), dtype=np.int64)
    np.add.at(number, place, of.number[occurring])
    np.add.at(hits, place, of.hits[occurring])
    up_to, hits_up_to = np.cumsum(number)[:-1], np.cumsum(hits)[:-1]
    beyond, hits_beyond = number.sum() - up_to, hits.sum() - hits_up_to
    for cut in _best(hits_beyond, beyond, of.bad):
        condition = upward(name, distinct[cut], distinct[cut + 1])
        yield Candidate(conditions=(condition,), mask=rank > cut, hits=int(hits_beyond[cut]), size=int(beyond[cut]))
    for cut in _best(hits_up_to, up_to, of.bad):
        condition = downward(name, distinct[cut], distinct[cut + 1], lowest=cut == 0)
        mask = (rank >= 0) & (rank <= cut)
        yield Candidate(conditions=(condition,), mask=mask, hits=int(hits_up_to[cut]), size=int(up_to[cut]))
    for inner in _best(hits[1:-1], number[1:-1], of.bad):
        condition = Condition(feature=name, relation="=", value=exact(distinct[inner + 1]))
        mask = rank == inner + 1
        yield Candidate(conditions=(condition,), mask=mask, hits=int(hits[inner + 1]), size=int(number[inner + 1]))


def _best(hits: NDArray[np.int64], size: NDArray[np.int64], bad: int) -> list[int]:
    """Places of the few best of some masks, given as counts: by F1, and the tightest that covers all failing rows."""
    best: list[int] = np.argsort(-2 * hits / (size + bad), kind="stable")[:CUTS_PER_FEATURE].tolist()
    covering = np.flatnonzero(hits == bad)
    if covering.size and (tightest := int(covering[np.argmin(size[covering])])) not in best:
        best.append(tightest)
    return best
