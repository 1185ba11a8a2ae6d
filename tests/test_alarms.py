"""Nights side by side: a cell that fails now and then, or a failing row that no finding accounts for, is said."""

from pathlib import Path

import pandas as pd
import pytest

from bench import alarms

CELL = {"case": "linear8bitlt-eval", "device": "cpu", "dtype": "float32", "stage": "compute", "quantity": "output"}
KNOWN = "ratio is 18, at most 1 is allowed"
"""What F10 looks like in a run on the CPU."""

CONFIG = '{"dtype": "float32", "bias": false}'
SIZES = {"abs_max": 1e-4, "kappa": 304.0, "rel_fro": 1e-4, "structure_effect": 0.0}


def night(name: str, verdicts: dict[str, str], *, reason: str = KNOWN) -> alarms.Night:
    """A run with a cell a quantity, and a failing row in each that fails."""
    cells = [CELL | {"quantity": quantity, "verdict": verdict} for quantity, verdict in verdicts.items()]
    rows = [
        cell | {"status": "fail", "id": "0f", "reason": reason, "config": CONFIG, **SIZES}
        for cell in cells
        if cell["verdict"] == "fail"
    ]
    columns = [*CELL, "status", "id", "reason", "config", *SIZES]
    return alarms.night(name, pd.DataFrame(rows, columns=columns), pd.DataFrame(cells))


def test_the_same_finding_in_every_night_is_no_alarm() -> None:
    """Two nights, one cell of F10 in both."""
    nights = [night(name, {"output": "fail", "grad_input": "pass"}) for name in ("a", "b")]

    assert alarms.flickering(nights) == {}
    assert alarms.lines(nights) == [
        "a: 1 of 2 cells fail, 0 warn",
        "b: 1 of 2 cells fail, 0 warn",
        "2 runs, 1 failing cells in common",
    ]


def test_what_one_night_says_alone_is_named() -> None:
    """A gap counts as much as a failure; a warning does not."""
    nights = [
        night("a", {"output": "fail", "grad_input": "warn", "grad_bias": "pass"}),
        night("b", {"output": "pass", "grad_input": "pass", "grad_bias": "not_run"}),
    ]
    cell = tuple(CELL.values())

    assert alarms.flickering(nights) == {(*cell[:-1], "grad_bias"): ["b"], cell: ["a"]}
    assert "in 1 of 2 only: linear8bitlt-eval cpu float32 compute output (a)" in alarms.lines(nights)


def test_a_failure_that_fits_no_finding_is_news() -> None:
    """F10 is an output a little too large: it is no exception."""
    (row,) = night("a", {"output": "fail"}, reason="RuntimeError: never seen").news

    assert row == (*CELL.values(), "0f", "RuntimeError: never seen")


def test_what_is_no_finished_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And exit code 2, as for the product's own commands."""
    with pytest.raises(SystemExit) as ended:
        alarms.main([str(tmp_path / "nothing")])
    assert ended.value.code == 2
    assert "nothing is no folder; the folder of a run is wanted" in capsys.readouterr().err
