"""Runs made up for the tests of the report: realistic in shape, with faults planted where a test wants them."""

import datetime
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from accuracy import baseline, change, judge, limits, storing, tables, verdicts
from accuracy.case import CELL, Observation, short_hash
from accuracy.change import CellChange, Outcome
from accuracy.histogram import SHIFT, merge
from accuracy.summary import summarize
from accuracy.waivers import Waiver

Config = dict[str, Any]
Row = dict[str, Any]

CASES = {
    "linear4bit-nf4-train": "Linear4bit",
    "linear4bit-nf4-eval": "Linear4bit",
    "linear4bit-fp4-train": "Linear4bit",
    "linear4bit-fp4-eval": "Linear4bit",
    "linear8bitlt-train": "Linear8bitLt",
    "linear8bitlt-eval": "Linear8bitLt",
    "linear8bitlt-fp16-weights-train": "Linear8bitLt",
    "embedding8bit": "Embedding8bit",
    "embedding4bit-nf4": "Embedding4bit",
    "embedding4bit-fp4": "Embedding4bit",
}

EXACT = ("contract", "encode", "decode")
ROUNDING = {"float32": 1.4e-7, "float16": 2.1e-4, "bfloat16": 1.65e-3}
SIZES = (1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 512, 1024, 1025, 2048)


PATH = "gemm_4bit:default > dequantize_4bit:cpu > cdequantize_blockwise_cpu_nf4_fp32"
STEPS = [
    {"path": path, "layers": ["Linear4bit"], "built": True, "unreached": unreached}
    for path, unreached in (
        ("layer > gemm_4bit:default", {}),
        ("gemm_4bit:default > dequantize_4bit:cpu", {}),
        ("dequantize_4bit:cpu > cdequantize_blockwise_cpu_nf4_fp32", {}),
        ("dequantize_4bit:cpu > cdequantize_blockwise_cpu_nf4_bf16", {}),
        ("dequantize_4bit:cpu > torch", {"Linear4bit": "every row has an even length"}),
    )
]
"""What a device can take."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong: rows of `stage`/`quantity` where `holds` get their error multiplied, or `reason`."""

    stage: str
    quantity: str
    holds: Callable[[Config, str], bool]
    factor: float = 1.0
    slope: float = 0.0
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What `render` takes."""

    manifest: Mapping[str, Any]
    observations: pd.DataFrame
    verdicts: pd.DataFrame
    summary: Mapping[str, Any]
    plan: pd.DataFrame = field(default_factory=pd.DataFrame)


def make(
    *,
    seed: int = 0,
    per_case: int = 30,
    cases: Mapping[str, str] = CASES,
    devices: Sequence[str] = ("cpu", "cpu:avx2"),
    missing: Mapping[str, str] | None = None,
    faults: Sequence[Fault] = (),
    elements: int = 400,
    waivers: Sequence[Waiver] = (),
) -> Run:
    """A run of `per_case` configs of every case, each on every device."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for case in cases:
        for _ in range(per_case):
            config = _config(case, rng)
            data_seed = str(int(rng.integers(1, 2**62)))
            identity = short_hash({"case": case, "config": config, "seed": data_seed})
            for device in devices:
                base = {
                    "id": identity,
                    "case": case,
                    "config": json.dumps(config, sort_keys=True, separators=(",", ":")),
                    "seed": data_seed,
                    "origin": "sample",
                    "device": device,
                    "device_name": "AMD EPYC 9R14",
                    "dtype": config["dtype"],
                    "mode": config["mode"],
                }
                rows += _measured(base, config, faults, rng, elements)
        for device, reason in (missing or {}).items():
            rows += [_absent(row, device, reason) for row in rows if row["case"] == case and _first(row, devices)]
    observations = pd.DataFrame(rows, columns=list(Observation.__dataclass_fields__))
    return assemble(observations, cases=cases, devices=devices, missing=missing or {}, waivers=waivers)


