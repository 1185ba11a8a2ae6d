"""Agents by the resources of nodes, and the devices that they serve together."""

from dataclasses import replace
from typing import Any

import pytest

from accuracy import __version__
from accuracy.adapters import BUILT_IN, cpu, cuda, hpu, mps, xpu
from accuracy.cluster.placement import Node, checked, muster, places
from accuracy.devices import DeviceError

VERSIONS = {"python": "3.11", "torch": "2", "bitsandbytes": "0.50"}
PLAIN = Node(id="a" * 32, address="10.0.0.1", resources={"CPU": 4.0, "memory": 1e9})
GPUS = Node(id="b" * 32, address="10.0.0.2", resources={"CPU": 8.0, "GPU": 2.0, "accelerator_type:H100": 1.0})
INTEL = Node(id="c" * 32, address="10.0.0.3", resources={"CPU": 2.0, "xpu": 2.0, "mps": 2.0, "HPU": 1.0})


def look(devices: dict[str, str], **changes: Any) -> dict[str, Any]:
    return {
        "accuracy": __version__,
        "error": "",
        "devices": devices,
        "missing": {"hpu": "no hpu here", "xpu": "no xpu here"},
        "versions": VERSIONS,
        **changes,
    }


def test_each_node_gets_one_agent_for_its_processors_and_one_for_each_other_device() -> None:
    """A custom resource is told its device by a variable; without one, one agent serves."""
    seen = {
        (place.name, place.amount, place.workers, tuple(place.environment.items()))
        for place in places([GPUS, INTEL, PLAIN], BUILT_IN)
    }
    assert seen == {
        ("CPU of node 1", 4.0, 4, ()),
        ("CPU of node 2", 8.0, 8, ()),
        ("GPU of node 2", 1.0, 1, ()),
        ("GPU 1 of node 2", 1.0, 1, ()),
        ("CPU of node 3", 2.0, 2, ()),
        ("HPU of node 3", 1.0, 1, ()),
        ("xpu of node 3", 1.0, 1, (("ZE_AFFINITY_MASK", "0"),)),
        ("xpu 1 of node 3", 1.0, 1, (("ZE_AFFINITY_MASK", "1"),)),
        ("mps of node 3", 1.0, 1, ()),
    }


def test_only_what_is_asked_for_is_placed() -> None:
    """Others' resources are left to others; a fraction of a device is none."""
    assert [place.resource for place in places([GPUS], [cuda.ADAPTER])] == ["GPU", "GPU"]
    assert places([PLAIN], [hpu.ADAPTER, mps.ADAPTER]) == []
    assert places([replace(PLAIN, resources={"CPU": 0.0, "GPU": 0.5})], BUILT_IN) == []


def test_an_agent_serves_the_devices_of_its_resource() -> None:
    """A process on a GPU sees the CPU too, which is another agent's; and what torch calls cuda:1 is a third one's."""
    where = {place.name: place for place in places([GPUS], BUILT_IN)}
    every = {"cpu": "Xeon", "cpu:avx2": "Xeon limited to avx2", "cuda": "H100", "cuda:1": "H100"}
    mustered = muster(where, dict.fromkeys(where, look(every)), BUILT_IN, ())

    assert mustered.serving == {
        "CPU of node 1": ("cpu", "cpu:avx2"),
        "GPU of node 1": ("cuda",),
        "GPU 1 of node 1": ("cuda",),
    }
    assert mustered.found.devices == {"cpu": "Xeon", "cpu:avx2": "Xeon limited to avx2", "cuda": "H100"}
    assert mustered.found.missing["xpu"] == "no xpu here"
    assert mustered.found.missing["mps"] == "no node of the cluster has the resource mps"
    assert mustered.found.versions == VERSIONS
    assert mustered.left_out == {}
    requested = muster(where, dict.fromkeys(where, look(every)), BUILT_IN, ["cpu:avx2"])
    assert requested.serving == {"CPU of node 1": ("cpu:avx2",)}


def test_where_hardware_differs_most_win_and_the_rest_is_named() -> None:
    """Rows under one name are comparable. Ties go by the description, so that the same cluster gives the same run."""
    nodes = [replace(PLAIN, id=letter * 32) for letter in "abc"]
    where = {place.name: place for place in places(nodes, [cpu.ADAPTER])}
    first, second, third = where
    looks = {first: look({"cpu": "Xeon"}), second: look({"cpu": "EPYC"}), third: look({"cpu": "Xeon"})}

    mustered = muster(where, looks, [cpu.ADAPTER], ())
    assert mustered.found.devices == {"cpu": "Xeon"}
    assert set(mustered.serving) == {first, third}
    assert mustered.left_out == {second: "it has EPYC as cpu, others have Xeon: measure it in a run of its own"}
    del looks[third]
    assert muster(where, looks, [cpu.ADAPTER], ()).found.devices == {"cpu": "EPYC"}


def test_an_agent_that_cannot_look_or_finds_nothing_is_left_out_with_its_reason() -> None:
    where = {place.name: place for place in places([INTEL, PLAIN], [cpu.ADAPTER, xpu.ADAPTER])}
    broken, processors, one, two = where
    mustered = muster(
        where,
        {
            broken: look({}, error="no room\x1b[2J"),
            processors: look({"cpu": "Xeon"}),
            one: look({"cpu": "Xeon"}),
            two: look({"cpu": "Xeon", "xpu": "Max"}),
        },
        [cpu.ADAPTER, xpu.ADAPTER],
        (),
    )

    assert mustered.serving == {processors: ("cpu",), two: ("xpu",)}
    assert mustered.left_out == {broken: "no room [2J", one: "no xpu here"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"versions": {**VERSIONS, "torch": "3"}}, r"torch 3, .* has 2; install the same on every node"),
        ({"accuracy": "0.0.1"}, rf"accuracy 0\.0\.1, the head {__version__}"),
    ],
)
def test_nodes_with_other_versions_are_refused(changed: dict[str, Any], said: str) -> None:
    """The rows would not be those of one library."""
    where = {place.name: place for place in places([GPUS, PLAIN], [cpu.ADAPTER])}
    looks = dict(zip(where, [look({"cpu": "Xeon"}), look({"cpu": "Xeon"}, **changed)], strict=True))
    with pytest.raises(DeviceError, match=said):
        muster(where, looks, [cpu.ADAPTER], ())


def test_a_device_of_one_machine_is_refused_by_name() -> None:
    """Which one of a cluster would cuda:1 be?"""
    checked(["cpu:avx2", "cuda"])
    with pytest.raises(DeviceError, match="cuda:1 is one device of one machine; with --engine ray give cuda"):
        checked(["cpu", "cuda:1"])
