"""On an NVIDIA device: a poisoned context costs one task, memory that runs out another, and nothing else."""

from pathlib import Path

import pytest
from faults.plans import comparable, plan, reasons, run

from bench.processes import left_behind, mark

pytestmark = pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="needs an NVIDIA device")

FAULTS = {20: "assert", 40: "memory", 60: "hang", 80: "address"}


def test_faults_of_the_device_cost_their_tasks_and_no_other() -> None:
    """A device-side assert, an allocation beyond the card, a hang and an illegal address among 100 good tasks."""
    options = {"measure": "faults.cuda:on_cuda", "modules": ["torch", "bitsandbytes"], "timeout_s": 20.0}
    token = mark()
    execution = run(plan(100, FAULTS), ["cuda"], **options)
    unbroken = run(plan(100), ["cuda"], **options)

    seen = reasons(execution)
    assert list(seen) == list(FAULTS)
    assert "crash: device error" in seen[20]
    assert "device-side assert triggered" in seen[20]
    assert seen[40].startswith("crash oom: out of memory: OutOfMemoryError")
    assert seen[60].startswith("timeout timeout: no answer within 20 s")
    assert "crash: device error" in seen[80]
    assert "illegal memory access" in seen[80]
    good = [row for row in comparable(execution.rows) if int(row["seed"].strip("'")) not in FAULTS]
    assert good == [row for row in comparable(unbroken.rows) if int(row["seed"].strip("'")) not in FAULTS]
    assert execution.environment["cuda"]["device_name"].startswith("NVIDIA")
    assert left_behind(token) == []
