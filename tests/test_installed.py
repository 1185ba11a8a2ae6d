"""A package adds a device by an entry point; one that cannot be used is said in one line and costs nobody else."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path
from typing import Any

import pytest

from accuracy import store
from accuracy.adapters import BUILT_IN, cpu
from accuracy.installed import GROUP, collect, installed

ROOT = Path(store.__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "device"
Command = Callable[..., subprocess.CompletedProcess[str]]


def entry(folder: Path, name: str, value: str, package: str = "planted") -> EntryPoint:
    """An entry point of a package that is installed in `folder`."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value}\n")
    return next(iter(PathDistribution(info).entry_points))


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with one module that has a good adapter, and other things."""
    (tmp_path / "planted_device.py").write_text(
        "from accuracy.adapter import Adapter\n"
        "GOOD = Adapter(kind='planted', listing='planted_device:names')\n"
        "COPY = Adapter(kind='cpu', listing='planted_device:names')\n"
        "TEXT = 'planted'\n"
    )
    (tmp_path / "planted_raises.py").write_text("raise OSError('no driver\\x1b[2J\\nsecond line')\n")
    (tmp_path / "planted_exits.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "planted_refused.py").write_text(
        "from accuracy.adapter import Adapter\nA = Adapter(kind='a b', listing='c:d')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_adapter_of_a_package_comes_after_the_built_in_ones(planted: Path) -> None:
    """With the package and its version, for the report."""
    found = collect(BUILT_IN, [entry(planted, "planted", "planted_device:GOOD")])

    assert list(found.adapters) == [*(adapter.kind for adapter in BUILT_IN), "planted"]
    assert found.packages == {"planted": ("planted", "1.0")}
    assert found.unusable == ()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("a", "planted_raises:X", "planted_raises:X raised OSError: no driver [2J; mend or uninstall it"),
        ("a", "planted_exits:X", "planted_exits:X raised SystemExit: 0; mend or uninstall it"),
        ("a", "nowhere:X", "nowhere:X raised ModuleNotFoundError: No module named 'nowhere'; mend or uninstall it"),
        ("a", "planted_device:X", "planted_device:X raised AttributeError: module 'planted_device' has no attribute"),
        ("a", "planted_refused:A", "planted_refused:A raised ValueError: 'a b' is no name of a device"),
        ("a", "planted_device:TEXT", "planted_device:TEXT is a str, accuracy.adapter.Adapter is wanted"),
        ("a", "planted_device:GOOD", "is the adapter of 'planted', the entry point is called 'a'"),
        ("a", "planted_device:COPY", "is the adapter of 'cpu', the entry point is called 'a'"),
    ],
)
def test_an_entry_point_that_cannot_be_used_costs_its_own_device(
    planted: Path, name: str, value: str, said: str
) -> None:
    """In one line, with the package to look at; the others stay."""
    good = entry(planted, "planted", "planted_device:GOOD")
    found = collect(BUILT_IN, [entry(planted, name, value, "broken"), good])

    assert list(found.adapters) == [*(adapter.kind for adapter in BUILT_IN), "planted"]
    [(unusable, reason)] = found.unusable
    assert unusable == name
    assert reason.startswith("the device 'a' of broken 1.0 cannot be used: ")
    assert said in reason
    assert reason.isprintable()


def test_a_built_in_device_stays_what_it_is(planted: Path) -> None:
    """No package can take its name."""
    found = collect(BUILT_IN, [entry(planted, "cpu", "planted_device:COPY")])

    assert found.adapters["cpu"] is cpu.ADAPTER
    assert found.unusable == (("cpu", "planted 1.0 adds the device 'cpu', which is built in: rename it there"),)


def test_a_device_that_two_packages_add_is_neither(planted: Path) -> None:
    """Its name would not say which was measured."""
    claims = [entry(planted, "planted", "planted_device:GOOD", package) for package in ("second", "first")]
    found = collect(BUILT_IN, claims)

    assert "planted" not in found.adapters
    assert found.unusable == (
        ("planted", "the device 'planted' is added 2 times, by first 1.0 and second 1.0: keep one"),
    )


def test_nothing_is_added_where_nothing_is_installed() -> None:
    """The example is not part of the harness."""
    assert "example" not in installed().adapters


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, installed by pip from a copy of its sources, without a network."""
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, folder / "source")
    target = folder / "installed"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(source)], check=True)
    return target


