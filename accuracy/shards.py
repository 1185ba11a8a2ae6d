"""Shards: which tasks of a plan each of n machines measures, and what a run that holds some of them lacks.

Tasks are dealt like cards, one to each shard a round, and each round begins one shard further on. So of any tasks
that follow each other in the plan (a case, a stratum) no shard gets over two more than another, and what repeats in
the plan, as dtypes do, does not all fall to one. Where a task goes depends on its place in the plan alone.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from accuracy import shape
from accuracy.case import Stage, Verdict
from accuracy.cell import Cell

MOST: Final = 100_000
"""Shards that a plan is dealt to at most."""

Parts = Mapping[str, Any]
"""What a manifest says of a run that is a part, or was put together from some: `asked`, the shard that it was asked
for ("" if it was put together), hash and size of the whole plan, by device the shards `held`, and by folder why a run
that should have been a part was `refused`."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """The share `number` of `of`, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        """As on the command line: `2/3`."""
        return f"{self.number}/{self.of}"


class Whole(NamedTuple):
    """What names a whole plan, of which a shard holds some: its hash, as `accuracy.plan.plan_hash`, and its size."""

    plan_hash: str
    plan_size: int


def parse(text: str) -> Shard:
    """The shard that a text such as `2/3` names.

    Raises:
        ValueError: for anything else.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text, re.ASCII)
    if match is None or not int(match[1]) <= int(match[2]) <= MOST:
        raise ValueError(f"shard {text!r} is none; write 2/3 for the second of three, at most {MOST}")
    return Shard(number=int(match[1]), of=int(match[2]))


def places(size: int, shard: Shard) -> NDArray[np.int64]:
    """Where in a plan of `size` tasks those of the shard stand, in order."""
    rounds = np.arange(-(-size // shard.of), dtype=np.int64)
    found = rounds * shard.of + (shard.number - 1 - rounds) % shard.of
    return found[found < size]


def number_of(size: int, shard: Shard) -> int:
    """How many tasks of a plan of `size` the shard has."""
    rounds, rest = divmod(size, shard.of)
    return rounds + int((shard.number - 1 - rounds) % shard.of < rest)


def holds(shard: Shard, place: int) -> bool:
    """Whether the task at this place in a plan is the shard's."""
    turn, at = divmod(place, shard.of)
    return at == (shard.number - 1 - turn) % shard.of


def asked(shard: Shard, whole: Whole, devices: Iterable[str]) -> dict[str, Any]:
    """What the manifest of a run says that was asked for one shard of this plan."""
    return {
        "asked": str(shard),
        **whole._asdict(),
        "held": {device: [str(shard)] for device in devices},
        "refused": {},
    }


def misfit(parts: Any) -> str:
    """What is wrong with an entry `parts` that comes from outside, in words; nothing if it can be one."""
    if parts is None or (found := shape.misfit(parts, shape.PARTS)):
        return "" if parts is None else f"parts: {found}"
    try:
        for text in (*filter(None, [parts["asked"]]), *itertools.chain(*parts["held"].values())):
            parse(text)
    except ValueError as error:
        return f"parts: {error}"
    return "" if parts["plan_size"] >= 0 else "parts: a plan of no size"


def is_one(parts: Parts | None) -> bool:
    """Whether the run was asked for one shard: what others hold is nothing that it lacks."""
    return parts is not None and parts["asked"] not in {"", "1/1"}


def absent(parts: Parts | None) -> dict[str, list[Shard]]:
    """By device the shards that a run lacks which was put together.

    Of shards of several deals the one counts of which the smallest share is missing.
    """
    if parts is None or is_one(parts):
        return {}
    lacking = {}
    for device, names in parts["held"].items():
        deals: dict[int, set[int]] = {}
        for shard in map(parse, names):
            deals.setdefault(shard.of, set()).add(shard.number)
        of, held = max(deals.items(), key=lambda deal: (len(deal[1]) / deal[0], -deal[0]), default=(1, set()))
        lacking[device] = [Shard(number=number, of=of) for number in range(1, of + 1) if number not in held]
    return {device: shards for device, shards in lacking.items() if shards}


def gaps(parts: Parts | None) -> list[tuple[str, str]]:
    """What keeps a run from being the whole of its plan, each as a device ("" for all) and in words."""
    if parts is None:
        return []
    if is_one(parts):
        one = f"this is shard {parts['asked']} of its plan; `accuracy merge` of all of them gives the verdict"
        return [("", one)]
    refused = [("", f"{name} could not be merged: {why}") for name, why in parts["refused"].items()]
    lacking = [
        (device, f"{device}: {_named(shards)} did not run, {_count(parts, shards)} of {parts['plan_size']} cases")
        for device, shards in absent(parts).items()
    ]
    return [*refused, *lacking]


def _named(shards: Sequence[Shard]) -> str:
    if shards[0].of == 1:
        return "all of the plan"
    few = [str(shard) for shard in shards[:5]]
    more = f" and {len(shards) - len(few)} more" if len(shards) > len(few) else ""
    return f"shard{'s' if len(shards) > 1 else ''} {', '.join(few)}{more} of the plan"


def _count(parts: Parts, shards: Iterable[Shard]) -> int:
    return sum(number_of(parts["plan_size"], shard) for shard in shards)


def unseen(cells: Sequence[Cell], parts: Parts | None) -> list[Cell]:
    """A cell, NOT RUN, for each device that lacks shards and each case and dtype that occurs."""
    ends = {(cell.case, cell.dtype): cell for cell in cells}.values()
    return [
        replace(
            cell,
            device=device,
            stage=Stage.CONTRACT.value,
            quantity="shards",
            verdict=Verdict.NOT_RUN,
            worst_ratio=float("nan"),
            worst_id="",
            n=0,
            failing=0,
            caused_by="",
            limit_id="",
            basis="every shard of the plan runs on every device",
            reason=f"{_named(shards)} did not run",
            p99=float("nan"),
            largest=float("nan"),
        )
        for device, shards in absent(parts).items()
        for cell in ends
    ]
