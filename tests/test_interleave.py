"""Several libraries on one plan, side by side: each gets what it would get alone, and none runs away from another."""

from functools import partial

import pytest
from faults.plans import TESTS, comparable, plan, run

from accuracy.executor import Arm, interleave
from accuracy.lane import LEAD
from accuracy.record import Progress, summed

IN_FLIGHT = 2
"""Tasks that a worker may have beyond those that are settled."""


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu:default")])
def test_a_fast_library_waits_for_a_slow_one(devices: tuple[str, ...]) -> None:
    """What is settled for the one is settled for the other a few tasks later, with the rows of a run alone."""
    done = {"healthy": 0, "slow": 0}
    leads = []

    def seen(name: str, now: Progress) -> None:
        done[name] = now.done
        leads.append(abs(done["healthy"] - done["slow"]))

    arms = [
        Arm(overlay=(TESTS,), modules=(), measure=f"faults.workloads:{name}", on_progress=partial(seen, name))
        for name in done
    ]
    tasks = plan(60)
    executions = interleave(tasks, devices, arms, timeout_s=10.0, bounds={}, jobs=1)
    alone = run(tasks, devices, measure="faults.workloads:healthy")

    assert max(leads) <= (LEAD + IN_FLIGHT) * len(devices)
    for execution in executions:
        assert execution.complete
        assert comparable(execution.rows) == comparable(alone.rows)


def test_a_library_that_cannot_be_imported_does_not_hold_the_other() -> None:
    """Its tasks were not run, and say why; the other is whole."""
    arms = [
        Arm(overlay=(TESTS,), modules=modules, measure="faults.workloads:healthy") for modules in ((), ("nowhere",))
    ]
    whole, broken = interleave(plan(30), ["cpu"], arms, timeout_s=10.0, bounds={}, jobs=1)

    assert whole.complete
    assert not broken.complete
    assert "No module named 'nowhere'" in broken.unusable["cpu"]


def test_progress_is_that_of_all() -> None:
    """Nothing is shown before each has said how much there is."""
    shown: list[Progress] = []
    first, second = summed(shown.append, 2)
    first(Progress(done=0, total=10, resumed=0, seconds=0.0))
    second(Progress(done=3, total=10, resumed=1, seconds=2.0))

    assert shown == [Progress(done=3, total=20, resumed=1, seconds=2.0)]
