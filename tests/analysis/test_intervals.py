"""Intervals against NumPy, SciPy's bootstrap, statsmodels and closed forms."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from cxrobust.analysis import analyze
from cxrobust.analysis.degrees import Training, degrees_of_freedom, together
from cxrobust.analysis.intervals import (
    INTERVALS,
    Draws,
    basic,
    bca,
    degrees_with_training,
    linearised_se,
    percentile,
    percentile_recentred,
    studentized,
    t_corrected,
    wilson,
)
from cxrobust.analysis.replicates import drawn_training, of_runs
from cxrobust.analysis.sample import Sample

from .made import CONDITIONS, duplicated, make_predictions, make_settings

FROM_RESAMPLES = ("percentile", "percentile-recentred", "expanded", "t-corrected", "basic", "bca")


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


@pytest.fixture(scope="module")
def predictions():
    return make_predictions(seed=2, n_patients=40, most_images=3, missing=0.1, decimals=6)


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


def test_corrected_t_by_hand():
    """Resamples lie 1 above the estimate; s is of resamples in the first row and of the influences in the second."""
    influences = np.array([[0.1, -0.1] * 10, [2.0, -2.0] * 10])
    draws = drawn([[1.0, 2.0, 3.0, 4.0, 5.0]] * 2, [2.0, 2.0], influences=influences, bounds=(-3.0, math.inf))
    first, second = t_corrected(draws, 0.95)
    z = stats.norm.ppf(0.975)  # all patients having as much influence, degrees of freedom are infinite
    half = z * math.sqrt(2.5 + 1)
    assert (first.low, first.high, first.se) == pytest.approx((1 - half, 1 + half, math.sqrt(2.5)), rel=1e-12)
    s = math.sqrt(20 / 19 * 20 * 4)
    assert (second.low, second.se) == pytest.approx((-3.0, s), rel=1e-12)
    assert second.high == pytest.approx(1 + z * math.hypot(s, 1), rel=1e-12)


def test_corrected_t_of_an_unbiased_value_is_the_usual_t():
    influences = np.random.default_rng(0).gamma(1, size=(1, 30))
    influences -= influences.mean()
    draws = drawn([[0.9, 1.0, 1.1]], [1.0], influences=influences)
    (found,), (expected,) = t_corrected(draws, 0.9), INTERVALS["t"](draws, 0.9)
    assert (found.low, found.high, found.se) == pytest.approx((expected.low, expected.high, expected.se), rel=1e-12)


def test_recentred_by_hand():
    """Mean 3, estimate 2: every quantile moves down by 1; an end below the least becomes it; the spread stays."""
    draws = drawn([[1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 1.0, 2.0, 3.0, 9.0]], [2.0, 1.0], bounds=(0.0, math.inf))
    first, second = percentile_recentred(draws, 0.5)
    assert (first.low, first.high, first.se) == (1.0, 3.0, pytest.approx(math.sqrt(2.5)))
    assert (second.low, second.high) == (0.0, 1.0)  # 1 − 2 is below 0; 3 − 2


@pytest.mark.parametrize("far", [-1.0, 0.5, 40.0])
def test_a_few_resamples_far_away_do_not_move_a_recentred_interval_off_its_estimate(far):
    """994 resamples are what the sample is, 6 are elsewhere: the quantiles are the sample's, and stay it."""
    row = np.append(np.full(994, 0.3), np.full(6, 0.3 + far))
    (one,) = percentile_recentred(drawn(row, [0.3]), 0.95)
    assert (one.low, one.high) == (0.3, 0.3)
    assert one.se > 0


