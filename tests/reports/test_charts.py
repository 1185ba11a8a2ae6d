"""Geometry of the charts, from histograms whose quantiles are known."""

import re

import numpy as np
import pytest

from accuracy.histogram import Counts, merge
from reports import charts, distributions
from reports.charts import Binned


def counts(*values: tuple[float, int]) -> Counts:
    bins = [int(np.float32(value).view(np.uint32)) >> 18 for value, _ in values]
    return merge([(bins, [number for _, number in values])])


HALVES = counts((0.125, 50), (0.5, 49), (4.0, 1))


def test_a_strip_places_quantiles_on_the_shared_axis() -> None:
    """Median at 1/8, maximum at 4: left and right of the limit by three and two binades."""
    axis = distributions.strip_axis([HALVES])
    strip = distributions.strip(HALVES, axis)

    assert strip.p50 == f"{axis.place(0.125 * (1 + 1 / 64)):.1f}".removesuffix(".0")
    assert float(strip.p50) < axis.place(1.0) < float(strip.largest)
    assert strip.beyond
    assert strip.description == "100 elements, error ÷ limit: p50 0.127, p99 0.508, max 4.06"


def test_an_exact_distribution_is_said_in_words() -> None:
    axis = distributions.strip_axis([HALVES])
    assert distributions.strip(counts((0.0, 1200)), axis).note == "all 1,200 elements exact"
    assert distributions.strip(merge([]), axis).note == "no elements compared"


def test_not_a_number_lies_beyond_the_limit() -> None:
    """A storm of NaN must not look like a distribution that ends at the limit."""
    storm = merge([([8176], [10])])
    axis = distributions.strip_axis([storm])
    strip = distributions.strip(storm, axis)
    assert strip.beyond
    assert float(strip.largest) > axis.place(1.0)


def test_the_baseline_is_drawn_below_on_the_same_axis() -> None:
    """Half of every error: one binade to the left in the strip, and a second line in both charts."""
    halved = counts((0.0625, 50), (0.25, 49), (2.0, 1))
    axis = distributions.strip_axis([HALVES, halved])
    binade = axis.place(0.5) - axis.place(0.25)
    strip = distributions.strip(HALVES, axis, halved)
    ecdf, tail = distributions.distribution(HALVES, "Output", halved)

    assert strip.was
    for now, then in ((strip.p1, strip.was.p1), (strip.p50, strip.was.p50), (strip.largest, strip.was.largest)):
        assert float(now) - float(then) == pytest.approx(binade, abs=0.11)  # places have tenths
    assert strip.description.endswith("; baseline: p50 0.0635, p99 0.254, max 2.03")
    for chart in (ecdf, tail):
        assert [line.kind for line in chart.lines] == ["candidate", "baseline"]
        assert chart.y.label.endswith("; dashed: baseline")
        assert "1 % of 100 elements lie beyond the limit, 1 % of 100 elements in the baseline" in chart.description


def test_a_baseline_without_errors_is_said_and_not_drawn() -> None:
    axis = distributions.strip_axis([HALVES])
    strip = distributions.strip(HALVES, axis, counts((0.0, 100)))

    assert strip.was is None
    assert strip.description.endswith("; baseline: p50 0, p99 0, max 0")


def test_the_tail_says_how_many_lie_beyond_the_limit() -> None:
    _, tail = distributions.distribution(HALVES, "Output")
    assert "1 % of 100 elements lie beyond the limit" in tail.description


def test_the_ecdf_rises_and_the_tail_falls() -> None:
    """In SVG y grows downwards: the ECDF's y falls along x, the tail's rises."""
    ecdf, tail = distributions.distribution(HALVES, "Output")
    rising, falling = (
        [float(point.split(" ")[1]) for point in re.split("[ML]", chart.lines[0].path)[1:]] for chart in (ecdf, tail)
    )
    assert rising == sorted(rising, reverse=True)
    assert falling == sorted(falling)


def test_error_against_an_input_marks_the_bins_that_fail() -> None:
    bins = [
        Binned(label="32", n=10, median=0.5, p99=0.8, largest=0.9, failing=0),
        Binned(label="64", n=10, median=0.5, p99=2.0, largest=8.0, failing=3),
    ]
    chart = charts.against_input(bins, "Output", "blocksize")

    (largest,) = (line for line in chart.lines if line.kind.startswith("largest"))
    passing, failing = (float(point.split()[1]) for point in largest.path.removeprefix("M").split("L"))
    assert [(mark.kind, mark.text) for mark in chart.marks] == [("fail", "64: 3 of 10 fail, max 8")]
    assert float(chart.marks[0].y) == pytest.approx(failing, abs=0.5)
    assert failing < float(chart.limit_y) < passing
    assert [tick.label for tick in chart.x.ticks] == ["32", "64"]
