"""Rows in a worker's answer arrive as they were sent, or the answer is refused."""

import math
from binascii import a2b_base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from faults.answers import in_base64, packed, taken_apart, together
from faults.plans import task
from faults.workloads import row
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from accuracy.packing import MOST_ROWS, Ragged, columns, pack, rows_of, unpack
from accuracy.rows import DEFAULTS, NAMES, Measured, Row, RowError, apart

TASK = task(3)
MESSAGE = {
    "id": TASK.id, "case": TASK.case, "config": vars(TASK.config), "seed": 3, "origin": "sample", "device": "cpu"
}  # fmt: skip
INTEGERS = st.integers(-(2**63), 2**63 - 1)


def arrays(elements: st.SearchStrategy[Any], *dtypes: str) -> st.SearchStrategy[Any]:
    """A list of such numbers, as a list or as an array of one of these types; some of them are every other element."""
    lists = st.lists(elements, max_size=4)
    return lists | st.builds(lambda values, dtype, step: np.array(values, dtype)[::step],
        lists, st.sampled_from(dtypes), st.sampled_from((1, 2)))  # fmt: skip


own = st.fixed_dictionaries(
    {},
    optional={
        "quantity": st.text(max_size=3),
        "observed": st.text(max_size=3),
        "path": st.sampled_from(("", "a", "b > c")),
        "count": INTEGERS,
        "special_mismatch": INTEGERS | INTEGERS.map(np.int64),
        "ratio": st.floats(),
        "kappa": st.floats() | st.floats().map(np.float64),
        "abs_bins": arrays(INTEGERS, "int64", ">i8"),
        "abs_counts": arrays(st.integers(0, 2**16 - 1), "uint16", "uint32", ">u4", "int32", "int64", "uint64"),
        "ratio_counts": arrays(st.integers(0, 2**32 - 1), "uint32", "int64", "uint64"),
        "sample_values": arrays(st.floats(width=32), "float32", "float64", ">f8"),
        "sample_bounds": arrays(st.floats(), "float64"),
    },
)
made = st.builds(
    lambda rows, shared: [each | shared for each in rows],
    st.lists(own, min_size=1, max_size=4),
    st.fixed_dictionaries(
        {}, optional={"strata": st.lists(st.text(max_size=3), max_size=3), "seconds": st.floats(), "mode": st.text()}
    ),
)


def arrived(*rows: Row) -> list[Row]:
    """Rows after their way through pack and unpack."""
    return rows_of([unpack(pack(apart(rows)), task_id=TASK.id, device="cpu")])


def plain(value: Any) -> str:
    """A value as text: NaN equals NaN, an array or number of numpy what it holds, 1 is not 1.0."""
    value = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    return repr(list(value) if isinstance(value, tuple) else value)


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
    answers = [unpack(pack(apart(rows)), task_id=TASK.id, device="cpu") for rows in sent]
    alone = [each for rows in sent for each in arrived(*rows)]

    together = rows_of(answers)
    assert [[plain(each[name]) for name in NAMES] for each in together] == [
        [plain(each[name]) for name in NAMES] for each in alone
    ]
    for part in columns(answers):
        for name, column in part.items():
            assert len(column) == len(alone)
            assert not isinstance(column, Ragged) or plain(np.concatenate([np.empty(0), *column.parts()])) == plain(
                np.concatenate([np.empty(0), *(each[name] for each in alone)])
            )


def test_what_all_rows_share_is_sent_once() -> None:
    """And what a row has at its default is short."""
    sent = taken_apart(pack(apart([row(MESSAGE, quantity=name) for name in "ab"])))

    assert sent["id"] == TASK.id
    assert [each["quantity"] for each in sent["rows"]] == ["a", "b"]
    assert [each["kappa"] for each in sent["rows"]] == [None, None]


def test_a_path_is_sent_once() -> None:
    """Where it comes again, the row that has it first is named."""
    sent = taken_apart(pack(apart([row(MESSAGE, path=path) for path in ("a", "b", "a", "b", "")])))

    assert [each["path"] for each in sent["rows"]] == ["a", "b", 0, 1, ""]


