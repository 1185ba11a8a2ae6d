"""Devices by name: what a name means, what this machine has, and which variants make sense here."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from accuracy.adapter import Adapter, Variant
from accuracy.installed import Installed, installed
from accuracy.rows import plain

PROBE_SECONDS: Final = 120.0

SINGLE_THREAD: Final[Mapping[str, str]] = {
    # Workers are the parallelism. Threads inside them would compete and change the order of sums.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # torch.compile of the library's fallback kernels takes seconds a shape, and falls back to eager
    # after some shapes: results would depend on which cases ran before.
    "TORCHDYNAMO_DISABLE": "1",
    "PYTHONHASHSEED": "0",
    # glibc gives large arrays back to the system each time, which then clears their pages anew: a quarter to two fifths
    # of what measuring a large layer takes. So it keeps for the next one what the largest draws need, up to 1 GiB: at
    # 512 MiB one layer of 4096 × 511 met 3,000 to 24,000 new pages in every second run, 10 µs each. Other allocators
    # take no notice.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}


class DeviceError(ValueError):
    """A name is no device's, or that of one that cannot be used; the message says what was seen and what to do."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device by its parts: `cuda:1` has an index, `cpu:avx2` is a variant."""

    name: str
    adapter: Adapter
    index: int | None = None
    variant: Variant | None = None

    @property
    def kind(self) -> str:
        """What devices of its sort are called."""
        return self.adapter.kind

    @property
    def torch_name(self) -> str:
        """What torch calls it."""
        kind = self.adapter.torch_device
        return kind if self.index is None else f"{kind}:{self.index}"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the probe saw. `devices` maps names to descriptions; `missing` maps kinds and variants to reasons.

    `versions` are those of what measures, and of the packages that add devices.
    """

    devices: Mapping[str, str]
    missing: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)

    def choose(self, requested: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Those of `requested` that are there and those that are not, with descriptions and reasons.

        None requested means all that was found.

        Raises:
            DeviceError: if a name is no device's, as `parse`.
        """
        wanted = [parse(name) for name in dict.fromkeys(requested)] or [parse(name) for name in self.devices]
        there = {device.name: self.devices[device.name] for device in wanted if device.name in self.devices}
        missing = {device.name: self._reason(device) for device in wanted if device.name not in self.devices}
        return there, missing

    def _reason(self, device: Device) -> str:
        if device.name in self.missing:
            return self.missing[device.name]
        there = sum(parse(name).kind == device.kind for name in self.devices)
        return self.missing.get(device.kind) or f"this machine has {there} {device.kind} device(s)"


def parse(name: str) -> Device:
    """The device that `name` names.

    Raises:
        DeviceError: if it names none, and then lists those known, or if its package cannot be used.
    """
    here = installed()
    kind, colon, rest = name.partition(":")
    adapter = here.adapters.get(kind)
    if adapter is None:
        raise DeviceError(dict(here.unusable).get(kind) or _unknown(name, here))
    if not colon:
        return Device(name=name, adapter=adapter)
    variant = next((variant for variant in adapter.variants if variant.name == rest), None)
    if variant is not None:
        return Device(name=name, adapter=adapter, variant=variant)
    if adapter.indexed and rest.isascii() and rest.isdigit() and str(int(rest)) == rest:
        # The first one goes by one name only, or the same measurement would appear twice.
        return Device(name=name if int(rest) else kind, adapter=adapter, index=int(rest) or None)
    raise DeviceError(_unknown(name, here))


def unusable() -> list[str]:
    """What is wrong with the packages that should add a device and cannot: a line each."""
    return [reason for _, reason in installed().unusable]


def _unknown(name: str, here: Installed) -> str:
    known = ", ".join(_known(here.adapters.values()))
    return f"unknown device {name!r}; known: {known}, and an index as in cuda:1"


def _known(adapters: Iterable[Adapter]) -> list[str]:
    kinds = list(adapters)
    return [*(kind.kind for kind in kinds), *(_named(kind, variant) for kind in kinds for variant in kind.variants)]


