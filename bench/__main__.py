"""`python -m bench`: measures what the harness costs and writes a page of tables."""

import argparse
import datetime
import importlib.metadata
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from accuracy.devices import SINGLE_THREAD, parse

if TYPE_CHECKING:
    from bench.table import Section

PACKAGES: Final = ("torch", "bitsandbytes", "numpy", "pandas", "pyarrow", "hypothesis")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the harness costs and writes it as tables in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    parser.add_argument("--device", default="cpu", help="as `accuracy devices` lists them")
    parser.add_argument("--out", type=Path, help="page whose part for this device is written anew")
    parser.add_argument("--tiny", action="store_true", help="next to no work, to see that everything runs")
    parser.add_argument("--only", action="append", help="a section by its name; repeat for more")
    parser.add_argument("--jobs", default="1,2", help="numbers of workers to compare")
    parser.add_argument("--beside", action="append", default=[], help="another accelerator here, for both together")
    options = parser.parse_args(arguments)
    devices = [options.device, *options.beside]
    for device in devices:
        parse(device)
    from bench import table

    began = time.perf_counter()
    only = {*(options.only or ())}
    if "pages" in only:
        only.add("night")  # whose pages they are
    with quiet(), tempfile.TemporaryDirectory() as scratch:
        jobs = [int(number) for number in options.jobs.split(",")]
        sections = [
            make()
            for name, make in plan(devices, Path(scratch), jobs=jobs, tiny=options.tiny).items()
            if not only or name in only
        ]
    part = table.part(f"On {options.device}", head(options.device, time.perf_counter() - began), sections)
    if options.out is None:
        sys.stdout.write(part)
    else:
        before = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
        options.out.write_text(table.placed(before, part, name=options.device), encoding="utf-8")
    return 0


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the library warns of on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def plan(
    devices: Sequence[str], scratch: Path, *, jobs: Sequence[int], tiny: bool
) -> "Mapping[str, Callable[[], Section]]":
    """The sections by name, each ready to be measured on the first device, and on all where they are several."""
    from bench import faults, gpu, layers, pages, published, runs, several

    device = devices[0]
    night = scratch / "night"
    sizes = layers.SIZES[:1] if tiny else layers.SIZES
    if not device.startswith("cpu"):  # its time is dear: all in some three minutes, the two parts of interest first
        few = 4 if tiny else 60
        return {
            "idle": partial(gpu.idle, device, sizes=sizes, count=few, turns=1 if tiny else 2),
            "workers": partial(runs.workers, device, count=few, turns=1, jobs=jobs),
            "published": partial(published.section, device, batches=2 if tiny else 50, turns=1),
            **(
                {
                    "several": partial(
                        several.section,
                        devices,
                        count=20 * few,
                        each=10 if tiny else 1000,
                        turns=1 if tiny else 2,
                        jobs=jobs,
                    )
                }
                if len(devices) > 1
                else {}
            ),
        }
    turns, count = (1, 4) if tiny else (5, 300)
    small = ("--profile", "smoke", *(("--cases", "embedding8bit", "--examples", "1") if tiny else ()))
    return {
        "layers": partial(layers.by_size, device, sizes=sizes, turns=turns),
        "mix": partial(layers.mix, device, count=4 if tiny else 400, turns=turns),
        "published": partial(published.section, device, batches=2 if tiny else 100, turns=turns),
        "workers": partial(runs.workers, device, count=4 * count, turns=min(turns, 3), jobs=jobs),
        "faults": partial(faults.section, device, good=4 if tiny else 200),
        "replacement": partial(faults.replacement, device, count=2 if tiny else 20, turns=min(turns, 2)),
        "first": partial(runs.first_result, device, profile="smoke" if tiny else "nightly", turns=min(turns, 2)),
        "night": partial(runs.whole_night, device, night, arguments=small),
        "pages": partial(
            pages.section, night, cases=200 if tiny else 10_000, nights=2 if tiny else 10, turns=min(turns, 3)
        ),
    }


def head(device: str, taken: float) -> str:
    """When, where and with what."""
    import torch

    from accuracy.environment import device_name, of_processor, processor
    from accuracy.executor import cores

    where = parse(device)
    family, model = of_processor("cpu family"), of_processor("model")  # one name may hide several
    generation = f" (family {family}, model {model})" if family else ""
    names = [f"{processor()}{generation}", *([] if where.adapter.on_host else [device_name(where.torch_name)])]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    capability = torch.backends.cpu.get_cpu_capability()
    now = datetime.datetime.now(datetime.UTC)
    return (
        f"{now:%Y-%m-%d %H:%M} UTC, {taken:.0f} s; {', '.join(names)}, {cores()} cores, {capability}, "
        f"load {os.getloadavg()[0]:.1f} at the end; Python {sys.version.split()[0]}, {versions}."
    )


def single_threaded() -> None:
    """Starts this process again as a worker is started: libraries read these variables when they are loaded."""
    if not SINGLE_THREAD.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, "-m", "bench", *sys.argv[1:]], {**os.environ, **SINGLE_THREAD})  # noqa: S606  our own interpreter


if __name__ == "__main__":
    single_threaded()
    sys.exit(main())