@pytest.mark.parametrize(("dtype", "size"), [("uint16", 2), ("uint32", 4), ("float64", 8)])
def test_an_array_is_sent_as_its_bytes(dtype: str, size: int) -> None:
    """With its type, and comes back as a column of 64 bits."""
    values = np.array([1, 3], dtype)
    name = "sample_values" if dtype == "float64" else "abs_bins"
    text = pack(apart([row(MESSAGE, **{name: values})]))

    [sent] = taken_apart(text)["rows"]
    assert bytes(sent[name].data) == values.tobytes()
    assert len(values.tobytes()) == 2 * size
    [seen] = rows_of([unpack(text, task_id=TASK.id, device="cpu")])
    assert seen[name].dtype == np.dtype("float64" if dtype == "float64" else "int64")
    assert seen[name].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (0, 2),
        (2**16 - 1, 2),
        (2**16, 4),
        (2**32 - 1, 4),
        (2**32, None),
        (2**63 - 1, None),
        (-1, None),
        (-(2**63), None),
    ],
)
def test_an_array_of_wide_integers_is_narrowed_to_what_holds_all(value: int, size: int | None) -> None:
    """Or is sent as numbers; it comes back as it is."""
    text = pack(apart([row(MESSAGE, abs_bins=np.array([1, value]))]))

    [sent] = taken_apart(text)["rows"]
    assert sent["abs_bins"] == [1, value] if size is None else len(sent["abs_bins"].data) == 2 * size
    [seen] = rows_of([unpack(text, task_id=TASK.id, device="cpu")])
    assert seen["abs_bins"].tolist() == [1, value]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"verdict": "pass"}, "no observation has a field 'verdict'"),
        ({"ratio": 0.5j}, "no observation has a field that is a complex"),
        ({"dtype": "float64"}, "rows of one task that differ in what they share: .*'float32'.*'float64'"),
    ],
)
def test_a_worker_cannot_send_what_is_no_field(wrong: Row, said: str) -> None:
    """A slip of ours is told there, and nothing of it reaches the parent."""
    with pytest.raises(ValueError, match=said):
        pack(apart([row(MESSAGE), row(MESSAGE, **wrong)]))


def test_a_field_is_where_the_parent_looks_for_it() -> None:
    """What rows share is not told of one of them, nor the other way round."""
    shared, rows = apart([row(MESSAGE)])
    assert (shared["seed"], rows[0]["quantity"]) == ("3", "output")
    with pytest.raises(ValueError, match="no observation has a field 'seed' here"):
        pack(Measured(shared, [rows[0] | {"seed": "3"}]))
    with pytest.raises(ValueError, match="no observation has a field 'count' here"):
        pack(Measured(shared | {"count": 1}, rows))


Change = Callable[[dict[str, Any]], object]


def shared(**changes: Any) -> Change:
    """Other values of what rows share."""
    return lambda parts: parts.update(changes)


def second(**changes: Any) -> Change:
    """Other values in the second row."""
    return lambda parts: parts["rows"][1].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (shared(rows=[]), "`array` of length >= 1 - at rows"),
        (lambda parts: parts.update(rows=parts["rows"][:1] * (MOST_ROWS + 1)), "`array` of length <= 100000 - at rows"),
        (second(verdict="pass"), "`array` of length .* - at rows"),
        (lambda parts: parts["rows"][1].popitem(), "`array` of length .* - at rows"),
        (lambda parts: parts.pop("seconds"), "`array` of length 12, got 11"),
        (second(stage=None), "`str`, got `None` - at stage"),
        (second(stage=0.5), "`str`, got `float` - at stage"),
        (second(ratio="0.5"), "`float . null`, got `str` - at ratio"),
        (second(count=1.5), "`int`, got `float` - at count"),
        (second(count=2**63), "`int` <= 9223372036854775807 - at count"),
        (second(count=None), "`int`, got `None` - at count"),
        (second(abs_bins=[1, 0.5]), "`int`, got `float` - at abs_bins"),
        (second(abs_bins=[2**63]), "`int` <= 9223372036854775807 - at abs_bins"),
        (second(abs_bins=b"1234"), "got `bytes` - at abs_bins"),
        (second(abs_bins=[0] * (2**16 + 1)), "`array` of length <= 65536 - at abs_bins"),
        (second(abs_bins=Ext(2, bytes(8))), r"a list whose bytes are no numbers of its type: \(2, 0\)"),
        (second(abs_counts=Ext(0, bytes(3))), r"a list whose bytes are no numbers of its type: \(0, 3\)"),
        (second(ratio_bins=Ext(3, bytes(8))), r"a list whose bytes are no numbers of its type: \(3, 0\)"),
        (second(ratio_counts=Ext(-1, bytes(8))), r"a list whose bytes are no numbers of its type: \(-1, 0\)"),
        (second(sample_values=Ext(1, bytes(8))), r"a list whose bytes are no numbers of its type: \(1, 0\)"),
        (second(sample_bounds=Ext(2, bytes(12))), r"a list whose bytes are no numbers of its type: \(2, 4\)"),
        (second(path=1), "row 1 with the path of row 1, which has none of its own before it"),
        (second(path=-1), "row 1 with the path of row -1"),
        (second(path=2**40), "row 1 with the path of row 1099511627776"),
        (lambda parts: parts["rows"][0].update(path=1), "row 0 with the path of row 1"),
        (lambda parts: parts.update(rows=[*parts["rows"], parts["rows"][1] | {"path": 1}]), "row 2 .* of row 1, "),
        (second(path=None), "`int . str`, got `None` - at path"),
        (second(status="fi\nne"), r"Invalid enum value 'fi\\nne' - at status"),
        (second(status="fine" * 1000), "Invalid enum value 'finefine"),
        (shared(strata="odd"), "`array`, got `str` - at strata"),
        (shared(strata=["odd", 1]), "`str`, got `int` - at strata"),
        (shared(strata=["odd"] * (2**16 + 1)), "`array` of length <= 65536 - at strata"),
        (shared(id="0" * 16), "a row of another task: 0000000000000000 on cpu"),
        (shared(device="cu\nda"), "a row of another task: .* on cu da"),
        (shared(id="0" * 1000), "a row of another task: 0000000000000000"),
    ],
)
def test_an_answer_that_is_no_rows_is_refused(change: Change, said: str) -> None:
    """In one line that says what was seen, whatever was tampered with."""
    rows = [row(MESSAGE, quantity="a", sample_values=[1.0, math.nan]), row(MESSAGE, quantity="b")]
    parts = taken_apart(pack(apart(rows)))
    change(parts)
    with pytest.raises(RowError, match=said) as error:
        unpack(together(parts), task_id=TASK.id, device="cpu")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= 300


