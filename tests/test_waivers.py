"""Known deviations: which cells they cover, and that a broken file is refused in one line."""

import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accuracy import waivers
from accuracy.waivers import Waiver, WaiverError

TEXT = """
[[waiver]]
id = "F08"
case = "linear4bit-*-eval"
device = "cpu*"
stage = "compute"
quantity = "output"
owner = "A. Person"
reason = "the packed kernel computes in bfloat16"
link = "docs/findings.md#f08"
expires = 2027-01-31
at_most = 300
"""


def loaded(folder: Path, text: str) -> tuple[Waiver, ...]:
    path = folder / "waivers.toml"
    path.write_text(text, encoding="utf-8")
    return waivers.load(path)


def test_a_waiver_as_it_is_written(tmp_path: Path) -> None:
    """Whole numbers are numbers; dtype is any and at_least is 1 where nothing is said."""
    (waiver,) = loaded(tmp_path, TEXT)

    assert (waiver.id, waiver.owner, waiver.expires) == ("F08", "A. Person", datetime.date(2027, 1, 31))
    assert (waiver.at_least, waiver.at_most, waiver.dtype) == (1.0, 300.0, "*")


def test_no_waivers_is_a_file_of_none(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == ()


@pytest.mark.parametrize(
    ("case", "device", "dtype", "stage", "quantity", "covered"),
    [
        ("linear4bit-nf4-eval", "cpu", "float32", "compute", "output", True),
        ("linear4bit-fp4-eval", "cpu:avx2", "bfloat16", "compute", "output", True),
        ("linear4bit-nf4-train", "cpu", "float32", "compute", "output", False),
        ("linear4bit-nf4-eval", "cuda", "float32", "compute", "output", False),
        ("linear4bit-nf4-eval", "cpu", "float32", "decode", "output", False),
        ("linear4bit-nf4-eval", "cpu", "float32", "compute", "grad_input", False),
    ],
)
def test_every_pattern_has_to_match(  # noqa: PLR0917 - the five parts of a cell
    tmp_path: Path, case: str, device: str, dtype: str, stage: str, quantity: str, *, covered: bool
) -> None:
    (waiver,) = loaded(tmp_path, TEXT)
    assert waiver.covers(case, device, dtype, stage, quantity) is covered


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[[waiver]]", "[[waivers]]", "unknown section 'waivers'; only [[waiver]] is known"),
        ("[[waiver]]", "[waiver]", "write [[waiver]], once for each"),
        ('owner = "A. Person"', "", "'owner' is missing; add it"),
        ('link = "docs/findings.md#f08"', "", "'link' is missing; add it"),
        ("expires = 2027-01-31", "", "'expires' is missing; add it"),
        ("at_most = 300", "", "'at_most' is missing; add it"),
        ("owner =", "ownr =", "unknown key 'ownr'; known are id"),
        ("at_most = 300", 'at_most = "300"', "at_most is '300'; a number is wanted"),
        ("at_most = 300", "at_most = true", "at_most is True; a number is wanted"),
        ("at_most = 300", "at_most = nan", "at_most is nan; a number is wanted"),
        ("expires = 2027-01-31", 'expires = "2027-01-31"', "a date like 2027-01-31 is wanted"),
        ("expires = 2027-01-31", "expires = 2027-01-31T00:00:00", "a date like 2027-01-31 is wanted"),
        ('stage = "compute"', "stage = 3", "stage is 3; text is wanted"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A waiver without an owner, an end or a cap is no waiver."""
    assert old in TEXT
    with pytest.raises(WaiverError) as caught:
        loaded(tmp_path, TEXT.replace(old, new, 1))

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.toml", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WaiverError, match="cannot read waivers from"):
        waivers.load(tmp_path / name)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"[[waiver", b"a = " + b"[" * 5000])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "waivers.toml"
    path.write_bytes(data)
    with pytest.raises(WaiverError, match="cannot read waivers from"):
        waivers.load(path)


fields = st.sampled_from(("waiver", "id", "case", "expires", "at_most", "x"))
values = st.sampled_from(("1", "nan", "true", '"text"', "[]", "[1]", "{}", "2027-01-31", "12:00:00"))
lines = st.one_of(
    st.builds("{} = {}".format, fields, values),
    st.builds("[{}]".format, fields),
    st.builds("[[{}]]".format, fields),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each draw overwrites the one file
@given(before=st.lists(lines, max_size=4), after=st.lists(lines, max_size=4), whole=st.booleans())
def test_any_other_toml_is_refused_in_one_line(
    *, tmp_path: Path, before: list[str], after: list[str], whole: bool
) -> None:
    """Around a good file or alone: it is read or refused, and never ends in another error."""
    assert "\n" not in refusal(tmp_path, "\n".join([*before, TEXT if whole else "", *after]))


def refusal(folder: Path, text: str) -> str:
    try:
        loaded(folder, text)
    except WaiverError as error:
        return str(error)
    return ""