@given(
    st.lists(st.sampled_from([0.0, 0.01, 0.02, 0.3, -5.0, 90.0]), min_size=2, max_size=60),
    st.floats(-1, 1),
    st.sampled_from([0.5, 0.8, 0.95]),
)
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_a_recentred_interval_is_as_wide_as_the_percentile_interval_and_holds_the_estimate(row, value, level):
    """And where it would without a limit on the shift, it is what all values shifted to the estimate have; with the 0
    that it held before it was shifted."""
    (one,) = percentile_recentred(drawn(row, [value]), level)
    low, high = np.quantile(row, [(1 - level) / 2, (1 + level) / 2])
    shift = value - np.clip(np.mean(row), low, high)
    expected = [low + shift, high + shift]
    if low <= 0 <= high:
        expected = [min(expected[0], 0), max(expected[1], 0)]
    assert [one.low, one.high] == pytest.approx(expected, abs=1e-9)
    assert one.high - one.low >= high - low - 1e-9
    assert one.low - 1e-12 <= value <= one.high + 1e-12


def test_a_shift_does_not_carry_an_interval_past_the_0_that_most_resamples_are():
    """Of the worst finding where few images change: the mean is below the estimate, which is a small difference."""
    row = np.repeat([0.0, -0.004, -0.008, -0.012], [70, 15, 10, 5])
    (one,) = percentile_recentred(drawn(row, [-0.004]), 0.95)
    low, high = np.quantile(row, [0.025, 0.975])
    assert -0.004 - row.mean() < 0 <= high  # so that all of the shifted interval would lie below 0
    assert (one.low, one.high) == (pytest.approx(low - 0.004 - row.mean()), 0.0)


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


def test_studentized_of_a_study_against_plain_loops():
    """A mean of one image a patient: the standard error of a resample is that of its images, at n − 1."""
    made = make_predictions(seed=5, n_patients=10, most_images=1, findings=("Mass",), conditions=("clean",))
    settings = make_settings(metrics=("brier",), interval="studentized", resamples=200, level=0.9)
    counts = Sample.draw(made, settings, seed=1).counts
    for r, regime in enumerate(made.regimes):
        x = (made.probabilities[r, 0, :, 0] - made.labels[:, 0]) ** 2
        resamples = [x[duplicated(counts, made.patients, b)] for b in range(200)]
        t = [(one.mean() - x.mean()) / stats.sem(one) for one in resamples]
        ends = x.mean() - stats.sem(x) * np.quantile(t, [0.95, 0.05])
        (e,) = (
            e
            for e in analyze(made, settings, reference="supervised", seed=1).estimates
            if (e.estimand, e.regime, e.finding) == ("value", regime, "Mass")
        )
        assert 0 < ends[0] < ends[1] < 1
        assert (e.ci_low, e.ci_high) == pytest.approx(tuple(ends), abs=1e-12)


@pytest.mark.parametrize(("n_bare", "is_given"), [(5, True), (150, False)])
def test_a_studentized_end_is_not_made_of_rounding(n_bare, is_given):
    """Of a thousand resamples a few have a standard error of rounding: too few for the tail, or more than it holds."""
    _, draws = of_a_mean(np.random.default_rng(4).gamma(1.5, size=30), n_resamples=1000)
    ses = draws.resampled_se.copy()
    ses[0, np.argsort(draws.resampled[0])[:n_bare]] = 1e-17
    (found,) = studentized(replace(draws, resampled_se=ses), 0.95)
    assert np.isfinite(found.high) == np.isfinite(found.low) == is_given
    assert found.note == ("" if is_given else "standard errors of resamples are all but 0")
    t = (draws.resampled[0] - draws.value[0]) / ses[0]
    if is_given:
        ends = draws.value[0] - draws.se[0] * np.quantile(t, [0.975, 0.025])
        assert (found.low, found.high) == pytest.approx(tuple(ends), abs=1e-12)
        assert found.caution == ""


def test_a_studentized_interval_says_how_many_resamples_without_spread_it_leaves_out():
    _, draws = of_a_mean(np.random.default_rng(4).gamma(1.5, size=30), n_resamples=1000)
    ses = draws.resampled_se.copy()
    ses[0, :123] = 0
    (found,) = studentized(replace(draws, resampled_se=ses), 0.95)
    (others,) = studentized(replace(draws, resampled=draws.resampled[:, 123:], resampled_se=ses[:, 123:]), 0.95)
    assert (found.low, found.high) == (others.low, others.high)
    assert found.caution == "no spread in 12.30% of resamples, which are left out"


