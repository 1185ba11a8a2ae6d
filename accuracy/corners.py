"""Conjunctions of boundaries: where strata of a case meet, and configs that lie in several at once.

A plan meets each boundary in each dtype, but two at once only by luck. Faults that need two or three
conditions hide there.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy, just

from accuracy.case import Case, Stratum
from accuracy.plan import draws
from accuracy.strategies import DTYPES, dtypes, seeds

Corner = tuple[str, str, str]
"""Two strata by name, in order, and a dtype."""

MOST_MERGED: Final = 3
"""Strata that a conjunction for the hunt has at most; more leave little of the config free."""

GENERAL_FIRST: Final = 3
"""How much sooner the turn of a corner comes that fixes few fields: in proportion to fields⁻³."""

MOST_KNOWN: Final = 4
"""Configs of a stratum that are crossed with as many of another, to see whether the two exclude each other."""

MOST_MIXED: Final = 2
"""Fields that two strata both fix up to which every mixture of theirs is tried."""

_TRIES: Final = 2
"""Draws until two strata that share no field are held to have no config in common; one if they share some."""


def corners_met(case: Case, config: Any) -> set[Corner]:
    """The corners of `case` in which `config` lies."""
    names = sorted(stratum.name for stratum in case.strata if stratum.holds(config))
    return {(one, other, config.dtype) for one, other in itertools.combinations(names, 2)}


def conjunctions(case: Case, strata: Sequence[Stratum]) -> SearchStrategy[tuple[Any, int]]:
    """Configs with a data seed, in up to three of these strata at once and in any dtype.

    Where two strata fix the same field the later one wins, so the earlier may be lost. The seed is drawn
    first, for Hypothesis climbs from the last choice backwards.
    """

    @st.composite
    def drawn(draw: st.DrawFn) -> tuple[Any, int]:
        seed = draw(seeds)
        places = st.integers(0, len(strata) - 1)
        chosen = draw(st.lists(places, max_size=MOST_MERGED, unique=True)) if strata else []
        fixed: dict[str, SearchStrategy[Any]] = {"dtype": just(draw(dtypes))}
        for place in chosen:
            fixed |= strata[place].fixed
        return draw(case.draw(**fixed)), seed

    return drawn()


def sweep(
    case: Case, strata: Sequence[Stratum], met: set[Corner], label: str, known: Sequence[Any] = ()
) -> Iterator[tuple[Any, int] | None]:
    """One config with a data seed for each corner of these strata that is not yet in `met`; None if there is none.

    What is drawn is added to `met`; so can be what others meet in the meantime. Corners that fix few fields
    come first, for they say more about the layer, and among equals the order is the label's. Each config lies
    in as many other strata as leave its own alone. `known` configs of the case show without a draw which strata
    exclude each other.
    """
    random = Random(label)  # noqa: S311  an order, no secret
    examples = {stratum.name: list(itertools.islice(filter(stratum.holds, known), MOST_KNOWN)) for stratum in strata}
    impossible: set[tuple[str, str]] = set()
    for one, other, dtype in _in_turn(strata, random):
        first, second = sorted((one.name, other.name))
        if (first, second, dtype) in met or (first, second) in impossible:
            continue
        drawn = None
        if _may_meet(one, other, examples):
            drawn = _in_both(case, (one, other), dtype, random.sample(strata, len(strata)), label)
        if drawn is None:
            impossible.add((first, second))
        else:
            met |= corners_met(case, drawn[0])
        yield drawn


def _in_turn(strata: Sequence[Stratum], random: Random) -> list[tuple[Stratum, Stratum, str]]:
    """All corners in a weighted random order (Efraimidis and Spirakis 2006)."""
    every = [(one, other, dtype) for one, other in itertools.combinations(strata, 2) for dtype in DTYPES]
    keys = [random.random() ** (len({*one.fixed, *other.fixed}) ** GENERAL_FIRST) for one, other, _ in every]
    return [corner for _, corner in sorted(zip(keys, every, strict=True), key=lambda pair: -pair[0])]


def _may_meet(one: Stratum, other: Stratum, examples: Mapping[str, Sequence[Any]]) -> bool:
    """Whether configs of the two, crossed in their fields, can lie in both; yes, if there are none to cross."""
    pairs = list(itertools.product(examples[one.name], examples[other.name]))
    return not pairs or any(
        one.holds(crossed) and other.holds(crossed)
        for mine, its in pairs
        for way in _ways(one, other)
        for crossed in (
            replace(mine, **{name: getattr(its, name) for name in other.fixed if way.get(name) is not one}),
        )
    )


def _in_both(
    case: Case, pair: tuple[Stratum, Stratum], dtype: str, others: Sequence[Stratum], label: str
) -> tuple[Any, int] | None:
    """A config in both strata and in as many others as do not touch a field of theirs; None if none is found."""
    one, other = pair
    for number, way in enumerate(_ways(one, other)):
        shared = {name: source.fixed[name] for name, source in way.items()}
        fixed = {**one.fixed, **other.fixed, **shared, "dtype": just(dtype)}
        for another in others:
            if not {*another.fixed} & {*fixed}:
                fixed |= another.fixed
        strategy = case.draw(**fixed).filter(lambda config: one.holds(config) and other.holds(config))
        tries = 1 if shared else _TRIES
        if drawn := draws(strategy, f"{label}/{one.name}/{other.name}/{dtype}/{number}", 1, tries=tries):
            return drawn[0]
    return None


def _ways(one: Stratum, other: Stratum) -> Iterator[dict[str, Stratum]]:
    """Which of the two gives each field that both fix: of up to two every mixture, of more all from the same."""
    shared = sorted({*one.fixed} & {*other.fixed})
    mixed = itertools.product((one, other), repeat=len(shared))
    alike = ([each] * len(shared) for each in (one, other))
    for sources in mixed if len(shared) <= MOST_MIXED else alike:
        yield dict(zip(shared, sources, strict=True))
