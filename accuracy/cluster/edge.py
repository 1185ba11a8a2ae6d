"""The only module that speaks to Ray: joins a cluster, places agents, carries their turns, and ends them.

Ray is an extra. It places processes by resources and tells when one is gone; that a case which crashes or hangs
costs one case is the agents' own doing.
"""

import logging
import os
import re
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from accuracy.arguments import UsageError
from accuracy.cluster import parcel, placement
from accuracy.cluster.agent import Agent
from accuracy.cluster.head import Lost, Seat
from accuracy.cluster.placement import Node, Place
from accuracy.devices import PROBE_SECONDS, Found, parse
from accuracy.executor import cores
from accuracy.installed import installed
from accuracy.rows import plain

PLACED_S: Final = PROBE_SECONDS + 60.0
"""Seconds in which an agent must have been placed and have looked; else its resources are taken for in use."""

REACH_S: Final = 10.0
"""Seconds in which something must answer at a cluster's address."""

ENVIRONMENT: Final[Mapping[str, str]] = {
    "RAY_USAGE_STATS_ENABLED": "0",  # a measurement tells nobody else
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what matters is raised; the rest would fill the terminal
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray is going to do anyway, and warns of
}


@contextmanager
def joined(address: str) -> Iterator["Cluster"]:
    """The cluster at this address, `host:port` or `auto`; "" for one of this machine alone, which ends with the block.

    Raises:
        UsageError: if Ray is not installed, or there is no cluster that this machine is part of.
    """
    if address not in {"", "auto"}:
        _reach(address)
    os.environ.update(ENVIRONMENT)
    if not address:
        # A token of its own, or Ray would leave one in the user's home for every later cluster. Read on import.
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    try:
        import ray  # after its variables are set
    except ImportError as error:
        raise UsageError(f"--engine ray needs Ray ({error}); pip install 'bitsandbytes-accuracy[ray]'") from error
    # What becomes of nodes is told by the head; Ray would print a dead one's log to stdout, which may carry events.
    ray._private.worker.print_to_stdstream = _drop  # noqa: SLF001  there is no public way
    own: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False}
    try:
        ray.init(
            address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **({} if address else own)
        )
    except (ConnectionError, OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UsageError(f"no Ray cluster at {address or 'this machine'}: {_why(error)}") from error
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Refuses what is no address, or where nothing listens: Ray itself would try again for many minutes."""
    match = re.fullmatch(r"([A-Za-z0-9.:_-]+):(\d{1,5})", address)
    if match is None or "://" in address:
        raise UsageError(f"--address {address!r} is no address of a Ray cluster; write host:port or auto")
    try:
        socket.create_connection((match[1], int(match[2])), timeout=REACH_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"there is no Ray cluster at {address} ({error}); start one with `ray start --head`, then join it here"
        ) from error


@dataclass(eq=False, kw_only=True)
class _Hired:
    """An agent: its place, Ray's handle, and the answer that is waited for."""

    place: Place
    handle: Any
    pending: Any = None


@dataclass(eq=False)
class Cluster:
    """The agents on a cluster, a `Team` once they have looked. `ray` is the module, which has joined.

    `notes` has a line for who runs it on each agent, with addresses, which go nowhere else.
    """

    ray: Any
    notes: Sequence[str] = ()
    seats: Sequence[Seat] = ()
    left_out: Sequence[str] = ()
    _hired: dict[str, _Hired] = field(default_factory=dict)

    def look(self, requested: Sequence[str], *, interpreter: str, overlay: Sequence[Path]) -> Found:
        """Places the agents for these devices, or for all there are, and asks what is there.

        Raises:
            DeviceError: if a name is no device's or has an index, or versions differ between nodes.
            LibraryError: if a folder of the overlay cannot be read.
        """
        placement.checked(requested)
        known = installed().adapters
        adapters = [known[kind] for kind in dict.fromkeys(parse(name).kind for name in requested)] or [*known.values()]
        for place in placement.places(self._nodes(), adapters):
            self._hired[place.name] = _Hired(place=place, handle=self._hire(place))
        looks = self._looks(interpreter, overlay)
        places = {name: hired.place for name, hired in self._hired.items()}
        mustered = placement.muster(places, looks, adapters, requested)
        self.left_out = [f"{name} is left out" for name in mustered.left_out]
        told = dict.fromkeys(mustered.serving, "measures")
        told |= {name: f"is left out: {reason}" for name, reason in mustered.left_out.items()}
        self.notes = [f"{name} ({places[name].address}) {words}" for name, words in sorted(told.items())]
        self.seats = [
            Seat(name=name, devices=devices, workers=places[name].workers) for name, devices in mustered.serving.items()
        ]
        for name in places.keys() - mustered.serving.keys():
            self._end(name)
        return mustered.found

    def _nodes(self) -> list[Node]:
        return [
            Node(id=seen["NodeID"], address=seen["NodeManagerAddress"], resources=seen["Resources"])
            for seen in self.ray.nodes()
            if seen["Alive"]
        ]

    def _hire(self, place: Place) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0}
        match place.resource:
            case "CPU":
                options["num_cpus"] = place.amount
            case "GPU":
                options["num_gpus"] = place.amount
            case _:
                options["resources"] = {place.resource: place.amount}
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(place.node, soft=False)
        return self.ray.remote(Agent).options(**options).remote(dict(place.environment), dies_with_parent=True)

    def _looks(self, interpreter: str, overlay: Sequence[Path]) -> dict[str, dict[str, Any]]:
        parcels = [vars(parcel.packed(folder)) for folder in overlay]
        sent = self.ray.put(parcels)
        theirs = "" if interpreter == sys.executable else interpreter
        asked = {hired.handle.look.remote(theirs, sent): name for name, hired in self._hired.items()}
        self.ray.wait(list(asked), num_returns=len(asked), timeout=PLACED_S)
        return {name: self._look(reference) for reference, name in asked.items()}

    def _look(self, reference: Any) -> dict[str, Any]:
        try:
            look: dict[str, Any] = self.ray.get(reference, timeout=0)
        except self.ray.exceptions.GetTimeoutError:
            return {"error": f"it could not be placed within {PLACED_S:g} s: are its resources in use?"}
        except self.ray.exceptions.RayError as error:
            return {"error": f"it could not be placed: {_said(error)}"}
        return look

    # A team

    def begin(self, seat: Seat, setup: Mapping[str, Any]) -> None:
        """Tells an agent what it serves and on which terms."""
        self._hired[seat.name].handle.begin.remote(setup)

    def turn(self, seat: Seat, given: Sequence[tuple[Mapping[str, Any], str]], options: Mapping[str, Any]) -> None:
        """Begins a turn."""
        hired = self._hired[seat.name]
        hired.pending = hired.handle.turn.remote(given, options)

    def answers(self, seconds: float) -> list[tuple[Seat, Mapping[str, Any] | Lost]]:
        """The turns that have ended."""
        pending = {self._hired[seat.name].pending: seat for seat in self.seats if self._waits(seat)}
        if not pending:
            return []
        ended, _ = self.ray.wait(list(pending), num_returns=1, timeout=seconds)
        answers: list[tuple[Seat, Mapping[str, Any] | Lost]] = []
        for reference in ended:
            seat = pending[reference]
            self._hired[seat.name].pending = None
            try:
                answers.append((seat, self.ray.get(reference)))
            except self.ray.exceptions.RayError as error:
                answers.append((seat, Lost(reason=_said(error))))
        return answers

    def _waits(self, seat: Seat) -> bool:
        hired = self._hired.get(seat.name)
        return hired is not None and hired.pending is not None

    def dismiss(self, seat: Seat) -> None:
        """Ends an agent and, since they die with it, its workers."""
        self._end(seat.name)

    def _end(self, name: str) -> None:
        hired = self._hired.pop(name, None)
        if hired is not None:
            with suppress(self.ray.exceptions.RayError):
                self.ray.kill(hired.handle)


def _drop(*_: object, **__: object) -> None:
    """Prints nothing."""


def _why(error: BaseException) -> str:
    """What keeps this process from a cluster, and what to do."""
    said = f"{error} {error.__cause__}"
    if "AuthToken" in said or "AuthenticationError" in said:
        return "it wants a token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on its nodes"
    return f"{plain(str(error))[:120]}; run `ray start --address` here first, or leave --address out"


def _said(error: BaseException) -> str:
    """What Ray says of an agent that is gone: no more than the kind, since the rest names machines."""
    return f"Ray says {type(error).__name__}"