def test_a_studentized_interval_of_many_standard_errors_says_so():
    _, draws = of_a_mean(np.random.default_rng(4).gamma(1.5, size=30), n_resamples=1000)
    (found,) = studentized(replace(draws, resampled_se=draws.resampled_se / 10), 0.95)
    widths = (found.high - found.low) / draws.resampled[0].std(ddof=1)
    assert widths > 20
    assert found.caution == f"interval of {widths:,.0f} standard errors: those of resamples come near 0"


def test_a_studentized_interval_of_the_largest_gap_is_bounded_or_says_why(predictions):
    settings = make_settings(metrics=("mce",), interval="studentized", resamples=1000, operating_point=0.5)
    found = analyze(predictions, settings, reference="supervised", seed=1).estimates
    given = [e for e in found if e.ci_low is not None and e.ci_high is not None]
    assert all(e.ci_high - e.ci_low < 100 for e in given)
    assert any("% of resamples, which are left out" in e.note for e in given)
    without = [e for e in found if e.estimate is not None and e not in given]
    assert all("no interval: " in e.note for e in without)


@pytest.mark.parametrize("n_positive", [0, 1, 7, 20])
def test_wilson_against_statsmodels(n_positive):
    """One image a patient: the effective number is n − 1, since the standard error is that of a sample."""
    y = np.array([1.0] * n_positive + [0.0] * (20 - n_positive))
    (ours,) = wilson(drawn([0.5, 0.5], [y.mean()], influences=((y - y.mean()) / 20)[None]), 0.95)
    n = 20 if n_positive in {0, 20} else 19
    theirs = proportion_confint(y.mean() * n, n, method="wilson")
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-12)


def test_wilson_of_equal_outcomes_whose_spread_is_rounding():
    """Twelve outcomes of 1 whose influences are what rounding left."""
    (ours,) = wilson(drawn([0.5, 0.5], [1.0], influences=np.array([[1e-17, -1e-17] * 6])), 0.95)
    assert (ours.low, ours.high) == pytest.approx(proportion_confint(12, 12, method="wilson"), abs=1e-12)


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


def bca_by_fractions(value, row, influences, level):
    """BCa with resamples told apart in exact fractions; quantiles of them as floats."""
    bias = stats.norm.ppf(float(Fraction(2 * sum(x < value for x in row) + sum(x == value for x in row), 2 * len(row))))
    acceleration = sum(u**3 for u in influences) / (6 * sum(u**2 for u in influences) ** 1.5)
    z = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    return np.quantile([float(x) for x in row], stats.norm.cdf(bias + z / (1 - acceleration * z)))


@pytest.mark.parametrize("estimand", ["perturbed-clean", "regime-reference", "difference-in-differences"])
def test_bca_of_accuracy_differences_against_exact_fractions(estimand):
    """Equal differences of accuracies are other floats: 0.75 − 0.625 and 0.875 − 0.75, and thirds still more."""
    made = make_predictions(
        seed=7, n_patients=30, most_images=1, findings=("Mass",), conditions=("clean", CONDITIONS[1])
    )
    chosen = make_settings(metrics=("accuracy",), interval="bca", resamples=500, operating_point=0.5)
    counts = Sample.draw(made, chosen, seed=1).counts
    right = ((made.probabilities[..., 0] >= 0.5) == (made.labels[:, 0] == 1)).astype(int)
    (adapted, reference) = (right[made.members.index((name, 0))] for name in ("lora", "supervised"))
    gains = {
        "perturbed-clean": adapted[1] - adapted[0],
        "regime-reference": adapted[1] - reference[1],
        "difference-in-differences": adapted[1] - adapted[0] - reference[1] + reference[0],
    }[estimand]
    value = Fraction(int(gains.sum()), 30)
    row = [Fraction(int(gains[duplicated(counts, made.patients, b)].sum()), 30) for b in range(500)]
    assert 20 < row.count(value) < 480
    (e,) = (
        e
        for e in analyze(made, chosen, reference="supervised", seed=1).estimates
        if (e.estimand, e.regime, e.condition, e.finding) == (estimand, "lora", CONDITIONS[1], "Mass")
    )
    expected = bca_by_fractions(value, row, (gains - gains.mean()) / 30, 0.95)
    assert (e.ci_low, e.ci_high) == pytest.approx(tuple(expected), abs=1e-12)


