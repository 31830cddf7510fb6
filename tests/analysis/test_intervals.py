"""Intervals against NumPy, SciPy's bootstrap, statsmodels and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from cxrobust.analysis.intervals import (
    INTERVALS,
    Draws,
    basic,
    bca,
    linearised_se,
    percentile,
    percentile_recentred,
    studentized,
    wilson,
)

FROM_RESAMPLES = ("percentile", "percentile-recentred", "basic", "bca")


def drawn(rows, value=None, **more):
    rows = np.atleast_2d(np.asarray(rows, dtype=float))
    value = np.nanmean(rows, axis=1) if value is None else np.asarray(value, dtype=float)
    return Draws(value=value, resampled=rows, influences=more.pop("influences", np.zeros((len(rows), 2))), **more)


def of_a_mean(x, *, n_resamples=999, seed=0):
    """Mean of independent numbers, and its bootstrap."""
    counts = np.random.default_rng(seed).multinomial(len(x), np.full(len(x), 1 / len(x)), size=n_resamples)
    influence = (x - x.mean()) / len(x)
    first, second = counts @ influence, counts @ influence**2
    ses = np.sqrt((second - first**2 / len(x)) * len(x) / (len(x) - 1))
    return counts, Draws(
        value=np.array([x.mean()]),
        resampled=(counts @ x / len(x))[None],
        influences=influence[None],
        resampled_se=ses[None],
    )


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_percentile_against_numpy_quantiles(level):
    resampled = np.random.default_rng(1).gamma(2, size=(3, 501))
    for row, interval in zip(resampled, percentile(drawn(resampled), level), strict=True):
        assert interval.low == pytest.approx(np.quantile(row, (1 - level) / 2), abs=1e-15)
        assert interval.high == pytest.approx(np.quantile(row, 1 - (1 - level) / 2), abs=1e-15)
        assert interval.se == pytest.approx(np.std(row, ddof=1), abs=1e-15)


@pytest.mark.parametrize("name", FROM_RESAMPLES)
def test_undefined_resamples_are_left_out(name):
    row = np.random.default_rng(2).normal(size=200)
    holed = np.insert(row, [0, 50, 200], math.nan)
    (found,), (expected,) = (INTERVALS[name](drawn(one, [0.1]), 0.95) for one in (holed, row))
    numbers = (expected.se, expected.low, expected.high)
    assert (found.se, found.low, found.high) == pytest.approx(numbers, rel=1e-14)


@pytest.mark.parametrize("name", FROM_RESAMPLES)
@pytest.mark.parametrize("row", [[math.nan] * 5, [0.5], [math.nan, 0.5]])
def test_fewer_than_two_values_give_no_interval(row, name):
    (interval,) = INTERVALS[name](drawn(row, [0.5]), 0.95)
    assert all(math.isnan(x) for x in (interval.se, interval.low, interval.high))


def test_recentred_by_hand():
    """Mean 3, estimate 2: every quantile moves down by 1; an end below the least becomes it; the spread stays."""
    draws = drawn([[1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 1.0, 2.0, 3.0, 9.0]], [2.0, 1.0], bounds=(0.0, math.inf))
    first, second = percentile_recentred(draws, 0.5)
    assert (first.low, first.high, first.se) == (1.0, 3.0, pytest.approx(math.sqrt(2.5)))
    assert (second.low, second.high) == (0.0, 1.0)  # 1 − 2 is below 0; 3 − 2


def test_basic_by_hand():
    (interval,) = basic(drawn([1.0, 2.0, 3.0, 4.0, 5.0], [2.0]), 0.5)
    assert (interval.low, interval.high) == (0.0, 2.0)  # 2·2 − 4 to 2·2 − 2


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
def test_against_scipy_bootstrap(method):
    """SciPy is handed the same resamples; its acceleration leaves one number out, which for a mean is the influence."""
    x = np.random.default_rng(3).gamma(1.5, size=40)
    counts, draws = of_a_mean(x)

    class Same(np.random.Generator):
        """Gives the indices that the counts stand for."""

        def integers(self, low, high=None, size=None, **_):
            return np.stack([np.repeat(np.arange(len(x)), row) for row in counts]).reshape(size)

    theirs = stats.bootstrap(
        (x,), np.mean, n_resamples=len(counts), method=method, rng=Same(np.random.PCG64(1)), vectorized=True
    ).confidence_interval
    (ours,) = INTERVALS[method.lower()](draws, 0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_studentized_against_plain_loops():
    x = np.random.default_rng(4).gamma(1.5, size=30)
    counts, draws = of_a_mean(x)
    t = []
    for row in counts:
        again = np.repeat(x, row)
        # the influences of the resample at the sample's weights: those of the mean do not change but for their centre
        t.append((again.mean() - x.mean()) / (again.std(ddof=1) / math.sqrt(len(x))))
    se = x.std(ddof=1) / math.sqrt(len(x))
    (ours,) = studentized(draws, 0.9)
    assert ours.low == pytest.approx(x.mean() - se * np.quantile(t, 0.95), abs=1e-12)
    assert ours.high == pytest.approx(x.mean() - se * np.quantile(t, 0.05), abs=1e-12)


@pytest.mark.parametrize("n_positive", [0, 1, 7, 20])
def test_wilson_against_statsmodels(n_positive):
    """One image a patient: the effective number is n − 1, since the standard error is that of a sample."""
    y = np.array([1.0] * n_positive + [0.0] * (20 - n_positive))
    (ours,) = wilson(drawn([0.5, 0.5], [y.mean()], influences=((y - y.mean()) / 20)[None]), 0.95)
    n = 20 if n_positive in {0, 20} else 19
    theirs = proportion_confint(y.mean() * n, n, method="wilson")
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-12)


def test_delong_is_a_logit_interval_within_bounds():
    influences = np.array([[0.01, -0.02, 0.01], [0.3, -0.3, 0.0]])
    draws = drawn([[0.5, 0.5]] * 2, [0.9, 1.0], normal_se=linearised_se(influences), bounds=(0.0, 1.0))
    first, second = INTERVALS["delong-clustered"](draws, 0.95)
    se = math.sqrt((influences[0] ** 2).sum() * 3 / 2)
    half = 1.959963984540054 * se / 0.09
    assert first.se == pytest.approx(se)
    assert math.log(first.low / (1 - first.low)) == pytest.approx(math.log(9) - half)
    assert math.log(first.high / (1 - first.high)) == pytest.approx(math.log(9) + half)
    assert second.high == 1.0


def test_bca_without_spread_or_with_all_resamples_on_one_side():
    still, beside = bca(drawn([[0.5] * 9, [0.1, 0.2] * 4 + [0.3]], [0.5, 0.9]), 0.95)
    assert (still.low, still.high) == (0.5, 0.5)
    assert math.isnan(beside.low)
