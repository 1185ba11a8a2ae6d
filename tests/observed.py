"""Observations made by hand: rows that pass, with what a test changes in them."""

from dataclasses import asdict
from typing import Any

import pandas as pd

from accuracy import tables
from accuracy.case import Observation, canonical_json
from accuracy.rows import NAMES

ROW: dict[str, Any] = asdict(
    Observation(
        id="0000000000000001",
        case="linear4bit-nf4-train",
        config=canonical_json({"in_features": 64}),
        seed="7",
        origin="sample",
        device="cpu",
        device_name="a processor",
        dtype="float32",
        mode="train",
        stage="compute",
        quantity="output",
        count=100,
        ratio=0.5,
        identity_error=0.0,
        basis="accumulation",
        seconds=0.01,
    )
)


def frame(*changes: dict[str, Any]) -> pd.DataFrame:
    """One passing row for each of `changes`, with its fields changed so, as a run holds them."""
    rows = [ROW | change for change in changes]
    return tables.observations([{name: [row[name] for row in rows] for name in NAMES}])