def test_bca_counts_half_what_equals_the_estimate_but_for_rounding():
    tenths = [(6, 5), (4, 3), (2, 1), (2, 2), (4, 1)] * 20
    row = [a / 10 - b / 10 for a, b in tenths]
    assert len(set(row)) > 3
    (found,) = bca(drawn(row, [0.8 - 0.7], influences=np.array([[1.0, -1.0]])), 0.9)
    exact = [Fraction(a - b, 10) for a, b in tenths]
    expected = bca_by_fractions(Fraction(1, 10), exact, [1.0, -1.0], 0.9)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)


def test_bca_of_resamples_that_differ_by_rounding_alone_has_no_width():
    (found,) = bca(drawn([0.3 - 0.2, 0.8 - 0.7, 0.1], [0.4 - 0.3]), 0.95)
    assert (found.low, found.high, found.se) == (0.4 - 0.3, 0.4 - 0.3, 0.0)


@pytest.mark.parametrize("side", [1, -1])
def test_a_higher_level_never_has_a_narrower_bca_interval_however_skewed(side):
    """One patient carries the estimate, and nearly all resamples lie beyond it: the acceleration times z exceeds 1."""
    row = np.sort(np.random.default_rng(0).normal(size=10_000))
    influences = side * np.append(1.0, np.full(999, -1 / 999))
    draws = drawn(side * row, [side * row[-51]], influences=influences[None])
    found = [bca(draws, level)[0] for level in (0.9, 0.99, 0.999, 0.9999, 0.99999)]
    ends = np.array([(one.low, one.high) for one in found])
    assert (np.diff(ends[:, 0]) <= 0).all()
    assert (np.diff(ends[:, 1]) >= 0).all()
    assert found[-1].high == row[-1] if side == 1 else found[-1].low == -row[-1]


# ----------------------------------------------------------- few resamples

TOO_FEW = "{:,} resamples are too few for a tail of {:.2g}: the interval may be too narrow"


@pytest.mark.parametrize("name", ["percentile", "percentile-recentred", "basic", "studentized"])
@pytest.mark.parametrize("n", [38, 39, 99, 198, 199, 200, 1998, 1999, 2000, 5000])
@pytest.mark.parametrize("level", ["0.95", "0.99", "0.999", "0.9995"])
def test_a_quantile_beyond_all_resamples_is_told_against_exact_fractions(name, n, level):
    """At (n + 1) times the tail below 1, where not one resample is expected beyond the end."""
    _, draws = of_a_mean(np.random.default_rng(4).gamma(1.5, size=30), n_resamples=n)
    (found,) = INTERVALS[name](draws, float(level))
    tail = (1 - Fraction(level)) / 2
    assert found.caution == (TOO_FEW.format(n, float(tail)) if tail * (n + 1) < 1 else "")
    assert found.low < found.high


@pytest.mark.parametrize("n_moving", [2, 3, 4, 6, 40])
@pytest.mark.parametrize("n", [200, 10_000])
def test_an_expanded_quantile_beyond_all_resamples_is_told(n, n_moving):
    """Of few equal patients t has one degree of freedom fewer than they are, of 20 and more the normal quantile."""
    influences = np.zeros(100)
    influences[:n_moving] = np.resize([1.0, -1.0], n_moving) - (n_moving % 2) / n_moving
    row = np.random.default_rng(1).normal(size=n)
    (found,) = INTERVALS["expanded"](drawn(row, [0.0], influences=influences[None]), 0.95)
    tail = stats.norm.cdf(math.sqrt(100 / 99) * stats.t.ppf(0.025, degrees_of_freedom(influences)))
    assert found.caution == (TOO_FEW.format(n, tail) if tail * (n + 1) < 1 else "")
    assert bool(found.caution) == (n_moving in ({2, 3} if n == 10_000 else {2, 3, 4, 6}))


