"""Layers that the pinned library gets right on the CPU, and a way to measure and judge one as a night does."""

import datetime
import json
from dataclasses import asdict, dataclass
from typing import Any

from accuracy import judgement, limits, tables
from accuracy.adapters import cpu
from accuracy.case import (
    Config,
    Embedding4bitConfig,
    Embedding8bitConfig,
    Linear4bitConfig,
    Linear8bitConfig,
    Task,
)
from accuracy.measure import measure
from accuracy.packing import pack, rows_of, unpack
from accuracy.rows import NAMES

LIMITS = limits.load()
SEED = 11
TOLD = {"torch_device": "cpu", "arithmetic": asdict(cpu.ADAPTER.arithmetic), "bounds": LIMITS.measuring}
"""What a worker adds to a task."""

DENSE: dict[str, Any] = {
    "batch": (8,),
    "in_features": 128,
    "out_features": 64,
    "bias": True,
    "weight": "normal",
    "weight_dtype": "float32",
    "activation": "normal",
}
FOUR_BIT: dict[str, Any] = {"blocksize": 64, "nested": False, "quant_storage": "uint8", "compute_dtype": None}
NF4 = Linear4bitConfig(mode="train", dtype="float32", quant_type="nf4", **DENSE, **FOUR_BIT)
INT8 = Linear8bitConfig(mode="train", dtype="float32", threshold=0.0, has_fp16_weights=True, **DENSE)
ROWS8 = Embedding8bitConfig(dtype="float32", rows=300, dim=16, index=(20, 15), weight="normal")
ROWS4 = Embedding4bitConfig(
    dtype="float32", rows=40, dim=64, index=(12,), weight="normal", quant_type="nf4", quant_storage="uint8"
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a night would say of one layer: its rows by stage/quantity, and the verdict."""

    rows: dict[str, dict[str, Any]]
    verdict: str
    reasons: list[dict[str, Any]]

    @property
    def failing(self) -> list[str]:
        """Stage/quantity of every row that failed, in order."""
        return [name for name, row in self.rows.items() if row["status"] == "fail"]

    @property
    def named(self) -> str:
        """The stage that the verdict names first."""
        return str(self.reasons[0]["stage"])


def measured(case: str, config: Config, seed: int = SEED, origin: str = "sample") -> list[dict[str, Any]]:
    """The rows of one task as they come back from a worker, from the message that it is sent."""
    task = Task(case=case, config=config, seed=seed, origin=origin)
    config_of = {"config": json.loads(task.text), "text": task.text}
    message = {"id": task.id, "case": case, **config_of, "seed": seed, "origin": origin}
    return rows_of([unpack(pack(measure(message | TOLD, "cpu")), task_id=task.id, device="cpu")])


def seen(case: str, config: Config, seed: int = SEED, origin: str = "sample") -> Seen:
    """One layer, measured and judged; strata are not asked for."""
    rows = measured(case, config, seed, origin)
    observations = tables.observations([{name: [row[name] for row in rows] for name in NAMES}])
    judged = judgement.judged_run(observations, {case: {"strata": ()}}, LIMITS, (), datetime.date(2026, 11, 22))
    records: list[dict[str, Any]] = judged.observations.to_dict("records")  # type: ignore[assignment]  # names are text
    return Seen(
        rows={f"{row['stage']}/{row['quantity']}": row for row in records},
        verdict=judged.summary["verdict"],
        reasons=judged.summary["reasons"],
    )
