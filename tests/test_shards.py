"""A plan dealt to machines: every task to one of them, evenly along the plan, and no part passes for the whole."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accuracy import plan, shards
from accuracy.cases import CASES
from accuracy.shards import Shard, Whole

sizes, deals = st.integers(0, 400), st.integers(1, 60)


def all_of(of: int) -> list[Shard]:
    return [Shard(number=number, of=of) for number in range(1, of + 1)]


def test_two_rounds_by_hand() -> None:
    """Seven tasks to three: the second round begins one shard later, the third two."""
    assert [shards.places(7, shard).tolist() for shard in all_of(3)] == [[0, 5], [1, 3], [2, 4, 6]]


@given(size=sizes, of=deals)
def test_every_task_has_one_shard(size: int, of: int) -> None:
    """In order, none twice, none left out; and how many each gets is known without dealing."""
    dealt = [shards.places(size, shard) for shard in all_of(of)]

    assert sorted(np.concatenate(dealt).tolist()) == list(range(size))
    for shard, mine in zip(all_of(of), dealt, strict=True):
        assert [place for place in range(size) if shards.holds(shard, place)] == mine.tolist()
    assert all((np.diff(places) > 0).all() for places in dealt)
    assert [len(places) for places in dealt] == [shards.number_of(size, shard) for shard in all_of(of)]


@given(size=sizes, of=deals, ends=st.tuples(st.integers(0, 400), st.integers(0, 400)))
def test_what_follows_each_other_is_shared_evenly(size: int, of: int, ends: tuple[int, int]) -> None:
    """Of any stretch of the plan, so of any case and stratum, no shard gets over two more than another."""
    low, high = sorted(ends)
    counts = [int(((places >= low) & (places < high)).sum()) for shard in all_of(of)
              for places in [shards.places(size, shard)]]  # fmt: skip
    assert max(counts) - min(counts) <= 2


def test_dtypes_are_shared_though_they_alternate_with_the_period_of_the_deal() -> None:
    """The smoke plan has each stratum once a dtype, three in turn: dealt to three, each shard has all dtypes alike."""
    tasks = plan.make([CASES["linear4bit-nf4-train"]], plan.PROFILES["smoke"], 7)
    strata = [task for task in tasks if task.origin.startswith("stratum:")]
    for shard in all_of(3):
        counts = Counter(task.config.dtype for place, task in enumerate(strata) if shards.holds(shard, place))
        assert len(counts) == 3
        assert max(counts.values()) - min(counts.values()) <= 2


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3 ", "1/1000000", "a/b", "١/٣"])
def test_what_is_no_shard_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="is none; write 2/3"):
        shards.parse(text)


@pytest.mark.parametrize(
    ("held", "lacking"),
    [
        (["1/1"], []),
        (["1/2", "2/2"], []),
        (["1/2", "2/2", "1/3"], []),
        (["2/3"], ["1/3", "3/3"]),
        (["1/2", "1/4", "2/4", "3/4"], ["4/4"]),
        ([], ["1/1"]),
    ],
)
def test_what_a_device_lacks(held: list[str], lacking: list[str]) -> None:
    """Of several deals the one counts that lacks least; a device that was wanted and holds nothing lacks all."""
    parts = {"asked": "", "plan_hash": "x", "plan_size": 12, "held": {"cpu": held}, "refused": {}}
    found = shards.absent(parts)

    assert [str(shard) for shard in found.get("cpu", [])] == lacking
    assert bool(shards.gaps(parts)) == bool(lacking)


def test_one_shard_is_a_gap_and_lacks_nothing() -> None:
    """It is no verdict on the plan, and what others hold is not its alarm."""
    parts = shards.asked(Shard(number=1, of=3), Whole("x", 9), ["cpu"])

    assert shards.absent(parts) == {}
    assert ["shard 1/3" in text for _, text in shards.gaps(parts)] == [True]


@pytest.mark.parametrize(
    "change",
    [{"asked": "7"}, {"held": {"cpu": ["x"]}}, {"plan_size": -1}, {"held": []}, {"refused": {"a": 1}}, {"asked": None}],
)
def test_an_entry_from_outside_is_looked_at(change: dict[str, object]) -> None:
    """Before anything counts on it."""
    good = shards.asked(Shard(number=1, of=3), Whole("x", 9), ["cpu"])

    assert shards.misfit(good) == shards.misfit(None) == ""
    assert shards.misfit({**good, **change}).startswith("parts")