def assemble(
    observations: pd.DataFrame,
    *,
    cases: Mapping[str, str] = CASES,
    devices: Sequence[str],
    missing: Mapping[str, str],
    waivers: Sequence[Waiver] = (),
) -> Run:
    """Manifest, verdicts and summary to observations; judged as a real run is."""
    judged = judge.judge_rows(observations, limits.load())
    cells = verdicts.waive(verdicts.cells(judged, {}), waivers, datetime.date(2026, 11, 22))
    manifest = {
        "schema": 1,
        "created": "2026-11-22T02:00:11+00:00",
        "profile": "nightly",
        "seed": 20261122,
        "accuracy": "0.1.0",
        "devices": {
            "requested": [*devices, *missing],
            "found": dict.fromkeys(devices, "AMD EPYC 9R14, 2 cores"),
            "missing": dict(missing),
        },
        "versions": {"python": "3.11.7", "torch": "2.13.0+cpu", "bitsandbytes": "0.50.2", "numpy": "2.4.6"},
        "unusable": {},
        "incidents": [],
        "bases": {"exact": "defined bit by bit", "accumulation": "any order of summation"},
        "limits_hash": "8b1f0a77c2d94e10",
        "plan_hash": "0f0e0d0c0b0a0908",
        "plan_size": int(observations["id"].nunique()),
        "environment": {
            device: {
                "device_name": "AMD EPYC 9R14",
                "capability": "AVX512",
                "threads": 1,
                "tf32": False,
                "blas": "mkl",
            }
            for device in devices
        },
        "duration_s": 252.4,
        "cases": {
            case: {"layer": layer, "claim": f"{layer} stays within its bounds.", "strata": []}
            for case, layer in cases.items()
        },
        "baseline": None,
        "selftest": None,
    }
    return Run(
        manifest=manifest,
        observations=judged[list(observations.columns)],
        verdicts=verdicts.frame(cells),
        summary=summarize(judged, cells),
    )


def repeated(run: Run, times: int, *, devices: Sequence[str] = ("cpu", "cpu:avx2")) -> Run:
    """The run with every case that many times, under new ids: large, and quick to make."""
    copies = [run.observations] + [
        run.observations.assign(id=[short_hash([identity, copy]) for identity in run.observations["id"]])
        for copy in range(1, times)
    ]
    return assemble(pd.concat(copies, ignore_index=True), devices=devices, missing={})


def identical(run: Run) -> pd.DataFrame:
    """The comparison of a run with itself: nothing has changed, and the baseline's distributions are its own."""
    shared: dict[str, Any] = {"outcome": Outcome.IDENTICAL, "metric": "", "effect": math.nan, "p": math.nan}
    shared |= {"n": 1, "identical": 1, "worse": 0, "better": 0, "broken": 0, "worst_id": "", "reason": ""}
    cells = run.verdicts[list(CELL)].to_dict("records")
    changes = [CellChange(**{str(name): value for name, value in cell.items()} | shared) for cell in cells]
    return change.frame(baseline.drawn(changes, run.observations, (run.manifest, run.manifest)))


def noted(run: Run) -> Run:
    """The run with what served: every case took the three steps of `PATH`, of `STEPS` that each device can take."""
    manifest = {**run.manifest, "paths": dict.fromkeys(run.manifest["devices"]["found"], STEPS)}
    return replace(run, manifest=manifest, observations=run.observations.assign(path=PATH))


def _first(row: Row, devices: Sequence[str]) -> bool:
    return bool(row["device"] == devices[0] and row["quantity"] == "completes")


def _absent(row: Row, device: str, reason: str) -> Row:
    unmeasured = {"ratio": math.nan, "count": 0, "ratio_bins": [], "ratio_counts": []}
    return row | {"device": device, "status": "not_run", "reason": reason, "observed": reason} | unmeasured


