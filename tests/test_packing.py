"""Rows in a worker's answer arrive as they were sent, or the answer is refused."""

import json
import math
from binascii import b2a_base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from faults.plans import task
from faults.workloads import row
from hypothesis import given
from hypothesis import strategies as st

from accuracy.packing import MOST_ROWS, Ragged, columns, pack, rows_of, unpack
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
    """Rows after their way through pack and unpack."""
    return rows_of([unpack(pack(rows), task_id=TASK.id, device="cpu")])


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


@given(st.lists(made, max_size=4))
def test_answers_unpacked_together_are_those_unpacked_alone(several: list[list[Row]]) -> None:
    """Whatever widths and lengths each has; and columns hold the same."""
    sent = [[row(MESSAGE, **change) for change in changes] for changes in several]
    answers = [unpack(pack(rows), task_id=TASK.id, device="cpu") for rows in sent]
    alone = [each for rows in sent for each in arrived(*rows)]

    together = rows_of(answers)
    assert [[plain(each[name]) for name in NAMES] for each in together] == [
        [plain(each[name]) for name in NAMES] for each in alone
    ]
    for name, column in columns(answers).items():
        assert len(column) == len(alone)
        assert not isinstance(column, Ragged) or plain(np.concatenate([np.empty(0), *column.parts()])) == plain(
            np.concatenate([np.empty(0), *(each[name] for each in alone)])
        )


def test_what_all_rows_share_is_sent_once() -> None:
    """Their texts."""
    packed = taken_apart(pack([row(MESSAGE, quantity=name) for name in "ab"]))

    assert packed.texts["id"] == [TASK.id]
    assert packed.texts["quantity"] == ["a", "b"]
    assert "reason" not in packed.texts


@pytest.mark.parametrize(
    ("value", "letter"),
    [(0, b"H"), (2**16 - 1, b"H"), (2**16, b"I"), (2**32 - 1, b"I"), (2**32, b"q"), (2**63 - 1, b"q"), (-1, b"q")],
)
def test_integers_take_the_fewest_bits_that_hold_all(value: int, letter: bytes) -> None:
    """And come back as they are."""
    packed = pack([row(MESSAGE, count=3, abs_bins=[1, value], abs_counts=[1, 1])])
    assert taken_apart(packed).integers[:1] == letter
    [seen] = rows_of([unpack(packed, task_id=TASK.id, device="cpu")])
    assert seen["count"] == 3
    assert seen["abs_bins"].tolist() == [1, value]


@pytest.mark.parametrize(
    ("wrong", "said"), [({"verdict": "pass"}, "no observation has a field 'verdict'"), ({"ratio": "0.5x"}, "0.5x")]
)
def test_a_worker_cannot_send_what_is_no_field(wrong: Row, said: str) -> None:
    """A slip of ours is told there, and nothing of it reaches the parent."""
    with pytest.raises(ValueError, match=said):
        pack([row(MESSAGE, **wrong)])


@dataclass
class Apart:
    """An answer, taken apart."""

    texts: Any
    integers: bytes
    floats: bytes

    def together(self) -> bytes:
        """It as a line of text."""
        return b"\t".join((json.dumps(self.texts).encode(), self.integers, self.floats))


def taken_apart(text: bytes) -> Apart:
    """The parts of an answer."""
    texts, integers, floats = text.split(b"\t")
    return Apart(texts=json.loads(texts), integers=integers, floats=floats)


Change = Callable[[Apart], object]


def texts(**changes: Any) -> Change:
    """Changes of the texts of an answer; None takes one away."""

    def change(packed: Apart) -> None:
        packed.texts = {name: values for name, values in (packed.texts | changes).items() if values is not None}

    return change


def parts(**changes: Any) -> Change:
    """Other parts in place of those of an answer."""

    def change(packed: Apart) -> None:
        for name, value in changes.items():
            setattr(packed, name, value)

    return change


def number(value: int) -> Change:
    """Another number of rows."""
    return parts(integers=_text([value]))


def lengths(*values: int) -> Change:
    """Another answer of two rows, in which the first lists have these lengths."""
    fields = [2, 0, 0, 0, 0]
    return parts(integers=_text([*fields, *values, *[0] * (2 * len(LISTS) - len(values))]))


