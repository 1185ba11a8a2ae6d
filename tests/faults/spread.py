"""One run of planted tasks on a cluster, as a process of its own that can be killed: `spread.py ADDRESS FOLDER COUNT`.

Says `under way` once some outcomes are there. Writes the rows and what happened to `FOLDER/run.json` at the end.
"""

import json
import sys
from pathlib import Path

from accuracy.cluster import edge, head
from accuracy.record import Progress
from faults.campaign import FAULTS
from faults.plans import TESTS, comparable, plan

SOME = 12

LIGHT = """
from types import SimpleNamespace as Values
__version__ = "2"
cpu = Values(get_cpu_capability=lambda: "DEFAULT")
backends = Values(cpu=cpu, mps=Values(is_available=lambda: False))
"""
"""Stands for torch on a node that only has to say that it has a processor: importing the real one takes seconds."""


def main(address: str, folder: Path, count: int) -> None:
    """Joins the cluster and measures."""

    def told(now: Progress) -> None:
        if now.done == SOME:
            sys.stdout.write("under way\n")
            sys.stdout.flush()

    light = folder / "light"
    light.mkdir()
    (light / "torch.py").write_text(LIGHT, encoding="utf-8")
    with edge.joined(address) as cluster:
        found = cluster.look(["cpu"], interpreter=sys.executable, overlay=[TESTS, light])
        execution = head.execute(
            cluster,
            plan(count, FAULTS),
            list(found.devices),
            timeout_s=1.0,
            bounds={},
            measure="faults.workloads:slow",
            modules=(),
            on_progress=told,
        )
    said = {
        "rows": comparable(execution.rows),
        "incidents": list(execution.incidents),
        "complete": execution.complete,
        "interrupted": execution.interrupted,
        "seats": [seat.name for seat in cluster.seats],
    }
    (folder / "run.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
