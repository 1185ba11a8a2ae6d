"""Where a plan is measured: on this machine, or on the nodes of a cluster. Each engine probes and executes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from accuracy import devices, executor
from accuracy.arguments import UsageError, exploring
from accuracy.devices import Found
from accuracy.exploration import Budget
from accuracy.prepared import Request
from accuracy.record import Execution

ENGINES: Final = ("local", "ray")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How devices are found for a request, and how a plan is executed on them, as `accuracy.executor.execute`.

    One that `draws` begins before the plan is drawn to its end. `notes` has, once it has probed, what to tell who
    runs it, a line for each part of a cluster.
    """

    probe: Callable[[Request], Found]
    execute: Callable[..., Execution]
    explores: bool
    draws: bool
    notes: Callable[[], Sequence[str]]

    def budget(self, asked: str | None, usual_s: float) -> Budget | None:
        """How much to explore, as `accuracy.arguments.exploring`; nothing where this engine cannot.

        Raises:
            UsageError: if what is asked for is no budget, or is one that this engine has no use for.
        """
        budget: Budget | None = exploring(asked, usual_s if self.explores else 0.0)
        if budget is not None and not self.explores:
            raise UsageError("exploring needs --engine local; leave --explore out, or run it there with --explore")
        return budget


def _here(request: Request) -> Found:
    return devices.probe(request.interpreter, request.overlay)


@contextmanager
def started(name: str, address: str | None) -> Iterator[Engine]:
    """The engine of this name, ready until the block ends.

    Raises:
        UsageError: if there is no such engine, it cannot be used here, or an address is given to one that takes none.
    """
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}; choose one of {', '.join(ENGINES)}")
    if name == "local":
        if address is not None:
            raise UsageError("--address is of a Ray cluster; give --engine ray with it")
        yield Engine(probe=_here, execute=executor.execute, explores=True, draws=True, notes=tuple)
        return
    from accuracy.cluster import edge, head

    with edge.joined(address or "") as cluster:
        yield Engine(
            probe=lambda request: cluster.look(
                request.devices, interpreter=request.interpreter, overlay=request.overlay
            ),
            execute=partial(head.execute, cluster),
            explores=False,
            draws=False,
            notes=lambda: cluster.notes,
        )
