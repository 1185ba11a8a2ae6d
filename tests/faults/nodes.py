"""A Ray cluster of nodes of one processor each, every one with processes of its own: `nodes.py COUNT`.

Prints its address and the process of each node's raylet, the head's first, and ends when its input is closed.
"""

import json
import sys
from typing import Any

from ray.cluster_utils import Cluster

SMALLEST_STORE = 80 << 20


def main(count: int) -> None:
    """Runs the cluster."""
    options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": SMALLEST_STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    for _ in range(1, count):
        cluster.add_node(**options)
    raylets = [node.all_processes["raylet"][0].process.pid for node in (cluster.head_node, *cluster.worker_nodes)]
    sys.stdout.write(json.dumps({"address": cluster.address, "raylets": raylets}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray's


if __name__ == "__main__":
    main(int(sys.argv[1]))