def _config(case: str, rng: np.random.Generator) -> Config:
    def one(*options: Any) -> Any:
        return options[int(rng.integers(len(options)))]

    dtype = one("float32", "float16", "bfloat16")
    weight = one("normal", "uniform", "heavy_tailed", "outlier_columns", "zero_blocks", "tiny_scale")
    if case.startswith("embedding"):
        config: Config = {
            "dtype": dtype,
            "rows": one(*SIZES),
            "dim": one(64, 128, 192, 256),
            "index": [one(1, 7, 32)],
        }
        config |= {"weight": weight, "mode": "eval"}
        if "4bit" in case:
            config |= {"quant_type": case[-3:], "quant_storage": "uint8"}
        return config
    config = {
        "mode": "train" if case.endswith("train") else "eval",
        "dtype": dtype,
        "batch": [one(*SIZES[:15]) for _ in range(one(0, 1, 1, 2))],
        "in_features": one(*SIZES[3:]),
        "out_features": one(*SIZES[2:]),
        "bias": bool(one(0, 1)),
        "weight": weight,
        "activation": one("normal", "constant", "outlier_columns"),
    }
    if case.startswith("linear8bit"):
        return config | {"threshold": one(0.0, 3.0, 6.0), "has_fp16_weights": "fp16" in case}
    return config | {
        "quant_type": case.split("-")[1],
        "blocksize": one(32, 64, 128, 256, 512, 1024, 2048, 4096),
        "nested": bool(one(0, 1)),
        "quant_storage": one("uint8", "bfloat16"),
        "compute_dtype": one(None, "float32"),
    }


def _quantities(case: str, config: Config) -> list[tuple[str, str]]:
    found = [
        ("contract", "completes"),
        ("contract", "output_form"),
        ("encode", "codes"),
        ("encode", "scales"),
    ]
    found += [("decode", "weight"), ("compute", "output")]
    if config["mode"] == "train":
        found.append(("compute", "grad_input"))
        found += [("compute", "grad_bias")] if config["bias"] else []
        found += [("compute", "grad_weight")] if "fp16-weights" in case else []
    return [*found, ("quantization", "weight"), ("quantization", "output")]


def _measured(base: Row, config: Config, faults: Sequence[Fault], rng: np.random.Generator, elements: int) -> list[Row]:
    case, device = base["case"], base["device"]
    rows: list[Row] = []
    for stage, quantity in _quantities(case, config):
        mine = [f for f in faults if (f.stage, f.quantity) == (stage, quantity) and f.holds(config, device)]
        exact = stage in EXACT or (case.startswith("embedding") and stage == "compute")
        rounding = ROUNDING[config["dtype"]]
        ratios = np.zeros(elements) if exact else np.minimum(0.97, np.abs(rng.normal(0, 0.22, elements)))
        limit = 0.0 if exact else 8 * rounding
        slope = 0.0
        status, reason = "ok", ""
        for fault in mine:
            if exact and fault.factor > 1:
                ratios = np.where(rng.random(elements) < 0.1, np.inf, 0.0)
            else:
                ratios = ratios * fault.factor
            slope, status, reason = fault.slope, fault.status, fault.reason or reason
        absolute = np.where(np.isinf(ratios), 0.5, ratios * (limit or 1))
        quantization = 0.092 * float(rng.normal(1, 0.02)) if stage == "quantization" else math.nan
        observation = Observation(
            **base,
            stage=stage,
            quantity=quantity,
            count=elements,
            abs_mean=float(np.mean(absolute)),
            abs_p50=float(np.median(absolute)),
            abs_p99=float(np.quantile(absolute, 0.99)),
            abs_max=float(np.max(absolute)),
            rel_fro=slope or (quantization if stage == "quantization" else float(rounding * np.mean(absolute > 0))),
            slope=slope,
            slope_z=slope * 1e4,
            ratio=math.nan if status in ("crash", "timeout") else float(np.max(ratios)),
            limit=limit,
            basis="exact" if exact else "half-gap" if stage == "quantization" else "accumulation",
            total_fro=math.hypot(quantization, rounding),
            compute_fro=rounding if stage == "quantization" else math.nan,
            quantization_fro=quantization,
            identity_error=1e-16 if stage == "quantization" else math.nan,
            status=status,
            observed=reason,
            reason=reason,
            seconds=0.01,
            worst=json.dumps([{"index": [0, 3], "actual": 1.25, "expected": 1.2}]),
            digest="" if stage == "contract" else short_hash([base["id"], stage, quantity, device if mine else ""]),
            sample_values=(1.0, 1.0 + float(np.max(absolute)) if mine else 1.0),
            sample_bounds=(limit, limit),
        )
        broken = status in ("crash", "timeout", "not_run", "not_supported")
        bins, counts = ([], []) if broken else _histogram(ratios)
        abs_bins, abs_counts = ([], []) if broken else _histogram(absolute)
        rows.append(
            asdict(observation)
            | {"ratio_bins": bins, "ratio_counts": counts, "abs_bins": abs_bins, "abs_counts": abs_counts}
        )
    return rows