def test_half_a_surrogate_pair_costs_no_answer() -> None:
    """A message of the library may hold what no file can: it is read as a question mark."""
    packed = pack(apart([row(MESSAGE, observed="not \ud800 text", strata=["a"])]))

    assert rows_of([unpack(packed, task_id=TASK.id, device="cpu")])[0]["observed"] == "not ? text"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "truncated"),
        (b"{}\tI", "an answer that is no rows"),
        (b"AAAA\n", "an answer that is no rows"),
        (b"AAA", "an answer that is no rows"),
        ("é".encode(), "an answer that is no rows"),
        (packed({"id": TASK.id}), "`array`, got `object`"),
        (packed([TASK.id] * 3), "`array` of length 12, got 3"),
        (in_base64(b"\x91" * 1_000_000), "`array` of length 12, got 1"),
        (in_base64(b"\xdd\xff\xff\xff\xff"), "truncated|`array` of length 12"),
        (in_base64(b"\x9c\xdb\xff\xff\xff\xff"), "truncated"),
        (in_base64(b"\x9c\xa1\xff"), "(?i)utf-8"),
        (in_base64(b"\x9c" + 9 * b"\xa0" + b"\xc0\xdd\xff\xff\xff\xff"), "length <= 65536 - at strata"),
        (in_base64(b"\x9c" + 9 * b"\xa0" + b"\xc0\x90\xdd\xff\xff\xff\xff"), "length <= 100000 - at rows"),
    ],
)
def test_a_text_of_anything_else_is_refused(text: bytes, said: str) -> None:
    """What is not base64, not MessagePack, nested deep, cut off, or claims more than memory holds."""
    with pytest.raises(RowError, match=said):
        unpack(text, task_id=TASK.id, device="cpu")


def refused_or_whole(text: bytes) -> None:
    """Either an answer that can be read to its end, or the one error that says it is none."""
    try:
        answer = unpack(text, task_id=TASK.id, device="cpu")
    except RowError as error:
        assert "\n" not in str(error)  # noqa: PT017  either end is right
    else:
        assert len(rows_of([answer])) == len(next(columns([answer]))["id"]) == answer.number


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
    | st.builds(Ext, st.integers(-128, 127) | st.integers(0, 2), st.binary()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(made, st.data(), anything)
def test_any_value_in_the_place_of_another_is_a_row_or_refused(
    changes: list[Row], data: st.DataObject, value: object
) -> None:
    """Of the answer, of what rows share, and of a field of a row: no other error."""
    parts = taken_apart(pack(apart([row(MESSAGE, **change) for change in changes])))
    name = data.draw(st.sampled_from((*NAMES, "rows")))
    refused_or_whole(packed(value))
    if name in parts["rows"][0]:
        parts["rows"][-1][name] = value
    elif name != "rows":
        parts[name] = value
    *shared, _ = parts.values()
    refused_or_whole(packed([*shared, value]) if name == "rows" else together(parts))


@given(made, st.data())
def test_any_bytes_are_rows_or_refused(changes: list[Row], data: st.DataObject) -> None:
    """An answer with some bytes overwritten, put in or taken out, as text and beneath it: no other error."""
    text = pack(apart([row(MESSAGE, **change) for change in changes]))
    for sound, end in ((text, lambda seen: seen), (a2b_base64(text), in_base64)):
        first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(sound))] * 2)))
        put = data.draw(st.binary(max_size=9))
        refused_or_whole(end(sound[:first] + put + sound[first + len(put) :]))
        refused_or_whole(end(sound[:first] + put + sound[last:]))
