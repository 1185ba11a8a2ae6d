"""Which agents a cluster gets, by the resources of its nodes, and which devices they serve together. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from accuracy import __version__
from accuracy.adapter import Adapter
from accuracy.devices import DeviceError, Found, parse
from accuracy.rows import plain

PROCESSORS: Final = "CPU"
"""The resource of which a node has one agent, whatever their number."""

ISOLATED: Final = ("GPU", "HPU", "NPU", "TPU", "neuron_cores")
"""Resources of which Ray shows a process only those that are its own."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A living node: Ray's id of it, its address, and its resources by name."""

    id: str
    address: str
    resources: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an agent goes: the node by Ray's id, what it takes of which resource, and its own variables.

    `name` numbers the node, since what is said of an agent goes into reports, which tell nothing of where they were
    made; `address` is for who runs it. `workers` is how many it may have: one a processor, or one a device.
    """

    name: str
    address: str
    node: str
    resource: str
    amount: float
    workers: int
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Mustered:
    """What the agents that looked have together: what there is, who serves which devices, who is left out and why."""

    found: Found
    serving: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]


def places(nodes: Iterable[Node], adapters: Iterable[Adapter]) -> list[Place]:
    """An agent for the processors of each node, and one for each of its other devices of these kinds."""
    wanted: dict[str, Adapter] = {}
    for adapter in adapters:
        for resource in adapter.ray_resources:
            wanted.setdefault(resource, adapter)
    return [
        place
        for number, node in enumerate(sorted(nodes, key=lambda node: (node.address, node.id)), start=1)
        for resource, adapter in wanted.items()
        for place in _on(node, number, resource, adapter)
    ]


def _on(node: Node, number: int, resource: str, adapter: Adapter) -> list[Place]:
    """The agents of one node for one resource."""
    there = int(node.resources.get(resource, 0))
    workers = max(1, int(node.resources.get(PROCESSORS, 0))) if adapter.on_host else 1
    if resource == PROCESSORS:
        variables: list[dict[str, str]] = [{}] * min(there, 1)
    elif resource in ISOLATED:
        variables = [{}] * there
    elif adapter.visible:
        variables = [{adapter.visible: str(each)} for each in range(there)]
    else:
        variables = [{}] * min(there, 1)
    return [
        Place(
            name=f"{resource}{f' {each}' if each else ''} of node {number}",
            address=node.address,
            node=node.id,
            resource=resource,
            amount=float(there) if resource == PROCESSORS else 1.0,
            workers=workers,
            environment=environment,
        )
        for each, environment in enumerate(variables)
    ]


def checked(requested: Sequence[str]) -> None:
    """Refuses the names that mean nothing on a cluster.

    Raises:
        DeviceError: for an unknown name, and for one with an index: a kind stands for all its devices there.
    """
    for name in requested:
        device = parse(name)
        if device.index is not None:
            raise DeviceError(
                f"{name} is one device of one machine; with --engine ray give {device.kind}, "
                "which stands for every one that the cluster has"
            )


def muster(
    places: Mapping[str, Place],
    looks: Mapping[str, Mapping[str, Any]],
    adapters: Iterable[Adapter],
    requested: Sequence[str],
) -> Mustered:
    """What agents found, put together for the devices requested, or for all of these kinds if there are none.

    `looks` has by name of its place what each `accuracy.cluster.agent.Agent.look` gave. An agent serves devices
    of its own resource. Where those of one name are different hardware, most win, then the first by description:
    rows of one device are comparable. Who sees something else serves what is left, or nothing.

    Raises:
        DeviceError: if versions differ from node to node, since the rows would not be those of one library.
    """
    sound = {name: look for name, look in looks.items() if not look["error"]}
    left_out = {name: plain(str(look["error"])) for name, look in looks.items() if look["error"]}
    _same_versions(sound)
    seen = {name: _own(look["devices"], places[name], requested) for name, look in sound.items()}
    described: dict[str, str] = {}
    for device in dict.fromkeys(device for devices in seen.values() for device in devices):
        descriptions = [devices[device] for devices in seen.values() if device in devices]
        described[device] = min(descriptions, key=lambda text: (-descriptions.count(text), text))
    missing = {device: reason for adapter in adapters for device, reason in _absent(adapter).items()}
    for name, look in sound.items():
        own = _own(look["missing"], places[name], ())
        missing |= own
        odd = [device for device, text in seen[name].items() if text != described[device]]
        if odd:
            others = f"others have {described[odd[0]]}"
            left_out[name] = plain(f"it has {seen[name][odd[0]]} as {odd[0]}, {others}: measure it in a run of its own")
        elif not seen[name]:
            left_out[name] = plain("; ".join(dict.fromkeys(own.values())) or "nothing that was asked for is there")
    serving = {
        name: tuple(device for device, text in devices.items() if text == described[device])
        for name, devices in seen.items()
    }
    versions: Mapping[str, str] = next((look["versions"] for look in sound.values()), {})
    return Mustered(
        found=Found(
            devices=_in_order(described),
            missing={device: reason for device, reason in missing.items() if device not in described},
            versions=dict(versions),
        ),
        serving={name: own for name, own in serving.items() if own},
        left_out=left_out,
    )


def _own(devices: Mapping[str, str], place: Place, requested: Sequence[str]) -> dict[str, str]:
    """Those of the place's resource, without the further ones of a kind, which other agents serve."""
    parsed = {name: parse(name) for name in devices}
    return {
        name: devices[name]
        for name, device in parsed.items()
        if place.resource in device.adapter.ray_resources
        and device.index is None
        and (not requested or name in requested)
    }


def _absent(adapter: Adapter) -> dict[str, str]:
    """Why a kind and its variants are missing where no node has its resource."""
    resources = " or ".join(adapter.ray_resources)
    names = (adapter.kind, *(f"{adapter.kind}:{variant.name}" for variant in adapter.variants))
    return dict.fromkeys(names, f"no node of the cluster has the resource {resources}")


def _in_order(devices: Mapping[str, str]) -> dict[str, str]:
    """By kind, in the order in which kinds were seen, a kind's variants after it."""
    kinds = list(dict.fromkeys(parse(name).kind for name in devices))
    return {name: devices[name] for name in sorted(devices, key=lambda name: kinds.index(parse(name).kind))}


def _same_versions(looks: Mapping[str, Mapping[str, Any]]) -> None:
    first: tuple[str, Mapping[str, str]] | None = None
    for name, look in looks.items():
        versions = {"accuracy": str(look["accuracy"]), **look["versions"]}
        if versions["accuracy"] != __version__:
            raise DeviceError(
                f"{name} has accuracy {versions['accuracy']}, the head {__version__}; install the same on every node"
            )
        if first is None:
            first = name, versions
        differ = [each for each in sorted({*versions, *first[1]}) if versions.get(each) != first[1].get(each)]
        if differ:
            each = differ[0]
            raise DeviceError(
                f"{name} has {each} {versions.get(each)}, {first[0]} has {first[1].get(each)}; "
                "install the same on every node"
            )
