"""Calibrated limits: what the worst of n good runs reached, times a margin, with n and versions beside it."""

import math
from pathlib import Path

import pandas as pd
import pytest

from accuracy import limits
from accuracy.calibrate import Source, as_toml, coverage, maxima

CELL = {"case": "a", "device": "cpu", "dtype": "float32", "stage": "compute", "quantity": "output"}


def source(*ratios: float, status: str = "ok", origin: str = "sample") -> Source:
    rows = [{**CELL, "ratio": ratio, "kappa": 10 * ratio, "status": status, "origin": origin} for ratio in ratios]
    return Source(observations=pd.DataFrame(rows), versions="torch 2", day="2026-11-22")


def test_59_runs_cover_95_percent_with_confidence_95_percent() -> None:
    """Wilks 1941: the smallest n with 1 - 0.95^n >= 0.95 is 59."""
    assert coverage(59, 0.95) >= 0.95
    assert coverage(58, 0.95) < 0.95


def test_the_largest_passing_value_over_all_runs_counts() -> None:
    """Neither one that fails nor one that a search found is a yardstick."""
    others = source(9.0, status="fail"), source(0.8, origin="explored")
    [cell] = maxima([source(0.1, 0.4), source(0.2), *others]).to_dict("records")

    assert (cell["ratio"], cell["kappa"], cell["runs"]) == (0.4, 4.0, 2)


def test_calibrated_limits_are_read_back_with_margin_count_versions_and_day(tmp_path: Path) -> None:
    known = limits.load()
    path = tmp_path / "limits.toml"
    path.write_text(limits.DEFAULT_FILE.read_text() + "\n" + as_toml([source(0.25), source(0.5)], known.calibration))

    added = {limit.id: limit for limit in limits.load(path).limits[len(known.limits) :]}

    fail = added["calibrated ratio fail a/cpu/float32/compute/output"]
    assert fail.at_most == pytest.approx(known.calibration.fail_margin * 0.5)
    assert fail.covers(*CELL.values())
    assert not fail.covers(**{**CELL, "dtype": "float16"})
    assert "n = 2 runs" in fail.basis
    assert "torch 2; 2026-11-22" in fail.basis


@pytest.mark.parametrize("value", [0.0, math.inf, math.nan])
def test_exact_and_unusable_maxima_make_no_limit(value: float) -> None:
    assert as_toml([source(value)], limits.load().calibration) == ""
