"""One case done in four ways: as a worker does it, and with less and less of what a worker adds."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from accuracy import limits, measure, packing, wire
from accuracy.case import Task
from accuracy.cases import CASES
from accuracy.comparison import Comparison
from accuracy.devices import parse
from accuracy.measure import Ran
from accuracy.worker import resolve


@dataclass(frozen=True, kw_only=True)
class Work:
    """A task on a device, as a worker is told of it; `checks` are those of its case."""

    task: Task
    device: str
    told: Mapping[str, Any]
    checks: tuple[str, ...]

    @property
    def compute(self) -> tuple[str, ...]:
        """The check of the compute stage; all where no stage is called so."""
        return tuple(name for name in self.checks if ":compute" in name) or self.checks


def of(task: Task, device: str) -> Work:
    """The work of a task, with the built-in limits."""
    where = parse(device)
    told = {
        "id": task.id,
        "case": task.case,
        "config": json.loads(task.text),
        "text": task.text,
        "seed": task.seed,
        "origin": task.origin,
        "device": device,
        "torch_device": where.torch_name,
        "arithmetic": vars(where.adapter.arithmetic),
        "bounds": limits.load().measuring,
    }
    return Work(task=task, device=device, told=told, checks=CASES[task.case].checks_at(task.origin))


def whole(work: Work) -> bytes:
    """All that a worker does: draw, run, compare stage by stage, and write the answer that goes over the wire."""
    rows = packing.pack(measure.measure(work.told, work.device))
    return wire.encode({"done": work.told["id"], "seconds": 0.0}, rows)


def answered(work: Work) -> int:
    """How many rows the answer of a worker has."""
    _, packed = wire.decode(whole(work).removesuffix(b"\n"))
    return packing.unpack(packed, task_id=work.task.id, device=work.device).number


def referenced(work: Work) -> int:
    """Draw, run, every float64 reference of every stage, and one largest error each; how many there are."""
    return sum(_largest(each) >= 0 for each in _comparisons(measure.run(work.told), work.checks))


def layer(work: Work) -> int:
    """Draw and run, nothing else; how many parts the layer gave."""
    return len(measure.run(work.told).setting.parts)


def bare(work: Work) -> int:
    """Draw, run, the float64 reference of the compute stage with its bound, and one largest error each."""
    return sum(_largest(each) >= 0 for each in _comparisons(measure.run(work.told), work.compute))


def runs(work: Work) -> bool:
    """Whether the layer gives all its parts there and every check its comparisons: else there is no floor."""
    try:
        return measure.run(work.told).failure is None and referenced(work) > 0
    except Exception:  # noqa: BLE001  a check that raises is a row of the harness, and nothing to compare with here
        return False


def compared(work: Work, batches: int = 1) -> tuple[int, int]:
    """Elements that are compared, and tensors: one that holds `batches` of them along its first dimension counts so."""
    actual = [each.actual for each in _comparisons(measure.run(work.told), work.checks)]
    tensors = sum(each.shape[0] if each.dim() > 2 and each.shape[0] == batches else 1 for each in actual)  # noqa: PLR2004  batches of matrices
    return sum(each.numel() for each in actual), tensors


def _comparisons(ran: Ran, checks: Iterable[str]) -> Iterator[Comparison]:
    for reference in checks:
        yield from resolve(reference)(ran.setting)


def _largest(comparison: Comparison) -> float:
    """The largest error, from the models of lower precisions too where the device is known to have them."""
    models = [comparison.model, *(model for _, model in (comparison.lower() if comparison.lower else ()))]
    actual = comparison.actual.double()
    errors = [
        (actual - model.expected).abs().amax().nan_to_num(0.0).item()
        for model in models
        if actual.numel() and actual.shape == model.expected.shape
    ]
    return max(errors, default=0.0)