@pytest.mark.parametrize("bias", [-0.3, 0.0, 0.3])
@pytest.mark.parametrize("level", [0.95, 0.99, 0.996])
def test_the_outer_quantile_of_bca_tells_of_few_resamples(bias, level):
    row = np.random.default_rng(2).normal(size=400)
    value = np.quantile(row, 0.5 + bias)
    (found,) = bca(drawn(row, [value], influences=np.array([[1.0, -1.0]])), level)
    b = stats.norm.ppf(np.mean(row < value))
    low, high = stats.norm.cdf(2 * b + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2]))
    tail = min(low, 1 - high)
    assert found.caution == (TOO_FEW.format(400, tail) if tail * 401 < 1 else "")
    assert bool(found.caution) == (level == 0.996 or bias != 0)


def test_an_interval_without_width_asks_for_no_resamples():
    for name in (*FROM_RESAMPLES, "studentized"):
        draws = drawn([[0.5] * 20], [0.5], resampled_se=np.full((1, 20), 0.1))
        assert INTERVALS[name](draws, 0.999)[0].caution == ""


def test_estimates_say_that_resamples_are_too_few():
    made = make_predictions(seed=3, n_patients=40)
    for level, few in ((0.999, True), (0.95, False)):
        chosen = make_settings(
            metrics=("accuracy",), interval="percentile", level=level, effect_sizes=("cliffs-delta",)
        )
        found = analyze(made, chosen, reference="supervised", seed=1).estimates
        told = {e.estimand: TOO_FEW.format(256, (1 - level) / 2) in e.note for e in found if e.ci_low != e.ci_high}
        assert set(told.values()) == {few}
        assert {"accuracy", "confidence-cliffs-delta"} <= {e.metric for e in found if e.ci_low != e.ci_high}


# ----------------------------------------------------------- few and unequal patients


@pytest.mark.parametrize("n", [20, 100])
def test_degrees_of_freedom_of_two_unequal_groups_of_patients_by_hand(n):
    """One patient in n has influence n − 1, the others −1, as of a share: κ = (n² − 3n + 3)/(n − 1)."""
    u = np.array([n - 1.0, *[-1.0] * (n - 1)])
    kurtosis = (n**2 - 3 * n + 3) / (n - 1)
    assert degrees_of_freedom(u) == pytest.approx(2 * n / (kurtosis - 1), rel=1e-12)
    assert degrees_of_freedom(u) > 2


def test_degrees_of_freedom_of_normal_patients_are_their_number():
    """κ = 3 gives 2n/2; the mean of many samples' kurtosis knows it."""
    u = np.random.default_rng(1).normal(size=200_000)
    assert degrees_of_freedom(u) == pytest.approx(200_000, rel=0.03)


def test_degrees_of_freedom_against_the_spread_of_variances():
    """A χ² with df degrees has variance 2 df, so a resampled sum of squares spreads by √(2/df) of itself."""
    rng = np.random.default_rng(2)
    u = rng.standard_t(8, size=40)
    squares = (u**2)[rng.integers(0, 40, (40_000, 40))].sum(axis=1)
    assert degrees_of_freedom(u) == pytest.approx(2 * (squares.mean() / squares.std()) ** 2, rel=0.05)


