"""A tally adds up over blocks to what its formulas say, whatever the number of blocks, and finds the worst."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accuracy import histogram, tally
from accuracy.oracles.rounding import ulp
from accuracy.tally import Array, Tally

SIZES = (1, 5, 63, 513, 600, 3000)


def drawn(seed: int, size: int) -> tuple[Array, Array, Array, Array]:
    """Values seen, a third of them as expected, expected values, and bounds and scales that hold some zeros."""
    dice = np.random.default_rng(seed)
    expected = dice.normal(size=size) * dice.choice([0.0, 1.0, 300.0], size)
    actual = expected + dice.integers(-4, 5, size) * dice.choice([0.0, 1e-7, 1e-3], size)
    bounds, scales = (np.abs(dice.normal(size=size)) * dice.choice([0.0, 1.0, 1.0], size) for _ in range(2))
    return actual, expected, np.round(bounds, 1), scales


def by_definition(errors: Array, expected: Array, bounds: Array, scales: Array, dtype: torch.dtype) -> Tally:
    """Each field as its formula reads, without blocks."""
    size = np.abs(errors)
    with np.errstate(all="ignore"):
        relatives, ratios, kappas = (
            np.where(size == 0, 0.0, size / divisor)
            for divisor in (np.maximum(np.abs(expected), scales), bounds, scales)
        )
    spacing = ulp(expected, dtype)
    order = sorted(range(errors.size), key=lambda place: (-ratios[place], place))
    return Tally(
        magnitude=math.fsum(size),
        total=math.fsum(errors),
        energy=math.fsum(errors**2),
        cross=math.fsum(errors * expected),
        signal=math.fsum(expected**2),
        spread=math.fsum((errors * expected) ** 2),
        largest=float(size.max()),
        relative=float(relatives.max()),
        ratio=float(ratios.max()),
        kappa=float(kappas.max()),
        ulps=float((size / spacing).max()),
        errors=histogram.count(size),
        quantiles=tuple(
            share for each in (size, relatives) for share in histogram.quantiles(histogram.count(each), tally.SHARES)
        ),
        ratios=histogram.count(ratios),
        worst=tuple((float(ratios[place]), place) for place in order[: tally.KEPT] if ratios[place] > 0),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("block", [tally.BLOCK, 64, 7])
def test_a_tally_is_what_its_formulas_say(
    monkeypatch: pytest.MonkeyPatch, block: int, size: int, dtype: torch.dtype
) -> None:
    """Maxima, histograms and worst elements to the bit, sums to the last few."""
    monkeypatch.setattr(tally, "BLOCK", block)
    for seed in range(5):
        values = drawn(seed, size)
        actual, expected, bounds, scales = values
        told = tally.of(actual, expected, bounds, scales, below=math.inf, dtype=dtype)
        assert told
        seen, wanted = told._asdict(), by_definition(actual - expected, expected, bounds, scales, dtype)._asdict()
        for name in wanted:
            if name in ("errors", "ratios"):
                assert [part.tolist() for part in seen[name]] == [part.tolist() for part in wanted[name]]
            elif name in ("magnitude", "total", "energy", "cross", "signal", "spread"):
                lost = 1e-13 * max(1.0, wanted["signal"], wanted["magnitude"])
                assert seen[name] == pytest.approx(wanted[name], rel=1e-12, abs=lost)
            else:
                assert seen[name] == wanted[name], name


@given(ratios=st.lists(st.sampled_from((0.0, 0.5, 1.0, 1.5, math.inf, math.nan)), min_size=1, max_size=700))
def test_the_worst_are_found_among_equal_ones_and_nan(ratios: list[float]) -> None:
    """Infinities and NaN first, which a bound of NaN makes, then the largest; of equal ones the first."""
    bounds = np.array([math.inf if ratio == 0 else 1 / ratio for ratio in ratios])
    ones = np.ones(len(ratios))
    told = tally.of(2 * ones, ones, bounds, ones, below=math.inf, dtype=torch.float32)
    assert told

    rank = {1.5: 2, 1.0: 3, 0.5: 4}
    order = sorted((rank.get(ratio, 1), place) for place, ratio in enumerate(ratios) if ratio != 0)
    assert [place for _, place in told.worst] == [place for _, place in order[: tally.KEPT]]
    assert math.isnan(told.ratio) == any(map(math.isnan, ratios))


def test_no_error_at_all_is_told_without_counting() -> None:
    """The shortcut gives what counting zeros would."""
    expected = np.array([1.0, -2.0, 0.0])
    told = tally.of(expected, expected, np.zeros(3), np.zeros(3), below=math.inf, dtype=torch.float32)
    assert told

    assert told.errors[0].tolist() == told.ratios[0].tolist() == [0]
    assert told.errors[1].tolist() == told.ratios[1].tolist() == [3]
    assert told.signal == 5
    assert (told.worst, told.ratio, told.largest) == ((), 0, 0)


@pytest.mark.parametrize(
    ("actual", "expected", "below", "ordinary"),
    [
        (1.0, 2.0, 3.0, True),
        (1.0, -2.0, 2.0, False),
        (math.inf, 2.0, 3.0, False),
        (math.nan, 2.0, 3.0, False),
        (1.0, math.nan, 3.0, False),
        (math.inf, math.inf, math.inf, False),
        (1.0, 3.0, math.inf, True),
    ],
)
def test_what_is_not_ordinary_is_left_to_others(
    actual: float, expected: float, below: float, *, ordinary: bool
) -> None:
    """In any block: infinities, NaN, and expected values that may overflow."""
    values = np.ones(tally.BLOCK + 1)
    seen, wanted = values.copy(), values.copy()
    seen[-1], wanted[-1] = actual, expected

    assert (tally.of(seen, wanted, values, values, below=below, dtype=torch.float16) is not None) is ordinary
