"""Rows in a worker's answer arrive as they were sent, or the answer is refused."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from faults.plans import task
from faults.workloads import row
from hypothesis import given
from hypothesis import strategies as st

from accuracy.packing import MOST_ROWS, Packed, pack, unpack
from accuracy.rows import DEFAULTS, NAMES, Row, RowError

TASK = task(3)
MESSAGE = {
    "id": TASK.id, "case": TASK.case, "config": vars(TASK.config), "seed": 3, "origin": "sample", "device": "cpu"
}  # fmt: skip
INTEGERS = st.integers(-(2**63), 2**63 - 1)
LISTS = ("abs_bins", "abs_counts", "ratio_bins", "ratio_counts", "sample_values", "sample_bounds")

made = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "quantity": st.text(max_size=3),
            "observed": st.text(max_size=3),
            "strata": st.lists(st.text(max_size=3), max_size=3),
            "count": INTEGERS,
            "special_mismatch": INTEGERS,
            "ratio": st.floats(),
            "kappa": st.floats(),
            "abs_bins": st.lists(INTEGERS, max_size=4),
            "ratio_counts": st.lists(st.integers(0, 2**32 - 1), max_size=4),
            "sample_values": st.lists(st.floats(), max_size=4),
            "sample_bounds": st.lists(st.floats(), max_size=4),
        },
    ),
    min_size=1,
    max_size=4,
)


def arrived(*rows: Row) -> list[Row]:
    """Rows after their way through pack, JSON and unpack."""
    return unpack(json.loads(json.dumps(pack(rows))), task_id=TASK.id, device="cpu")


def plain(value: Any) -> str:
    """A value as text: NaN equals NaN, an array the list of its elements, 1 is not 1.0."""
    return repr(
        list(value.tolist()) if isinstance(value, np.ndarray) else list(value) if isinstance(value, tuple) else value
    )


@given(made)
def test_rows_come_back_as_they_were_sent(changes: list[Row]) -> None:
    """Every field of every row, in the order of the columns, with defaults where nothing was said."""
    sent = [row(MESSAGE, **change) for change in changes]
    for before, after in zip(sent, arrived(*sent), strict=True):
        assert tuple(after) == NAMES
        for name in NAMES:
            assert plain(after[name]) == plain(before.get(name, DEFAULTS[name])), name


def test_what_all_rows_share_is_sent_once() -> None:
    """Their texts; and integers in 32 bits where they fit."""
    packed = pack([row(MESSAGE, quantity=name, abs_bins=[1, 2**32 - 1]) for name in "ab"])

    assert packed["texts"]["id"] == [TASK.id]
    assert packed["texts"]["quantity"] == ["a", "b"]
    assert "reason" not in packed["texts"]
    assert packed["integers"][0] == "I"
    assert pack([row(MESSAGE, count=2**32)])["integers"][0] == "q"


@pytest.mark.parametrize(
    ("wrong", "said"), [({"verdict": "pass"}, "no observation has a field 'verdict'"), ({"ratio": "0.5x"}, "0.5x")]
)
def test_a_worker_cannot_send_what_is_no_field(wrong: Row, said: str) -> None:
    """A slip of ours is told there, and nothing of it reaches the parent."""
    with pytest.raises(ValueError, match=said):
        pack([row(MESSAGE, **wrong)])


def texts(**changes: Any) -> Callable[[Packed], object]:
    """Changes of the texts of an answer; None takes one away."""

    def change(packed: Packed) -> None:
        packed["texts"].update(changes)
        for name in [name for name, values in changes.items() if values is None]:
            del packed["texts"][name]

    return change


def numbers(**changes: Any) -> Callable[[Packed], object]:
    """Changes of the numbers of an answer."""
    return lambda packed: packed.update(changes)


def lengths(*values: int) -> Callable[[Packed], object]:
    """Another answer of two rows, in which the first lists have these lengths."""

    def change(packed: Packed) -> None:
        other = pack([row(MESSAGE), row(MESSAGE)])
        decoded = unpack(other, task_id=TASK.id, device="cpu")
        assert len(decoded) == 2
        fields = [0, 0, 0, 0]
        packed["integers"] = _text([*fields, *values, *[0] * (2 * len(LISTS) - len(values))])

    return change


def _text(integers: list[int]) -> str:
    from binascii import b2a_base64

    return "q" + b2a_base64(np.array(integers, "<i8").tobytes(), newline=False).decode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda packed: packed.pop("floats"), "an answer without rows"),
        (lambda packed: packed.pop("texts"), "an answer without rows"),
        (numbers(number=0), "an answer without rows"),
        (numbers(number=-1), "an answer without rows"),
        (numbers(number=True), "an answer without rows"),
        (numbers(number=2.0), "an answer without rows"),
        (numbers(number=MOST_ROWS + 1), "an answer without rows"),
        (numbers(number=3), "3 rows whose quantity is"),
        (texts(verdict=["pass"]), "a row with a field 'verdict'"),
        (texts(ratio=["0.5"]), "a row with a field 'ratio'"),
        (texts(stage=None), "a row without stage"),
        (texts(stage=[]), "2 rows whose stage is"),
        (texts(stage="compute"), "2 rows whose stage is 'compute'"),
        (texts(stage=[0.5]), "a row whose stage is 0.5"),
        (texts(stage=[None]), "a row whose stage is None"),
        (texts(strata=["odd"]), "a row whose strata is 'odd'"),
        (texts(strata=[["odd", 1]]), "a row whose strata is"),
        (texts(id=["0" * 16]), "a row of another task: 0000000000000000 on cpu"),
        (texts(id=[TASK.id, "0" * 16]), "a row of another task: 0000000000000000 on cpu"),
        (texts(device=["cuda"]), "a row of another task: .* on cuda"),
        (texts(status=["fine"]), "a row whose status is 'fine'"),
        (numbers(floats=None), "numbers that are not text: 'None'"),
        (numbers(floats=""), "numbers that are not text: ''"),
        (numbers(floats="I"), "numbers that are not text: 'I'"),
        (numbers(integers="d"), "numbers that are not text: 'd'"),
        (numbers(floats="d\u00e9"), "numbers that are not base64"),
        (numbers(floats="dAAAA"), "numbers that are not base64"),
        (numbers(floats="d"), "2 rows with 0 numbers"),
        (numbers(integers="q"), "2 rows whose lists have lengths"),
        (lengths(-1, 1), "2 rows whose lists have lengths"),
        (lengths(1), "rows whose lists have 0 elements, not 1"),
        (lengths(2**62, 2**62, 2**62, 2**62), "rows whose lists have 0 elements"),
    ],
)
def test_an_answer_that_is_no_rows_is_refused(change: Callable[[Packed], object], said: str) -> None:
    """In one line that says what was seen, whatever was tampered with."""
    packed = pack([row(MESSAGE, quantity="a", sample_values=[1.0, math.nan]), row(MESSAGE, quantity="b")])
    change(packed)
    with pytest.raises(RowError, match=said) as error:
        unpack(packed, task_id=TASK.id, device="cpu")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= 300


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_rows_or_refused(value: object) -> None:
    """Alone and in each place of an answer: no other error."""
    good = pack([row(MESSAGE)])
    for wrong in (value, *(good | {name: value} for name in good)):
        try:
            unpack(wrong, task_id=TASK.id, device="cpu")
        except RowError as error:
            assert "\n" not in str(error)  # noqa: PT017  either end is right
