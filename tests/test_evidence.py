"""Planted faults become small, and their scripts tell them from none; `python -m bench.evidence` is the whole of it."""

import bitsandbytes
import pytest

from accuracy.cases import CASES
from accuracy.selftest import tasks
from accuracy.selftest.faults import FAULTS
from bench import evidence


@pytest.mark.skipif(bitsandbytes.__version__ != "0.50.2", reason="the patches that mend are for 0.50.2")
@pytest.mark.parametrize(
    ("name", "case"), [("output-scale-int8", "linear8bitlt-eval"), ("gradient-input-twice", "linear4bit-nf4-train")]
)
def test_a_fault_becomes_small_and_its_script_tells_it_from_none(name: str, case: str) -> None:
    """In a fresh process with the fault the script exits 1, in one without it 0; little of the case is left."""
    fault = next(each for each in FAULTS if each.name == name)
    pool = [task for task in tasks.pool([CASES[case]]) if tasks.may_show(fault, task)]
    found = evidence.of_fault(fault, pool[:12], seconds=15.0, runs=1, jobs=1)

    assert found.good
    assert found.shrunk is not None
    assert found.shrunk.elements[1] <= 0.05 * found.shrunk.elements[0]
    assert found.shrunk.failed == found.shrunk.tried