def _named(adapter: Adapter, variant: Variant) -> str:
    return f"{adapter.kind}:{variant.name}"


def environment(device: str, overlay: Sequence[Path] = ()) -> dict[str, str]:
    """The environment of the processes that measure `device`: the parent's, with one thread and `overlay` first.

    The package's own folder goes last on the path, so that another interpreter finds it. A variable that makes
    a variant is never the parent's: a device by its plain name is the plain device.
    """
    own = Path(__file__).resolve().parent.parent
    inherited = os.environ.get("PYTHONPATH", "")
    last = () if own.name in ("site-packages", "dist-packages") else (str(own),)
    path = [*(str(folder.resolve()) for folder in overlay), *filter(None, inherited.split(os.pathsep)), *last]
    where = parse(device)
    variants = (variant for adapter in installed().adapters.values() for variant in adapter.variants)
    varied = {name for variant in variants for name in variant.environment}
    return {
        **{name: value for name, value in os.environ.items() if name not in varied},
        **SINGLE_THREAD,
        **where.adapter.environment,
        **(where.variant.environment if where.variant is not None else {}),
        "PYTHONPATH": os.pathsep.join(path),
    }


def probe(interpreter: str = sys.executable, overlay: Sequence[Path] = ()) -> Found:
    """Asks a process of its own, which imports torch and nothing else, what is there.

    A process that fails leaves no device found, and its last words as the reason.
    """
    reading, writing = os.pipe()
    adapters = installed().adapters.values()
    asked = [(adapter.kind, adapter.listing, adapter.offers) for adapter in adapters]
    command = [interpreter, "-P", "-m", "accuracy.probe", str(writing), json.dumps(asked)]
    try:
        with os.fdopen(reading, "rb") as answer:
            try:
                ended = subprocess.run(
                    command,
                    env=environment("cpu", overlay),
                    pass_fds=(writing,),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    check=False,
                    timeout=PROBE_SECONDS,
                    start_new_session=True,
                )
            finally:
                os.close(writing)
            said = answer.read()
    except FileNotFoundError:
        return _nothing(f"there is no interpreter {interpreter}")
    except subprocess.TimeoutExpired:
        return _nothing(f"torch was not imported within {PROBE_SECONDS:g} s")
    if ended.returncode or not said:
        words = ended.stderr.decode(errors="replace").strip().splitlines()
        return _nothing(f"torch cannot be imported: {words[-1] if words else f'exit code {ended.returncode}'}")
    found = found_from(json.loads(said), adapters)
    return replace(found, versions={**found.versions, **dict(installed().packages.values())})


def found_from(seen: Mapping[str, Any], adapters: Iterable[Adapter]) -> Found:
    """Names devices and variants from what `accuracy.probe` reports of each kind.

    A kind has `names`, `offers` (why each variant makes no sense, "" where it does) and `error`, "" or what its
    functions raised.
    """
    versions = {str(name): str(version) for name, version in seen["versions"].items()}
    devices: dict[str, str] = {}
    missing: dict[str, str] = {}
    for adapter in adapters:
        said = seen["kinds"][adapter.kind]
        there = [plain(name) for name in said["names"]]
        devices.update(_indexed(adapter, there))
        reason = plain(said["error"]) or f"torch {versions.get('torch', '')} sees no {adapter.kind} device"
        if not there:
            missing[adapter.kind] = reason
        for variant in adapter.variants:
            why = plain(str(said["offers"].get(variant.name, ""))) if there else reason
            if why:
                missing[_named(adapter, variant)] = why
            else:
                devices[_named(adapter, variant)] = f"{there[0]} {variant.limit}"
    return Found(devices=devices, missing=missing, versions=versions)


def _indexed(adapter: Adapter, names: Sequence[str]) -> dict[str, str]:
    kept = names if adapter.indexed else names[:1]
    return {f"{adapter.kind}:{index}" if index else adapter.kind: name for index, name in enumerate(kept)}


def _nothing(reason: str) -> Found:
    return Found(devices={}, missing=dict.fromkeys(_known(installed().adapters.values()), reason))