def test_degrees_of_freedom_that_are_infinite():
    assert degrees_of_freedom(np.zeros(5)) == math.inf
    assert degrees_of_freedom(np.array([1.0, -1.0] * 10)) == math.inf
    assert degrees_of_freedom(np.full(5, math.nan)) == math.inf
    assert {float(degrees_of_freedom(np.array([0.3, -0.3] * n))) for n in (15, 25, 30)} == {
        math.inf
    }  # but for rounding


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_the_t_interval_of_a_few_normal_patients_holds_its_level(n):
    """Simulated; Student's own at n − 1 degrees of freedom is exact. Patients without an image are no more of them."""
    x = np.random.default_rng(n).normal(size=(4_000, n))
    influences = np.pad((x - x.mean(axis=1, keepdims=True)) / n, ((0, 0), (0, 5)))
    df = degrees_of_freedom(influences)
    assert (df <= n - 1).all()
    bare = Draws(value=x.mean(axis=1), resampled=np.zeros((4_000, 2)), influences=influences[:, :n])
    held = np.mean([one.low <= 0 <= one.high for one in INTERVALS["t"](bare, 0.95)])
    assert held == pytest.approx(0.95, abs=0.012)


def test_degrees_of_freedom_do_not_depend_on_scale_or_order():
    u = np.random.default_rng(3).normal(size=(2, 15))
    np.testing.assert_allclose(degrees_of_freedom(u * 1e-9), degrees_of_freedom(u[:, ::-1]), rtol=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_t_interval_against_scipy(level):
    """Of a mean: scipy's t interval of the patients, at these degrees of freedom instead of n − 1."""
    x = np.random.default_rng(4).gamma(1.5, size=30)
    _, draws = of_a_mean(x)
    (ours,) = INTERVALS["t"](draws, level)
    df = float(degrees_of_freedom(x - x.mean()))
    theirs = stats.t.interval(level, df, loc=x.mean(), scale=stats.sem(x))
    assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-12)
    assert ours.se == pytest.approx(stats.sem(x), abs=1e-15)


def test_t_interval_of_equal_influences_is_normal():
    u = np.array([[0.1, -0.1] * 10])
    (ours,) = INTERVALS["t"](Draws(value=np.array([0.5]), resampled=np.zeros((1, 2)), influences=u), 0.95)
    assert ours.high - 0.5 == pytest.approx(1.959963984540054 * math.sqrt(0.2 * 20 / 19), abs=1e-12)


def test_t_interval_ends_where_the_quantity_does_and_of_nothing_is_nothing():
    u = np.array([[0.1, -0.2, 0.1]] * 2)
    draws = Draws(value=np.array([0.95, np.nan]), resampled=np.zeros((2, 2)), influences=u, bounds=(0.0, 1.0))
    first, second = INTERVALS["t"](draws, 0.95)
    assert first.high == 1.0
    assert math.isnan(second.low)
    assert math.isnan(second.se)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_expanded_against_numpy_quantiles(level):
    """Hesterberg 2015: quantiles at Φ(√(n/(n − 1)) t), which for n normal patients are those of his table."""
    x = np.random.default_rng(5).gamma(1.5, size=20)
    _, draws = of_a_mean(x)
    df = float(degrees_of_freedom(x - x.mean()))
    low = stats.norm.cdf(-math.sqrt(20 / 19) * stats.t.ppf((1 + level) / 2, df))
    (ours,) = INTERVALS["expanded"](draws, level)
    assert ours.low == pytest.approx(np.quantile(draws.resampled[0], low), abs=1e-12)
    assert ours.high == pytest.approx(np.quantile(draws.resampled[0], 1 - low), abs=1e-12)


def test_expanded_of_many_alike_patients_is_the_percentile_interval():
    u = np.tile([1e-3, -1e-3], 500_000)[None]
    draws = Draws(value=np.zeros(1), resampled=np.random.default_rng(6).normal(size=(1, 999)), influences=u)
    (ours,), (theirs,) = INTERVALS["expanded"](draws, 0.95), percentile(draws, 0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-4)


def test_expanded_is_wider_than_percentile_by_as_much_as_t_is_than_normal():
    """Of a normal distribution of resamples, the ends are se √(n/(n − 1)) t from the estimate: no more and no less."""
    rng = np.random.default_rng(7)
    u = rng.normal(size=(1, 12))
    row = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    (ours,) = INTERVALS["expanded"](Draws(value=np.zeros(1), resampled=row[None], influences=u), 0.95)
    expected = math.sqrt(12 / 11) * stats.t.ppf(0.975, float(degrees_of_freedom(u[0])))
    assert (-ours.low, ours.high) == pytest.approx((expected, expected), rel=2e-3)


