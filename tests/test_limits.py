"""Limits as data: what the built-in file says, and that no file lets everything pass or ends in a traceback."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accuracy import limits
from accuracy.case import Stage, Verdict
from accuracy.limits import Limit, LimitsError, Published

TEXT = limits.DEFAULT_FILE.read_text(encoding="utf-8")
LIMIT = Limit(
    id="one", stage="*", quantity="*", metric="ratio", at_most=1.0, verdict=Verdict.FAIL, basis="why", method="where"
)
HARD = """
[[limit]]
id = "hard"
stage = "*"
quantity = "*"
metric = "ratio"
at_most = 1.0
verdict = "fail"
basis = "theory"
method = "hard-bounds"
"""


def loaded(folder: Path, text: str) -> limits.Limits:
    path = folder / "limits.toml"
    path.write_text(text, encoding="utf-8")
    return limits.load(path)


@pytest.mark.parametrize(
    ("value", "holds"),
    [(0.0, True), (1.0, True), (1.0000001, False), (float("inf"), False), (float("nan"), False), (-5.0, True)],
)
def test_a_limit_holds_up_to_its_end(*, value: float, holds: bool) -> None:
    """At most 1: one itself is within, NaN never is."""
    assert LIMIT.holds(value) is holds


def test_a_limit_without_ends_still_refuses_nan() -> None:
    everything = Limit(
        id="all", stage="*", quantity="*", metric="ratio", verdict=Verdict.FAIL, basis="why", method="where"
    )
    assert everything.holds(float("-inf"))
    assert not everything.holds(float("nan"))


def test_patterns_cover_stages_and_quantities() -> None:
    some = Limit(
        id="some", stage="quant*", quantity="grad_*", metric="ratio", verdict=Verdict.FAIL, basis="why", method="where"
    )
    assert some.covers("case", "cpu", "float32", "quantization", "grad_input")
    assert not some.covers("case", "cpu", "float32", "quantization", "output")
    assert not some.covers("case", "cpu", "float32", "compute", "grad_input")


def test_every_ratio_above_one_fails_under_the_built_in_limits() -> None:
    """One hard limit covers every stage and quantity; nothing passes unjudged."""
    hard = [limit for limit in limits.load().limits if limit.metric == "ratio" and limit.verdict is Verdict.FAIL]

    assert all(
        any(limit.covers("case", "cpu", "float32", stage.value, "anything") for limit in hard) for stage in Stage
    )
    assert all(limit.at_most == 1 for limit in hard)


def test_every_built_in_limit_says_why() -> None:
    """A bound that no one can explain is a bug."""
    for limit in limits.load().limits:
        assert len(limit.basis.split()) > 3, limit.id
        assert limit.method, limit.id


def test_every_basis_that_a_check_names_is_explained() -> None:
    """A row carries the name of its basis, and the report looks its sentence up."""
    named = {
        name
        for source in (limits.DEFAULT_FILE.parent / "checks").glob("*.py")
        for name in _bases(source.read_text(encoding="utf-8"))
    }
    assert named
    assert named | {"contract"} <= set(limits.load().bases)


def _bases(source: str) -> list[str]:
    return [part.partition('"')[0] for part in source.split('basis="')[1:]]


def test_the_hash_names_the_numbers_and_not_the_layout(tmp_path: Path) -> None:
    """Comments and spaces may change; a number or a word may not."""
    spaced = loaded(tmp_path, "# a comment\n" + re.sub(r"(?m)^(\w+) = ", r"\1  =  ", TEXT))
    wider = loaded(tmp_path, TEXT.replace("at_most = 1.0\n", "at_most = 1.5\n", 1))
    bolder = loaded(tmp_path, TEXT.replace("confidence = 8.0", "confidence = 9.0"))
    reworded = loaded(tmp_path, TEXT.replace('basis = "a-priori', 'basis = "some'))

    assert spaced.hash == limits.load().hash
    assert len({limits.load().hash, wider.hash, bolder.hash, reworded.hash}) == 4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "[bounds]",
            "[bound]",
            "unknown section 'bound'; known are bounds, calibration, change, basis, published, limit",
        ),
        ("confidence = 8.0", "confidance = 8.0", "unknown key 'confidance'; known are confidence"),
        ("confidence = 8.0", "", "'confidence' is missing; add it"),
        ("confidence = 8.0", 'confidence = "8"', "confidence is '8'; a number is wanted"),
        ("confidence = 8.0", "confidence = true", "confidence is True; a number is wanted"),
        ("confidence = 8.0", "confidence = -8.0", "confidence is -8.0; a finite number from 0 on is wanted"),
        ("confidence = 8.0", "confidence = inf", "confidence is inf; a finite number from 0 on is wanted"),
        ("at_most = 1.0\n", "at_most = nan\n", "at_most is nan; a number is wanted"),
        ('verdict = "fail"', 'verdict = "pass"', "verdict is 'pass'; 'warn' or 'fail' is wanted"),
        ('metric = "ratio"', 'metric = "ratios"', "limit 'hard' is on 'ratios'; give one of count"),
        ('metric = "ratio"', 'metric = "observed"', "limit 'hard' is on 'observed'; give one of count"),
        ('id = "hard"', "id = 3", "id is 3; text is wanted"),
        ('id = "decomposition-output"', 'id = "hard"', "two limits have the id 'hard'"),
        ('id = "weight-after-step"', 'id = "accumulated-gradient"', "two published tolerances have the id"),
        ("row = 2", "row = 2.5", "row is 2.5; a whole number is wanted"),
        ("everywhere = false", "everywhere = 0", "everywhere is 0; true or false is wanted"),
        ("outliers = 1", "outliers = -1", "finite numbers from 0 on, a share below 1 are wanted"),
        ("outlier_share = 0.005", "outlier_share = 1.0", "finite numbers from 0 on, a share below 1 are wanted"),
        ("of_mean = 0.05", "of_mean = inf", "finite numbers from 0 on, a share below 1 are wanted"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    """In one line, with the place, what was seen and what is wanted."""
    assert old in TEXT
    with pytest.raises(LimitsError) as caught:
        loaded(tmp_path, TEXT.replace(old, new, 1))

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_limits_that_would_let_everything_pass_are_refused(tmp_path: Path) -> None:
    """No limit at all, or warnings only: such a file would make every run a release."""
    head = TEXT.partition("[[limit]]")[0]

    assert len(loaded(tmp_path, head + HARD).limits) == 1
    for text in (head, head + HARD.replace('"fail"', '"warn"')):
        with pytest.raises(LimitsError, match="every run would pass"):
            loaded(tmp_path, text)


def test_a_published_tolerance_speaks_of_its_row_layer_and_dtype() -> None:
    """The patterns of layer and dtype hold, and one that is not meant for all points covers the published alone."""
    one = Published(id="a", row=5, part="p", quantity="q", basis="b", layer="Linear*", dtype="float16")

    assert one.covers(5, "Linear4bit", "float16", "sample")
    assert not one.covers(6, "Linear4bit", "float16", "sample")
    assert not one.covers(None, "Linear4bit", "float16", "sample")
    assert not one.covers(5, "Embedding4bit", "float16", "sample")
    assert not one.covers(5, "Linear4bit", "float32", "sample")
    assert replace(one, everywhere=False).covers(5, "Linear4bit", "float16", "published")
    assert not replace(one, everywhere=False).covers(5, "Linear4bit", "float16", "stratum:one row")


def test_what_measuring_needs_arrives_as_it_was() -> None:
    """Through JSON: the bounds and the published tolerances."""
    built_in = limits.load()

    assert limits.measuring(json.loads(json.dumps(built_in.measuring))) == (built_in.bounds, built_in.published)
    assert json.loads(json.dumps(built_in.measuring)) == built_in.measuring


def test_another_published_tolerance_is_another_file(tmp_path: Path) -> None:
    """Rows were judged by it while they were measured."""
    changed = loaded(tmp_path, TEXT.replace("atol = 0.008", "atol = 0.009", 1))

    assert changed.hash != limits.load().hash
    assert changed.measuring != limits.load().measuring


@pytest.mark.parametrize("name", ["nowhere.toml", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LimitsError, match="cannot read limits from"):
        limits.load(tmp_path / name)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"[bounds", b"a = " + b"[" * 5000])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, data: bytes) -> None:
    """Not UTF-8, cut off, and nested deeper than Python recurses."""
    path = tmp_path / "limits.toml"
    path.write_bytes(data)
    with pytest.raises(LimitsError, match="cannot read limits from"):
        limits.load(path)


values = st.sampled_from(("1", "-1", "1.5", "inf", "nan", "true", '"text"', "[]", "[1]", "{}", "2027-01-31"))
names = st.sampled_from(("bounds", "basis", "limit", "published", "confidence", "id", "metric", "at_most", "x"))
lines = st.one_of(
    st.builds("{} = {}".format, names, values),
    st.builds("[{}]".format, names),
    st.builds("[[{}]]".format, names),
    st.builds("{}.{} = {}".format, names, names, values),
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
    except LimitsError as error:
        return str(error)
    return ""
