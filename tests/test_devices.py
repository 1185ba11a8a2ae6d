"""A device's name says one thing, and a device that is not there says why."""

import sys
from pathlib import Path

import pytest

from accuracy.devices import Device, environment, found_from, parse, probe

SEEN = {
    "devices": {"cpu": ["EPYC"], "cuda": ["H100", "H100"]},
    "cpu_capability": "AVX512",
    "versions": {"torch": "2.13.0", "bitsandbytes": "0.50.2"},
}


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("cpu", Device(name="cpu", kind="cpu")),
        ("cpu:avx2", Device(name="cpu:avx2", kind="cpu", capability="avx2")),
        ("cuda", Device(name="cuda", kind="cuda")),
        ("cuda:1", Device(name="cuda:1", kind="cuda", index=1)),
        ("cuda:0", Device(name="cuda", kind="cuda")),
    ],
)
def test_names_are_read(name: str, device: Device) -> None:
    """The first accelerator has one name, whichever way it was called."""
    assert parse(name) == device


@pytest.mark.parametrize(
    "name", ["", "gpu", "CPU", "cpu:0", "cpu:avx512", "cuda:", "cuda:-1", "cuda:01", "cuda:x", "cuda:²"]
)
def test_an_unknown_name_is_refused_and_the_known_ones_listed(name: str) -> None:
    """In one line."""
    with pytest.raises(
        ValueError, match=r"unknown device .*; known: cpu, cuda, xpu, hpu, mps, cpu:avx2, cpu:default"
    ) as error:
        parse(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("capability", "variants"),
    [("AVX512", ["cpu:avx2", "cpu:default"]), ("AVX2", ["cpu:default"]), ("DEFAULT", []), ("SVE256", [])],
)
def test_a_variant_is_offered_only_where_the_cpu_can_do_more(capability: str, variants: list[str]) -> None:
    """Limiting a CPU to what it has anyway would measure the same thing twice."""
    found = found_from({**SEEN, "cpu_capability": capability})

    assert [name for name in found.devices if name.startswith("cpu:")] == variants


def test_what_was_asked_for_is_there_or_missing_with_a_reason() -> None:
    """No name is lost, and nothing that was not asked for is added."""
    there, missing = found_from(SEEN).choose(["cuda:1", "cpu", "xpu", "cuda:5", "cuda:1"])

    assert there == {"cuda:1": "H100", "cpu": "EPYC"}
    assert missing == {
        "xpu": "torch 2.13.0 sees no xpu device",
        "cuda:5": "this machine has 2 cuda device(s)",
    }


def test_asking_for_nothing_means_everything_found() -> None:
    """Devices and variants."""
    there, missing = found_from(SEEN).choose([])

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
