"""The two sides of a comparison: stored runs, or libraries on each of which the same plan is run."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from accuracy import compare, store
from accuracy.limits import Change

MEASURED: Final = (0, 1, 3)
"""Exit codes of a nightly that has stored a run."""


class ArmsError(ValueError):
    """Two sides that cannot be compared; the message says what was seen, what was wanted and what to do."""


def measure(library: str, folder: Path, options: Sequence[str]) -> int:
    """Runs a nightly of its own on `library` into `folder`; its exit code. What it says goes where ours does."""
    command = [sys.executable, "-m", "accuracy", "nightly", "--bitsandbytes", library, "--out", str(folder), *options]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode


def compared(baseline: store.Run, candidate: store.Run, by: Change, *, unpaired: bool) -> list[compare.CellChange]:
    """One entry a cell; see `accuracy.compare`.

    Raises:
        ArmsError: if the runs have different plans and pairs are wanted, or no device in common.
    """
    plans = [dict(_plan(run.manifest)) for run in (baseline, candidate)]
    differing = [name for name in plans[0] if plans[0][name] != plans[1][name]]
    if differing and not unpaired:
        what = "; ".join(f"{name} {plans[0][name]} and {plans[1][name]}" for name in differing)
        raise ArmsError(f"the runs have different plans ({what}); run both with one seed, or compare with --unpaired")
    devices = [set(run.manifest["devices"]["found"]) for run in (baseline, candidate)]
    if not devices[0] & devices[1]:
        names = [", ".join(sorted(there)) or "none" for there in devices]
        raise ArmsError(f"no device in common: {names[0]} and {names[1]}; run both on the same")
    rule = compare.unpaired if unpaired else compare.compare
    return rule(baseline.observations, candidate.observations, by)


def document(
    baseline: Mapping[str, Any], candidate: Mapping[str, Any], changes: Sequence[compare.CellChange]
) -> dict[str, Any]:
    """The content of `comparison.json`, from two manifests and what was found."""
    cells = compare.frame(changes)
    numbers = cells.select_dtypes("float")
    cells[numbers.columns] = numbers.astype(object).where(numbers.notna(), None)
    return {
        "schema": 1,
        "baseline": _names(baseline),
        "candidate": _names(candidate),
        "exit_code": int(compare.got_worse(changes)),
        "counts": compare.counts(changes),
        "cells": cells.to_dict("records"),
    }


def _plan(manifest: Mapping[str, Any]) -> list[tuple[str, object]]:
    versions = manifest["versions"]
    return [
        ("plan", manifest["plan_hash"]),
        ("profile", manifest["profile"]),
        ("seed", manifest["seed"]),
        ("Hypothesis", versions.get("hypothesis", "")),
    ]


def _names(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: manifest.get(name) for name in ("created", "versions", "library", "plan_hash", "limits_hash")}