def _text(integers: list[int]) -> bytes:
    return b"q" + b2a_base64(np.array(integers, "<i8").tobytes(), newline=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (number(0), "an answer of 0 rows"),
        (number(-1), "an answer of -1 rows"),
        (number(MOST_ROWS + 1), f"an answer of {MOST_ROWS + 1} rows"),
        (number(3), "3 rows whose quantity is"),
        (parts(integers=b"I"), "an answer of 0 rows"),
        (parts(texts=["id"]), "texts that are not a JSON object"),
        (parts(texts=math.nan), "texts that are not JSON"),
        (texts(verdict=["pass"]), "a row with a field 'verdict'"),
        (texts(ratio=["0.5"]), "a row with a field 'ratio'"),
        (texts(stage=None), "a row without stage"),
        (texts(stage=[]), "2 rows whose stage is"),
        (texts(stage="compute"), "2 rows whose stage is 'compute'"),
        (texts(stage=[0.5]), "a row whose stage is 0.5"),
        (texts(observed=[None]), "a row whose observed is None"),
        (texts(strata=["odd"]), "a row whose strata is 'odd'"),
        (texts(strata=[["odd", 1]]), "a row whose strata is"),
        (texts(id=["0" * 16]), "a row of another task: 0000000000000000 on cpu"),
        (texts(id=[TASK.id, "0" * 16]), "a row of another task: 0000000000000000 on cpu"),
        (texts(device=["cuda"]), "a row of another task: .* on cuda"),
        (texts(status=["fine"]), "a row whose status is 'fine'"),
        (parts(floats=b""), "numbers that are not text: b''"),
        (parts(floats=b"I"), "numbers that are not text: b'I'"),
        (parts(floats=b"\xff"), r"numbers that are not text: b'\\xff'"),
        (parts(integers=b"d"), "numbers that are not text: b'd'"),
        (parts(floats=b"d\xc3\xa9"), "numbers that are not base64"),
        (parts(floats=b"dAAAA"), "numbers that are not base64"),
        (parts(floats=b"d"), "2 rows with 0 numbers"),
        (number(2), "2 rows whose lists have lengths"),
        (lengths(-1, 1), "2 rows whose lists have lengths"),
        (lengths(1), "rows whose lists have 0 elements, not 1"),
        (lengths(2**62, 2**62, 2**62, 2**62), "rows whose lists have 0 elements"),
    ],
)
def test_an_answer_that_is_no_rows_is_refused(change: Change, said: str) -> None:
    """In one line that says what was seen, whatever was tampered with."""
    packed = taken_apart(pack([row(MESSAGE, quantity="a", sample_values=[1.0, math.nan]), row(MESSAGE, quantity="b")]))
    change(packed)
    with pytest.raises(RowError, match=said) as error:
        unpack(packed.together(), task_id=TASK.id, device="cpu")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= 300


def test_half_a_surrogate_pair_costs_no_answer() -> None:
    """A message of the library may hold what no file can: it is read as a question mark."""
    packed = pack([row(MESSAGE, observed="not \ud800 text", strata=["a"])])

    assert rows_of([unpack(packed, task_id=TASK.id, device="cpu")])[0]["observed"] == "not ? text"


@pytest.mark.parametrize("text", [b"", b"{}", b"{}\tI", b"{}\tI\td\td", b"[" * 100_000 + b"\tIAQAAAA==\td"])
def test_a_text_of_other_parts_is_refused(text: bytes) -> None:
    """Too few, too many, and JSON that is nested too deep."""
    with pytest.raises(RowError):
        unpack(text, task_id=TASK.id, device="cpu")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.binary(),
)
def test_any_text_is_rows_or_refused(value: object, data: bytes) -> None:
    """Alone and in each place of an answer: no other error."""
    good = taken_apart(pack([row(MESSAGE)]))
    wrong = [replace(good, texts=value), *(replace(good, texts=good.texts | {name: value}) for name in good.texts)]
    for text in (
        data,
        *(each.together() for each in (*wrong, replace(good, integers=data), replace(good, floats=data))),
    ):
        try:
            unpack(text, task_id=TASK.id, device="cpu")
        except RowError as error:
            assert "\n" not in str(error)  # noqa: PT017  either end is right
