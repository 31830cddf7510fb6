"""Intervals from resamples."""

import math

import numpy as np
import pytest

from cxrobust.analysis.intervals import percentile_intervals


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_percentile_intervals_against_numpy_quantiles(level):
    resampled = np.random.default_rng(1).gamma(2, size=(3, 501))
    for row, interval in zip(resampled, percentile_intervals(resampled, level=level), strict=True):
        assert interval.low == pytest.approx(np.quantile(row, (1 - level) / 2), abs=1e-15)
        assert interval.high == pytest.approx(np.quantile(row, 1 - (1 - level) / 2), abs=1e-15)
        assert interval.se == pytest.approx(np.std(row, ddof=1), abs=1e-15)


def test_undefined_resamples_are_left_out():
    row = np.random.default_rng(2).normal(size=200)
    holed = np.insert(row, [0, 50, 200], math.nan)
    assert percentile_intervals(holed[None], level=0.95) == percentile_intervals(row[None], level=0.95)


@pytest.mark.parametrize("row", [[], [math.nan] * 5, [0.5], [math.nan, 0.5]])
def test_fewer_than_two_values_give_no_interval(row):
    (interval,) = percentile_intervals(np.array(row, dtype=float)[None], level=0.95)
    assert all(math.isnan(x) for x in (interval.se, interval.low, interval.high))


def test_recentred_intervals_by_hand():
    """Mean 3, estimate 2: every quantile moves down by 1; an end below the least becomes it; the spread stays."""
    resampled = np.array([[1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 1.0, 2.0, 3.0, 9.0]])
    first, second = percentile_intervals(resampled, level=0.5, around=np.array([2.0, 1.0]), least=0.0)
    assert (first.low, first.high, first.se) == (1.0, 3.0, pytest.approx(math.sqrt(2.5)))
    assert (second.low, second.high) == (0.0, 1.0)  # 1 − 2 is below 0; 3 − 2
