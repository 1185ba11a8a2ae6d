"""A team whose agents are real and live in this process: a cluster without Ray, which a test can take apart."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from accuracy.cluster.agent import Agent
from accuracy.cluster.head import Lost, Seat
from accuracy.cluster.parcel import packed
from faults.plans import TESTS

Answer = Mapping[str, Any] | Lost


class Threads:
    """Agents, each with a thread for its turns. `spoil(name, turns, answer)` may put another answer in its place."""

    def __init__(
        self,
        seats: Sequence[Seat],
        *,
        spoil: Callable[[str, int, Mapping[str, Any]], Answer] = lambda _name, _turns, answer: answer,
    ) -> None:
        self.seats: Sequence[Seat] = seats
        self.left_out: Sequence[str] = ()
        self._spoil = spoil
        self._agents = {seat.name: Agent({}) for seat in seats}
        self._pool = ThreadPoolExecutor(len(seats))
        self._pending: dict[str, Future[Mapping[str, Any]]] = {}
        self._turns = dict.fromkeys(self._agents, 0)
        parcel = vars(packed(TESTS))
        for agent in self._agents.values():
            agent.prepare([parcel])

    def begin(self, seat: Seat, setup: Mapping[str, Any]) -> None:
        self._agents[seat.name].begin(setup)

    def turn(self, seat: Seat, given: Sequence[tuple[Mapping[str, Any], str]], options: Mapping[str, Any]) -> None:
        self._turns[seat.name] += 1
        self._pending[seat.name] = self._pool.submit(self._agents[seat.name].turn, given, options)

    def answers(self, seconds: float) -> list[tuple[Seat, Answer]]:
        wait(self._pending.values(), seconds, return_when="FIRST_COMPLETED")
        ended = [seat for seat in self.seats if seat.name in self._pending and self._pending[seat.name].done()]
        return [
            (seat, self._spoil(seat.name, self._turns[seat.name], self._pending.pop(seat.name).result()))
            for seat in ended
        ]

    def dismiss(self, seat: Seat) -> None:
        """Its process would die here; in this one its workers leave once they have done what they have."""
        self._pending.pop(seat.name, None)
        agent = self._agents.pop(seat.name, None)
        if agent is not None and agent.shift is not None:
            agent.shift.finish()
            while not agent.shift.over:
                time.sleep(0.01)
