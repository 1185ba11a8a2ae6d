"""Shares of a plan: whatever agents do, every pair is settled once or is stranded with a reason."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accuracy.cluster.ledger import Ledger, Pair, room

ACTIONS = st.lists(
    st.tuples(st.sampled_from(["give", "settle", "back", "close", "lose"]), st.integers(0, 2), st.integers(0, 9)),
    max_size=60,
)
DEVICES = {"a": ("cpu", "cpu:avx2"), "b": ("cpu", "cpu:avx2"), "c": ("cpu",)}


@given(actions=ACTIONS, count=st.integers(0, 12))
def test_no_pair_is_lost_or_settled_twice(actions: list[tuple[str, int, int]], count: int) -> None:
    """A model of three agents that take, settle, give back, close devices and die in any order."""
    every = sorted((index, device) for device in ("cpu", "cpu:avx2") for index in range(count))
    ledger = Ledger({device: range(count) for device in ("cpu", "cpu:avx2")})
    for name, devices in DEVICES.items():
        ledger.join(name, devices)
    settled = [pair for action, who, number in actions for pair in act(ledger, action, "abc"[who], number)]
    stranded = dict(ledger.stranded())
    for name in ledger.agents:
        ledger.give(name, 99)
        settled += ledger.share(name)
        for pair in ledger.share(name):
            ledger.settled(name, pair)

    assert sorted([*settled, *stranded]) == every
    assert all(stranded.values())
    assert ledger.done


def act(ledger: Ledger, action: str, name: str, number: int) -> list[Pair]:
    """One thing that an agent does; what it settles."""
    share = ledger.share(name)
    match action:
        case "give":
            ledger.give(name, number)
        case "settle" if share:
            ledger.settled(name, share[number % len(share)])
            return [share[number % len(share)]]
        case "back" if share:
            ledger.back(name, share[number % len(share)])
        case "close":
            ledger.close(name, DEVICES[name][number % len(DEVICES[name])], "given up")
        case "lose":
            ledger.lose(name, "gone")
    return []


def test_what_a_lost_agent_had_goes_to_another_of_its_device_first() -> None:
    """In its old order, before what nobody had; and with no other left it is stranded, with the reason."""
    ledger = Ledger({"cpu": range(6), "cuda": range(2)})
    ledger.join("a", ["cpu", "cuda"])
    ledger.join("b", ["cpu"])
    ledger.give("a", 6)
    ledger.settled("a", (1, "cpu"))

    assert ledger.lose("a", "power") == 5
    assert ledger.give("b", 4) == [(0, "cpu"), (2, "cpu"), (3, "cpu"), (4, "cpu")]
    assert dict(ledger.stranded()) == {(0, "cuda"): "device lost: power", (1, "cuda"): "device lost: power"}
    assert ledger.closed == {"cuda": "device lost: power"}


def test_a_pair_that_was_with_two_lost_agents_is_given_to_no_third() -> None:
    """It may be what ends them; the third node and the rest of the plan live."""
    ledger = Ledger({"cpu": range(2)})
    for name in "abc":
        ledger.join(name, ["cpu"])
    for name in "ab":
        assert ledger.give(name, 1) == [(0, "cpu")]
        ledger.lose(name, f"{name} is gone")

    assert list(ledger.stranded()) == [
        ((0, "cpu"), "device lost: 2 agents that had it were lost, the last one: b is gone")
    ]
    assert ledger.give("c", 5) == [(1, "cpu")]


def test_a_device_that_nobody_serves_strands_its_pairs() -> None:
    """They are not run, and so never green."""
    ledger = Ledger({"cpu": range(1), "hpu": range(1)})
    ledger.join("a", ["cpu"])
    for device in ("cpu", "hpu"):
        ledger.unserved(device, "not there")

    assert list(ledger.stranded()) == [((0, "hpu"), "not there")]
    assert not ledger.done


@pytest.mark.parametrize(
    ("state", "more"),
    [
        ({"waiting": 0, "rate": 0.0, "pool": 1000, "agents": 1}, 8),  # nothing is known yet: four a worker
        ({"waiting": 8, "rate": 0.0, "pool": 1000, "agents": 1}, 0),
        ({"waiting": 10, "rate": 100.0, "pool": 1000, "agents": 1}, 190),  # two seconds of work
        ({"waiting": 0, "rate": 100.0, "pool": 30, "agents": 3}, 10),  # the end of the plan is shared
        ({"waiting": 0, "rate": 100.0, "pool": 1, "agents": 3}, 1),
        ({"waiting": 0, "rate": 100.0, "pool": 0, "agents": 3}, 0),
    ],
)
def test_how_much_an_agent_of_two_workers_is_given(state: dict[str, Any], more: int) -> None:
    """Enough that it never waits for the head, little enough that all agents end together."""
    assert room(workers=2, **state) == more
