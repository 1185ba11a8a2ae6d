"""A device's name says one thing, and a device that is not there says why."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from accuracy.adapters import BUILT_IN, cpu, cuda, hardware
from accuracy.devices import Device, DeviceError, environment, found_from, parse, probe
from accuracy.probe import look

NOTHING: dict[str, Any] = {"names": [], "offers": {}, "error": ""}
SEEN: dict[str, Any] = {
    "kinds": {
        **{adapter.kind: NOTHING for adapter in BUILT_IN},
        "cpu": {"names": ["EPYC"], "offers": {"avx2": "", "default": ""}, "error": ""},
        "cuda": {"names": ["H100", "H100"], "offers": {}, "error": ""},
        "mps": {"names": [], "offers": {}, "error": "looking for it raised RuntimeError: no\x1b[2J driver"},
    },
    "versions": {"torch": "2.13.0", "bitsandbytes": "0.50.2"},
}


@pytest.mark.parametrize(
    ("name", "device", "torch_name"),
    [
        ("cpu", Device(name="cpu", adapter=cpu.ADAPTER), "cpu"),
        ("cpu:avx2", Device(name="cpu:avx2", adapter=cpu.ADAPTER, variant=cpu.ADAPTER.variants[0]), "cpu"),
        ("cuda", Device(name="cuda", adapter=cuda.ADAPTER), "cuda"),
        ("cuda:1", Device(name="cuda:1", adapter=cuda.ADAPTER, index=1), "cuda:1"),
        ("cuda:0", Device(name="cuda", adapter=cuda.ADAPTER), "cuda"),
    ],
)
def test_names_are_read(name: str, device: Device, torch_name: str) -> None:
    """The first accelerator has one name, whichever way it was called; a variant is torch's plain device."""
    assert parse(name) == device
    assert parse(name).torch_name == torch_name


@pytest.mark.parametrize(
    "name",
    ["", "gpu", "CPU", "cpu:0", "mps:1", "mps:0", "cpu:avx512", "cuda:", "cuda:-1", "cuda:01", "cuda:x", "cuda:²"],
)
def test_an_unknown_name_is_refused_and_the_known_ones_listed(name: str) -> None:
    """In one line."""
    with pytest.raises(
        DeviceError, match=r"unknown device .*; known: cpu, cuda, xpu, hpu, mps, cpu:avx2, cpu:default"
    ) as error:
        parse(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("capability", "variants"),
    [("AVX512", ["avx2", "default"]), ("AVX2", ["default"]), ("DEFAULT", []), ("SVE256", [])],
)
def test_a_variant_is_offered_only_where_the_cpu_can_do_more(
    monkeypatch: pytest.MonkeyPatch, capability: str, variants: list[str]
) -> None:
    """Limiting a CPU to what it has anyway would measure the same thing twice."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    offers = hardware.cpu_variants()
    kinds = {**SEEN["kinds"], "cpu": {"names": ["EPYC"], "offers": offers, "error": ""}}
    found = found_from({**SEEN, "kinds": kinds}, BUILT_IN)

    assert offers.keys() == {variant.name for variant in cpu.ADAPTER.variants}
    assert [name for name in found.devices if name.startswith("cpu:")] == [f"cpu:{name}" for name in variants]
    for name in set(offers) - set(variants):
        assert found.missing[f"cpu:{name}"] == f"the CPU has no more than that: its capability is {capability}"


def test_a_variant_is_described_by_what_it_limits() -> None:
    """So that two columns of a report can be told apart."""
    assert found_from(SEEN, BUILT_IN).devices["cpu:avx2"] == "EPYC limited to avx2"


def test_a_rocm_build_of_torch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """AMD's devices are called cuda; their name is what tells them apart."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"AMD Instinct MI300X ({device})")
    monkeypatch.setattr(torch.version, "hip", "6.4.1")

    assert hardware.cuda() == ["AMD Instinct MI300X (cuda:0), ROCm 6.4.1", "AMD Instinct MI300X (cuda:1), ROCm 6.4.1"]


def test_a_driver_that_raises_costs_its_own_kind() -> None:
    """It has no devices, and what was raised is the reason, in one line without control characters."""
    assert look("math:sqrt", "") == NOTHING | {
        "error": "looking for it raised TypeError: math.sqrt() takes exactly one argument (0 given)"
    }
    assert look("os:cpu_count", "nowhere:here")["error"].startswith("looking for it raised TypeError")
    assert look("os:listdir", "nowhere:here")["error"] == (
        "looking for it raised ModuleNotFoundError: No module named 'nowhere'"
    )
    assert found_from(SEEN, BUILT_IN).missing["mps"] == "looking for it raised RuntimeError: no [2J driver"


def test_what_was_asked_for_is_there_or_missing_with_a_reason() -> None:
    """No name is lost, and nothing that was not asked for is added."""
    there, missing = found_from(SEEN, BUILT_IN).choose(["cuda:1", "cpu", "xpu", "cuda:5", "cuda:1"])

    assert there == {"cuda:1": "H100", "cpu": "EPYC"}
    assert missing == {
        "xpu": "torch 2.13.0 sees no xpu device",
        "cuda:5": "this machine has 2 cuda device(s)",
    }


def test_asking_for_nothing_means_everything_found() -> None:
    """Devices and variants."""
    there, missing = found_from(SEEN, BUILT_IN).choose([])

    assert list(there) == ["cpu", "cpu:avx2", "cpu:default", "cuda", "cuda:1"]
    assert missing == {}


def test_the_probe_finds_this_machine() -> None:
    """A process that imports torch alone, and the version of the library without importing it."""
    found = probe()

    assert "cpu" in found.devices
    assert found.versions["torch"]
    assert found.versions["bitsandbytes"][0].isdigit()


@pytest.mark.parametrize(
    ("source", "said"),
    [("raise ImportError('planted')", "ImportError: planted"), ("import os; os.abort()", "exit code -6")],
)
def test_a_torch_that_cannot_be_imported_leaves_no_device(tmp_path: Path, source: str, said: str) -> None:
    """The reason is what the process said last."""
    (tmp_path / "torch.py").write_text(source)
    found = probe(sys.executable, [tmp_path])

    assert not found.devices
    assert found.missing["cpu"] == f"torch cannot be imported: {said}"


def test_an_interpreter_that_is_not_there_leaves_no_device() -> None:
    """It is named."""
    assert probe("/nowhere/python").missing["cuda"] == "there is no interpreter /nowhere/python"


def test_workers_see_the_parents_environment_with_one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PYTHONPATH is kept, overlays come first, and the switch that limits the CPU is set for variants alone."""
    monkeypatch.setenv("PYTHONPATH", "/patched")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    plain, limited = environment("cpu", [tmp_path]), environment("cpu:default")

    assert plain["PYTHONPATH"].split(":")[:2] == [str(tmp_path.resolve()), "/patched"]
    assert plain["OMP_NUM_THREADS"] == "1"
    assert "ATEN_CPU_CAPABILITY" not in plain
    assert limited["ATEN_CPU_CAPABILITY"] == "default"


def test_as_many_workers_as_pay_and_as_there_are_processors() -> None:
    """By hand: what a run asks for counts first; a device that was not measured gets one."""
    nvidia, gaudi = parse("cuda").adapter, parse("hpu").adapter

    assert [nvidia.workers_for(None, cores) for cores in (1, 4, 64)] == [1, 4, nvidia.workers]
    assert (nvidia.workers_for(3, 64), gaudi.workers_for(None, 64), gaudi.workers_for(2, 1)) == (3, 1, 2)
