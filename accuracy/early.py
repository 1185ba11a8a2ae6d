"""A fork server that imports the library while the command still finds out what there is to do.

To import torch and the library takes longer than everything else before the first result. Of a device on the host all
is known that its server needs, and whether it is there is asked meanwhile.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from accuracy.attempt import MEASURE, MODULES
from accuracy.crew import setup_of
from accuracy.devices import parse
from accuracy.launch import Server, start_server


@contextmanager
def server(
    devices: Sequence[str], *, interpreter: str, overlay: Sequence[Path], bounds: Mapping[str, float]
) -> Iterator[Server | None]:
    """The server for the first of `devices` that is on the host, by default the CPU, until the block ends.

    Nothing where there is no such device or the interpreter cannot be started: then a run finds out by itself. One
    that nobody took is killed at the end.
    """
    device = next((found for found in map(parse, devices or ("cpu",)) if found.adapter.on_host), None)
    started = None
    if device is not None:
        preload = [*MODULES, MEASURE.partition(":")[0]]
        setup = setup_of(device, preload=preload, modules=MODULES, measure=MEASURE, check="", bounds=bounds)
        try:
            started = start_server(device.name, interpreter=interpreter, overlay=overlay, setup=setup)
        except OSError:
            started = None
    try:
        yield started
    finally:
        if started is not None and not started.serves:
            started.process.kill()
            started.close()