def _histogram(values: np.ndarray[Any, Any]) -> tuple[list[int], list[int]]:
    index = np.abs(values).astype(np.float32).view(np.uint32).astype(np.int64) >> SHIFT
    bins, counts = merge([(index, np.ones_like(index))])
    return bins.tolist(), counts.tolist()


def all_pass(**options: Any) -> Run:
    """Nothing is wrong."""
    return make(**options)


FAULTS = (
    Fault(
        stage="compute",
        quantity="grad_input",
        holds=lambda config, device: config["out_features"] > 512 and device == "cpu:avx2" and "nested" in config,
        factor=12.0,
        slope=0.02,
    ),
    Fault(
        stage="encode",
        quantity="codes",
        holds=lambda config, _: config.get("quant_type") == "fp4" and config.get("blocksize") == 64,
        factor=2.0,
    ),
    Fault(
        stage="quantization",
        quantity="weight",
        holds=lambda config, _: config.get("quant_type") == "fp4" and config.get("blocksize") == 64,
        factor=3.0,
    ),
    Fault(
        stage="contract",
        quantity="completes",
        holds=lambda config, _: config.get("has_fp16_weights") is True and config["in_features"] == 31,
        status="crash",
        reason="worker died of SIGSEGV in cgemm_4bit_inference_naive",
    ),
)
"""A scale fault of the input gradient, wrong codes that make a wrong weight, a crash in one shape."""


def failing(**options: Any) -> Run:
    """A run with `FAULTS`."""
    return make(faults=FAULTS, **options)


def missing_device(**options: Any) -> Run:
    """A device was asked for and is not there."""
    return make(devices=("cpu",), missing={"cuda": "torch.cuda.is_available() is False"}, **options)


def zero_cases() -> Run:
    """A run that measured nothing."""
    return make(per_case=0)


def nan_storm(**options: Any) -> Run:
    """Every output is NaN."""
    return make(faults=[Fault(stage="compute", quantity="output", holds=lambda *_: True, factor=math.nan)], **options)


def stored_nights(root: Path, number: int, *, shift_on: int) -> None:
    """Run folders of consecutive nights; from `shift_on` on, under a new library, ratios are half as large again."""
    rng = np.random.default_rng(0)
    made = make(per_case=2, cases={"linear8bitlt-eval": "Linear8bitLt"}, devices=("cpu",), faults=FAULTS)
    typed = tables.observations([{str(name): column.tolist() for name, column in made.observations.items()}])
    first = datetime.datetime(2026, 3, 1, 2, tzinfo=datetime.UTC)
    for day in range(number):
        new = day >= shift_on
        factor = float(np.exp(rng.normal(0, 0.05))) * (1.5 if new else 1)
        versions = {**made.manifest["versions"], "bitsandbytes": "0.50.2" if new else "0.50.1"}
        created = (first + datetime.timedelta(days=day)).isoformat(timespec="seconds")
        manifest = {**made.manifest, "created": created, "versions": versions, "bounds": {}}
        moved = made.verdicts.assign(p99=made.verdicts["p99"] * factor, largest=made.verdicts["largest"] * factor)
        folder = root / f"night-{day:03}"
        storing.prepare(folder)
        storing.write(folder, manifest, tables.plan([]), typed, moved, made.summary)
