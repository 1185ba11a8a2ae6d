"""Lists of numbers in a worker's answer arrive as they were sent, or the answer is refused."""

import json
import math
from typing import Any

import pytest
from faults.plans import task
from faults.workloads import row
from hypothesis import given
from hypothesis import strategies as st

from accuracy.rows import Row, RowError, pack, unpack

TASK = task(3)
MESSAGE = {
    "id": TASK.id, "case": TASK.case, "config": vars(TASK.config), "seed": 3, "origin": "sample", "device": "cpu"
}  # fmt: skip


def arrived(*rows: Row) -> list[Row]:
    """Rows after their way through pack, JSON and unpack."""
    return unpack(json.loads(json.dumps(pack(rows))), task_id=TASK.id, device="cpu")


@given(
    floats=st.lists(st.lists(st.floats(), max_size=5), min_size=3, max_size=3),
    integers=st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), min_size=3, max_size=3),
)
def test_each_list_goes_back_to_its_row(floats: list[list[float]], integers: list[list[int]]) -> None:
    """Bit for bit but for NaN payloads: lists of a row, of rows that share one, empty ones."""
    sent = [
        row(MESSAGE, sample_values=values, sample_bounds=floats[0], abs_bins=bins)
        for values, bins in zip(floats, integers, strict=True)
    ]
    for before, after in zip(sent, arrived(*sent), strict=True):
        for name in ("sample_values", "sample_bounds"):
            assert repr(after[name].tolist()) == repr(before[name])
        assert after["abs_bins"].tolist() == before["abs_bins"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"floats": None}, "numbers that are not text: 'None'"),
        ({"floats": ""}, "numbers that are not text: ''"),
        ({"floats": "I"}, "numbers that are not text: 'I'"),
        ({"integers": "d"}, "numbers that are not text: 'd'"),
        ({"floats": "d\u00e9"}, "numbers that are not base64"),
        ({"floats": "dAAAA"}, "numbers that are not base64"),
        ({"floats": "d"}, "a row whose sample_values should have 2 numbers"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    """In one line that says what was seen."""
    packed = pack([row(MESSAGE, sample_values=[1.0, math.nan])])
    with pytest.raises(RowError, match=said) as error:
        unpack(packed | change, task_id=TASK.id, device="cpu")
    assert "\n" not in str(error.value)


def test_an_answer_without_numbers_is_refused() -> None:
    """As a worker of another version would send it."""
    packed = pack([row(MESSAGE)])
    del packed["floats"]
    with pytest.raises(RowError, match="an answer without rows"):
        unpack(packed, task_id=TASK.id, device="cpu")