def test_infinite_resamples_leave_an_interval_open():
    """An odds ratio or a strength: the upper end is infinite when more than the tail is, and there is no spread."""
    row = [*range(1, 91), *[math.inf] * 10]
    (ours,) = percentile(drawn([row], [50.0]), 0.9)
    assert (ours.low, ours.high) == (5.0, math.inf)
    assert math.isnan(ours.se)


def known(variance, df):
    """What training adds to one estimate, known with so many degrees of freedom."""
    return Training(variance=np.array([variance]), doubt=np.array([variance**2 / df]), degrees=df)


def runs_of_two_regimes(seed=11):
    rng = np.random.default_rng(seed)
    return rng.normal(0.1, 0.02, size=3), rng.normal(0.2, 0.05, size=5)


def test_degrees_of_freedom_of_training_against_welch():
    """Of two regimes' runs on patients without end the difference of means is Welch's; his interval is `t`."""
    one, other = runs_of_two_regimes()
    training = together([of_runs((x - x.mean())[:, None], np.zeros(1)) for x in (one, other)])
    theirs = stats.ttest_ind(one, other, equal_var=False)
    assert training.variance**2 / training.doubt == pytest.approx([theirs.df], rel=1e-12)
    draws = Draws(
        value=np.array([one.mean() - other.mean()]),
        resampled=np.zeros((1, 2)),
        influences=np.zeros((1, 50)),
        normal_se=np.sqrt(training.variance),
        training=training,
    )
    (ours,) = INTERVALS["t"](draws, 0.9)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval(0.9)), abs=1e-12)


def test_degrees_of_freedom_of_patients_and_training_against_drawn_variances():
    """They are 2 (mean)² / variance of the sum of two variances, one of 40 normal patients and one of 3 runs."""
    rng = np.random.default_rng(12)
    of_patients, of_training = 0.4, 1.3
    drawn_sums = of_patients * rng.chisquare(39, 400_000) / 39 + of_training * rng.chisquare(2, 400_000) / 2
    u = stats.norm.ppf((np.arange(40) + 0.5) / 40)
    u *= math.sqrt(of_patients) / linearised_se(u)
    draws = Draws(
        value=np.zeros(1),
        resampled=np.zeros((1, 2)),
        influences=u[None],
        training=known(of_training, 2),
    )
    (found,) = degrees_with_training(draws)
    assert found == pytest.approx(2 * drawn_sums.mean() ** 2 / drawn_sums.var(), rel=0.02)


def test_training_that_adds_nothing_changes_no_interval():
    x = np.random.default_rng(13).normal(size=30)
    _, draws = of_a_mean(x)
    idle = replace(draws, training=known(0.0, 1))
    for name in ("expanded", "t", "t-corrected"):
        assert INTERVALS[name](idle, 0.95) == INTERVALS[name](draws, 0.95)


def test_expanded_of_few_runs_is_wider_by_the_ratio_of_students_quantiles():
    """Its ends lie farther from the estimate, each by as much, and an end stays within what the quantity can be."""
    x = np.random.default_rng(14).normal(size=60)
    _, draws = of_a_mean(x)
    few = replace(draws, training=known(9 * float(draws.se[0]) ** 2, 2))
    (ours,), (alone,) = INTERVALS["expanded"](few, 0.95), INTERVALS["expanded"](draws, 0.95)
    patients = float(degrees_of_freedom(x - x.mean()))
    both = 100 / (1 / patients + 81 / 2)
    by = stats.t.ppf(0.975, both) / stats.t.ppf(0.975, patients)
    assert by > 1.5
    mean = float(draws.value[0])
    assert (ours.low, ours.high) == pytest.approx((mean - by * (mean - alone.low), mean + by * (alone.high - mean)))
    assert ours.se == alone.se
    (bounded,) = INTERVALS["expanded"](replace(few, bounds=(alone.low, 1e9)), 0.95)
    assert bounded.low == alone.low


