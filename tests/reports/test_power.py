"""The kill matrix on the page: as it was kept, or the sentence that there is none."""

from reports import power

KEPT = {
    "created": "2026-11-22T01:02:03+00:00",
    "versions": {"torch": "2.13.0", "bitsandbytes": "0.50.2"},
    "summary": ["planted faults: 66 of 67 found"],
    "columns": ["fault", "found"],
    "rows": [["scale", "yes"], ["nibbles", "no"]],
}


def test_the_matrix_is_shown_with_day_and_versions() -> None:
    shown = power.build({"selftest": KEPT})

    assert shown.sentences == (
        "Selftest of 2026-11-22 with bitsandbytes 0.50.2, torch 2.13.0.",
        "planted faults: 66 of 67 found",
    )
    assert shown.columns == ("fault", "found")
    assert shown.rows == (("scale", "yes"), ("nibbles", "no"))


def test_a_run_without_a_matrix_says_so() -> None:
    shown = power.build({"selftest": None})

    assert shown.sentences == (power.NEVER,)
    assert not shown.rows
