"""What each agent has to do: shares of the plan, and where they go when an agent is lost. Pure.

The unit is a pair of a task, by its index, and the name of a device. An agent serves some devices; agents that
serve one device are interchangeable there, so a pair that comes back goes to any other.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

Pair = tuple[int, str]
"""Index of a task, and name of a device."""

AHEAD_S: Final = 2.0
"""Seconds of work that an agent has waiting, so that it never waits for the head."""

AHEAD: Final = 4
"""Pairs a worker that an agent has waiting at least."""

MOST_LOSSES: Final = 2
"""Losses of an agent that a pair may be part of before it is given to no other: it may be what ends them."""


def room(*, waiting: int, workers: int, rate: float, pool: int, agents: int) -> int:
    """How many more pairs an agent is given that has so many waiting and settles so many a second.

    At the end of a plan each of the agents gets its part of what is left in the pool, so that all end together.
    """
    wanted = max(AHEAD * workers, round(rate * AHEAD_S))
    return max(0, min(wanted - waiting, -(-pool // agents)))


@dataclass(eq=False, kw_only=True)
class _Share:
    """What one agent serves and has."""

    devices: list[str]
    pairs: dict[Pair, None] = field(default_factory=dict)


class Ledger:
    """Every pair that is not settled is in the pool of its device, in one agent's share, or stranded."""

    def __init__(self, left: Mapping[str, Iterable[int]]) -> None:
        """The pairs to settle, by device."""
        self._pools = {device: deque(indices) for device, indices in left.items()}
        self._shares: dict[str, _Share] = {}
        self._losses: Counter[Pair] = Counter()
        self._hopeless: dict[Pair, str] = {}
        self.closed: dict[str, str] = {}
        """Why nobody serves a device any more."""

    def join(self, agent: str, devices: Sequence[str]) -> None:
        """Counts in an agent that serves these devices."""
        self._shares[agent] = _Share(devices=[device for device in devices if device in self._pools])

    @property
    def agents(self) -> list[str]:
        """Those that serve a device still."""
        return [name for name, share in self._shares.items() if share.devices]

    @property
    def done(self) -> bool:
        """Whether every pair is settled."""
        return not (any(self._pools.values()) or any(share.pairs for share in self._shares.values()) or self._hopeless)

    def pool(self, agent: str) -> int:
        """Pairs that this agent could be given."""
        return sum(len(self._pools[device]) for device in self._shares[agent].devices)

    def fellows(self, agent: str) -> int:
        """Agents that could be given some of the same, itself counted."""
        mine = self._shares[agent].devices
        return sum(any(device in mine for device in share.devices) for share in self._shares.values())

    def share(self, agent: str) -> list[Pair]:
        """What an agent has and has not settled."""
        return list(self._shares[agent].pairs)

    def give(self, agent: str, most: int) -> list[Pair]:
        """Moves pairs into an agent's share, from the pools of its devices in turn; returns them."""
        share = self._shares[agent]
        given: list[Pair] = []
        while len(given) < most and self.pool(agent):
            given += [(self._pools[device].popleft(), device) for device in share.devices if self._pools[device]]
        share.pairs.update(dict.fromkeys(given))
        return given

    def holds(self, agent: str, pair: Pair) -> bool:
        """Whether the pair is in this agent's share."""
        return pair in self._shares[agent].pairs

    def settled(self, agent: str, pair: Pair) -> None:
        """Strikes a pair out."""
        del self._shares[agent].pairs[pair]

    def back(self, agent: str, pair: Pair) -> None:
        """Puts a pair that the agent did not do back into its pool, to be given first."""
        del self._shares[agent].pairs[pair]
        self._pools[pair[1]].appendleft(pair[0])

    def close(self, agent: str, device: str, reason: str) -> None:
        """This agent serves this device no more: what it has of it goes back."""
        share = self._shares[agent]
        if device not in share.devices:
            return
        share.devices.remove(device)
        for pair in [pair for pair in reversed(share.pairs) if pair[1] == device]:
            self.back(agent, pair)
        self.unserved(device, reason)

    def unserved(self, device: str, reason: str) -> None:
        """Closes the device for this reason if no agent serves it."""
        if not any(device in each.devices for each in self._shares.values()):
            self.closed[device] = reason

    def lose(self, agent: str, reason: str) -> int:
        """The agent is gone: what it had goes back, save what was with too many that went; returns how many."""
        pairs = self.share(agent)
        self._losses.update(pairs)
        for pair in pairs:
            if self._losses[pair] >= MOST_LOSSES:
                self.settled(agent, pair)
                self._hopeless[pair] = (
                    f"device lost: {MOST_LOSSES} agents that had it were lost, the last one: {reason}"
                )
        for device in list(self._shares[agent].devices):
            self.close(agent, device, f"device lost: {reason}")
        return len(pairs)

    def stranded(self) -> Iterator[tuple[Pair, str]]:
        """Takes out the pairs that nobody is left for, each with the reason."""
        for device, reason in self.closed.items():
            while self._pools[device]:
                yield (self._pools[device].popleft(), device), reason
        while self._hopeless:
            yield self._hopeless.popitem()

    def abandon(self) -> Iterator[Pair]:
        """Takes out every pair that is in a pool."""
        for device, pool in self._pools.items():
            while pool:
                yield pool.popleft(), device
