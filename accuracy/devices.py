"""Devices by name: what a name means, what this machine has, and which variants of its CPU make sense."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ACCELERATORS: Final = ("cuda", "xpu", "hpu", "mps")
KINDS: Final = ("cpu", *ACCELERATORS)
VARIANTS: Final[Mapping[str, str]] = {"cpu:avx2": "avx2", "cpu:default": "default"}
"""Names that limit the vector instructions of the CPU, with the value of `ATEN_CPU_CAPABILITY` that does it."""

KNOWN: Final = (*KINDS, *VARIANTS)

_OFFERED: Final[Mapping[str, tuple[str, ...]]] = {
    "AVX512": ("cpu:avx2", "cpu:default"),
    "AVX2": ("cpu:default",),
}
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
}


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device by its parts: `cuda:1` has an index, `cpu:avx2` a capability."""

    name: str
    kind: str
    index: int | None = None
    capability: str | None = None

    @property
    def torch_name(self) -> str:
        """What torch calls it."""
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the probe saw. `devices` maps names to descriptions; `missing` maps kinds and variants to reasons."""

    devices: Mapping[str, str]
    missing: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)

    def choose(self, requested: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Those of `requested` that are there and those that are not, with descriptions and reasons.

        None requested means all that was found.

        Raises:
            ValueError: if a name is no device's, as `parse`.
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
        ValueError: if it names none; lists those known.
    """
    kind, colon, rest = name.partition(":")
    if name in VARIANTS:
        return Device(name=name, kind="cpu", capability=VARIANTS[name])
    if name in KINDS:
        return Device(name=name, kind=kind)
    if kind in ACCELERATORS and colon and rest.isascii() and rest.isdigit() and str(int(rest)) == rest:
        # The first one goes by one name only, or the same measurement would appear twice.
        return Device(name=name if int(rest) else kind, kind=kind, index=int(rest) or None)
    known = ", ".join(KNOWN)
    raise ValueError(f"unknown device {name!r}; known: {known}, and an index as in cuda:1")


def environment(device: str, overlay: Sequence[Path] = ()) -> dict[str, str]:
    """The environment of the processes that measure `device`: the parent's, with one thread and `overlay` first.

    The package's own folder goes last on the path, so that another interpreter finds it.
    """
    own = Path(__file__).resolve().parent.parent
    inherited = os.environ.get("PYTHONPATH", "")
    last = () if own.name in ("site-packages", "dist-packages") else (str(own),)
    path = [*(str(folder.resolve()) for folder in overlay), *filter(None, inherited.split(os.pathsep)), *last]
    values = {**os.environ, **SINGLE_THREAD, "PYTHONPATH": os.pathsep.join(path)}
    values.pop("ATEN_CPU_CAPABILITY", None)
    capability = parse(device).capability
    return values if capability is None else {**values, "ATEN_CPU_CAPABILITY": capability}


def probe(interpreter: str = sys.executable, overlay: Sequence[Path] = ()) -> Found:
    """Asks a process of its own, which imports torch and nothing else, what is there.

    A process that fails leaves no device found, and its last words as the reason.
    """
    reading, writing = os.pipe()
    command = [interpreter, "-P", "-m", "accuracy.probe", str(writing)]
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
    return found_from(json.loads(said))


def found_from(seen: Mapping[str, object]) -> Found:
    """Names devices and variants from what `accuracy.probe` reports."""
    names = seen["devices"]
    capability = str(seen["cpu_capability"])
    versions = seen["versions"]
    if not isinstance(names, dict) or not isinstance(versions, dict):
        raise TypeError(f"the probe reports {seen}, not devices and versions")
    devices: dict[str, str] = {}
    missing: dict[str, str] = {}
    for kind in KINDS:
        there: list[str] = names.get(kind, [])
        devices.update(_indexed(kind, there))
        if not there:
            missing[kind] = f"torch {versions.get('torch', '')} sees no {kind} device"
        if kind == "cpu":
            offered = _OFFERED.get(capability, ())
            devices.update({name: f"{there[0]} limited to {VARIANTS[name]}" for name in offered})
            reason = f"the CPU has no more than that: its capability is {capability}"
            missing.update({name: reason for name in VARIANTS if name not in offered})
    return Found(devices=devices, missing=missing, versions=versions)


def _indexed(kind: str, names: Iterable[str]) -> dict[str, str]:
    return {f"{kind}:{index}" if index else kind: name for index, name in enumerate(names)}


def _nothing(reason: str) -> Found:
    return Found(devices={}, missing=dict.fromkeys(KNOWN, reason))
