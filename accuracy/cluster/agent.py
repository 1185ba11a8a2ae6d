"""What runs on a node: looks at its devices, and measures its share of a plan on them.

It has the supervisor and the workers of a run on one machine, and no torch. It knows nothing of the cluster but
its calls, whose values are plain; it dies with the process it is in, and its workers die with it.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from accuracy import __version__, devices
from accuracy.attempt import Terms
from accuracy.cluster.parcel import Parcel, unpacked
from accuracy.cluster.shift import Shift
from accuracy.executor import share_of_memory
from accuracy.library import LibraryError
from accuracy.worker import die_with

TURN_S: Final = 1.0
"""Seconds that a turn takes at most."""


class Agent:
    """One seat of a cluster: the processors of a node, or one of its accelerators."""

    def __init__(self, environment: Mapping[str, str], *, dies_with_parent: bool = False) -> None:
        """With these variables, which say to the workers which device is theirs, on top of those of the node.

        The process of an agent `dies_with_parent` at once, since Ray lets it live on when only its raylet is killed.
        """
        if dies_with_parent:
            die_with(os.getppid())
        os.environ.update(environment)
        self.shift: Shift | None = None
        self._setup: Mapping[str, Any] = {}
        self._overlay: Sequence[Path] = ()

    def prepare(self, parcels: Sequence[Mapping[str, Any]]) -> None:
        """Unpacks libraries, each with `name` and `data`, that are to be first on the workers' path.

        Raises:
            LibraryError: if one cannot be unpacked here.
        """
        self._overlay = [unpacked(Parcel(name=each["name"], data=each["data"])) for each in parcels]

    def look(self, interpreter: str, parcels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What this node has, as `accuracy.devices.Found` by field, with the version of `accuracy`.

        Instead, an `error` that is not empty says why this agent is of no use. `interpreter` is the Python that
        workers run, "" for that of the agent; `parcels` as for `prepare`.
        """
        try:
            self.prepare(parcels)
        except LibraryError as error:
            return {"accuracy": __version__, "error": str(error)}
        found = devices.probe(interpreter or sys.executable, self._overlay)
        return {"accuracy": __version__, "error": "", **asdict(found)}

    def begin(self, setup: Mapping[str, Any]) -> None:
        """Takes the `devices` it serves and the `terms` of `accuracy.attempt.Terms` on which workers run.

        `memory` None is this node's share, and `interpreter` "" that of the agent.
        """
        self._setup = setup

    def turn(self, given: Sequence[tuple[Mapping[str, Any], str]], options: Mapping[str, Any]) -> dict[str, Any]:
        """Takes tasks, each with its device, and tells what has happened since the last turn.

        Args:
            given: tasks as workers are sent them, with the device of each.
            options: `finish`, that no more will come; `low`, how many may wait when the turn ends early;
                `left_s`, seconds until no task may be begun, or None.

        Returns:
            `reports` as `accuracy.cluster.shift.Report`, `waiting` pairs, and whether all is `over`.
        """
        if self.shift is None and not given:
            return {"reports": [], "waiting": 0, "over": True}
        if self.shift is None:
            self.shift = Shift(self._setup["devices"], self._terms(options["left_s"]))
        if given:
            self.shift.give([(dict(task), device) for task, device in given])
        if options["finish"]:
            self.shift.finish()
        reports, waiting = self.shift.take(low=options["low"], seconds=TURN_S)
        over = self.shift.over and not reports
        if over:
            self.shift = None
        return {"reports": reports, "waiting": waiting, "over": over}

    def _terms(self, left_s: float | None) -> Terms:
        terms = dict(self._setup["terms"])
        kinds = [devices.parse(name).adapter for name in self._setup["devices"]]
        workers = terms["jobs"] * any(kind.on_host for kind in kinds)
        workers += sum(kind.workers_for(terms["accelerator_jobs"], terms["jobs"]) for kind in kinds if not kind.on_host)
        memory = share_of_memory(workers) if terms["memory"] is None else terms["memory"]
        deadline = None if left_s is None else time.monotonic() + left_s
        return Terms(
            **{
                **terms,
                "memory": memory,
                "deadline": deadline,
                "interpreter": terms["interpreter"] or sys.executable,
                "overlay": self._overlay,
            }
        )