@pytest.mark.parametrize(("runs", "floor"), [((2, 3), 1), ((4,), 3), ((60,), None)])
def test_degrees_of_freedom_are_no_fewer_than_those_of_the_part_that_is_known_least(runs, floor):
    """Patients' noise in the runs' spread is taken off their variance and not off its doubt: a fraction would be left.

    As where runs differ by as much as patients make them differ, and the contrast hardly does.
    """
    x = np.random.default_rng(16).normal(size=400)
    _, draws = of_a_mean(x)
    spread = 2000 * float(draws.se[0])
    deviations = [np.array([-spread, spread] + [0.0] * (k - 2))[:, None] for k in runs]
    parts = [of_runs(one, (one**2).sum(axis=0)) for one in deviations]
    training = together(parts)
    assert training.variance == 0
    (found,) = degrees_with_training(replace(draws, training=training))
    patients = float(degrees_of_freedom(x - x.mean()))
    assert found == pytest.approx(min(floor or 59, patients))
    (one,), (alone,) = (INTERVALS["t"](each, 0.95) for each in (replace(draws, training=training), draws))
    by = stats.t.ppf(0.975, found) / stats.t.ppf(0.975, patients)
    assert one.high - one.low == pytest.approx(by * (alone.high - alone.low))


def test_recentred_percentiles_of_few_runs_are_wider_by_as_much():
    x = np.random.default_rng(14).normal(size=60)
    _, draws = of_a_mean(x)
    few = replace(draws, training=known(9 * float(draws.se[0]) ** 2, 2))
    by = []
    for name in ("expanded", "percentile-recentred"):
        (ours,), (alone,) = INTERVALS[name](few, 0.95), INTERVALS[name](draws, 0.95)
        mean = float(draws.value[0])
        by.append((mean - ours.low) / (mean - alone.low))
        assert (ours.high - mean) / (alone.high - mean) == pytest.approx(by[-1], rel=1e-9)
    assert by[1] == pytest.approx(by[0], rel=1e-9)
    assert by[0] > 1.5
    assert INTERVALS["percentile"](few, 0.95) == INTERVALS["percentile"](draws, 0.95)


def test_an_open_end_stays_open_where_runs_are_few():
    x = np.random.default_rng(14).normal(size=60)
    _, draws = of_a_mean(x)
    drawn = draws.resampled.copy()
    drawn[0, : drawn.shape[1] // 10] = np.inf
    few = replace(draws, resampled=drawn, training=known(9 * float(draws.se[0]) ** 2, 2))
    (ours,) = INTERVALS["expanded"](few, 0.95)
    assert ours.high == np.inf
    assert np.isfinite(ours.low)


@pytest.mark.parametrize("name", ["expanded", "t"])
def test_intervals_of_three_runs_hold_the_regimes_mean(name):
    """Of 1,500 studies of three runs whose spread is twice that of patients, 95 %, standard error 0.6 %."""
    rng = np.random.default_rng(15)
    held = 0
    for _ in range(1500):
        x, runs = rng.normal(size=80) / math.sqrt(80), rng.normal(0, 2 / math.sqrt(80), size=3)
        influences = (x - x.mean()) / math.sqrt(80)
        patients = rng.normal(0, float(linearised_se(influences)), size=299)
        variance = np.array([runs.var(ddof=1) / 3])
        trained = drawn_training((runs - runs.mean())[:, None], variance, rng.integers(0, 3, (3, 299)))
        draws = Draws(
            value=np.array([x.sum() / math.sqrt(80) + runs.mean()]),
            resampled=x.sum() / math.sqrt(80) + runs.mean() + patients + trained,
            influences=influences[None],
            normal_se=np.sqrt(linearised_se(influences[None]) ** 2 + variance),
            training=of_runs((runs - runs.mean())[:, None], np.zeros(1)),
        )
        (one,) = INTERVALS[name](draws, 0.95)
        held += one.low <= 0 <= one.high
    assert 0.93 < held / 1500 < 0.99