@pytest.fixture(scope="module")
def command(package: Path) -> Command:
    """Runs `accuracy` where the example is installed."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join((str(package), str(ROOT)))
        return subprocess.run(
            [sys.executable, "-m", "cli", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_example_package_appears_among_the_devices(command: Command) -> None:
    """By the name that its own function gives, with the package that brought it."""
    listed = command("devices").stdout.splitlines()

    [line] = [line for line in listed if line.startswith("example ")]
    assert line.split(maxsplit=1)[1].startswith("an example on torch 2.")
    assert line.endswith(", by accuracy-example-device 0.1")
    assert listed[0].startswith("cpu ")


def test_the_example_device_measures_and_refuses(command: Command, tmp_path: Path) -> None:
    """An 8-bit table is measured; a 4-bit one is NOT SUPPORTED for the package's reason, and nothing of it is green."""
    cases = ("--cases", "embedding8bit", "--cases", "embedding4bit-nf4")
    folder = tmp_path / "run"
    ended = command("nightly", "--profile", "smoke", "--device", "example", *cases, "--seed", 7, "--out", folder)
    run = store.read(folder)
    rows: dict[str, Any] = {str(case): rows for case, rows in run.observations.groupby("case")}
    refused = rows["embedding4bit-nf4"]

    assert ended.returncode == 0, ended.stderr
    assert set(run.observations["device"]) == {"example"}
    assert set(rows["embedding8bit"]["status"]) == {"ok"}
    assert set(zip(refused["status"], refused["quantity"], refused["reason"], strict=True)) == {
        (
            "not_supported",
            "completes",
            "4-bit embeddings are not supported on example (accuracy_example_device, as an example)",
        )
    }
    assert refused["id"].tolist() == run.plan[run.plan["case"] == "embedding4bit-nf4"]["id"].tolist()
    verdicts = {(cell["case"], cell["verdict"]) for cell in run.summary["cells"]}
    assert verdicts == {("embedding8bit", "pass"), ("embedding4bit-nf4", "not_supported")}
    assert run.manifest["versions"]["accuracy-example-device"] == "0.1"
    assert "4-bit embeddings are not supported on example" in (folder / "report.html").read_text()


def test_a_run_of_what_a_device_refuses_is_incomplete(command: Command, tmp_path: Path) -> None:
    """Nothing was shown to be right."""
    arguments = ("--profile", "smoke", "--device", "example", "--cases", "embedding4bit-nf4", "--seed", 7)
    ended = command("nightly", *arguments, "--out", tmp_path / "run")

    assert ended.returncode == 3
    assert ended.stdout.startswith("incomplete: 0 of ")


def test_a_broken_package_is_one_line(command: Command, planted: Path, package: Path, tmp_path: Path) -> None:
    """`accuracy devices` lists it; asked for by name it is exit code 2; what is not asked of it runs."""
    entry(planted, "broken", "planted_raises:X", "broken-device")
    path = os.pathsep.join((str(planted), str(package), str(ROOT)))
    said = "the device 'broken' of broken-device 1.0 cannot be used: planted_raises:X raised OSError: no driver [2J; "
    asked = command("nightly", "--device", "broken", PYTHONPATH=path)

    assert f"broken       not usable: {said}mend or uninstall it" in command("devices", PYTHONPATH=path).stdout
    assert (asked.returncode, asked.stderr) == (2, f"accuracy: {said}mend or uninstall it\n")
    options = ("--profile", "smoke", "--cases", "embedding4bit-nf4", "--time-budget", "0s", "--out", tmp_path / "run")
    assert f"accuracy: {said}" in command("nightly", *options, PYTHONPATH=path).stderr


def test_the_example_device_gives_what_the_cpu_gives(command: Command, package: Path, tmp_path: Path) -> None:
    """It is the CPU under another name: the same digests, from workers that have the package's variable."""
    folder = tmp_path / "run"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if '--setup' in sys.argv:\n"
        "    open(os.environ['BOX'], 'a').write(os.environ.get('EXAMPLE_DEVICE', 'none') + ' ')\n"
    )
    box = tmp_path / "box"
    path = os.pathsep.join((str(tmp_path), str(package), str(ROOT)))
    ended = command(
        *("nightly", "--profile", "smoke", "--device", "cpu", "--device", "example", "--cases", "embedding8bit"),
        *("--seed", 7, "--out", folder),
        BOX=str(box),
        PYTHONPATH=path,
    )
    rows = store.read(folder).observations
    digests = {str(device): group["digest"].tolist() for device, group in rows.groupby("device")}

    assert ended.returncode == 0, ended.stderr
    assert digests["cpu"] == digests["example"]
    assert any(digests["cpu"])
    assert sorted(box.read_text().split()) == ["none", "on"]
