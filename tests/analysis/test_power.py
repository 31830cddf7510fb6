"""Power and patients needed, against statsmodels, rejection regions, brute force and invariances."""

import math
from fractions import Fraction
from itertools import count, product

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.power import NormalIndPower, TTestPower

from cxrobust.analysis.classical.delong import contrast_variance
from cxrobust.analysis.classical.equivalence import noninferiority, tost
from cxrobust.analysis.classical.mcnemar import mcnemar_clustered, mcnemar_exact, mcnemar_midp
from cxrobust.analysis.classical.wilcoxon import signed_rank, signed_rank_clustered
from cxrobust.analysis.intervals import linearised_se
from cxrobust.analysis.permutation import sign_flip_p_values
from cxrobust.analysis.power import (
    GOALS,
    achieved_power,
    detectable_size,
    draws_for,
    least_p,
    patients_needed,
    plan,
    simulate_power,
)

from . import oracle

FEW = "fewer than 20 patients needed: with so few, power may be less than the formula says"
Z_TEST = NormalIndPower(ddof=0)
"""With a ratio of 0 the second sample has no part: a z-test of one sample, such as paired differences."""


def planned(se=0.01, **changes):
    return plan(se, **{"n_patients": 400, "n_images": 1000, "n_positive_patients": 100, "size": 0.02, **changes})


def standard_pilot(n, seed=1):
    """Influences whose patients have standard deviation 1, and equal shares."""
    one = np.random.default_rng(seed).normal(size=n)
    return alike(one / one.std())


def alike(scores):
    """Influences of patients on the mean of their scores, of which each has an equal share."""
    n = len(scores)
    return (scores - scores.mean()) / n, np.full(n, 1 / n)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.05 / 15])
@pytest.mark.parametrize("power", [0.8, 0.9])
@pytest.mark.parametrize("effect", [0.05, 0.2, 0.5])
def test_a_difference_against_statsmodels(effect, power, alpha):
    """`effect` is the difference in standard deviations of a patient."""
    n = 100
    se = 1 / math.sqrt(n)
    needed = Z_TEST.solve_power(effect_size=effect, alpha=alpha, power=power, ratio=0)
    assert patients_needed(se, n, effect, alpha=alpha, power=power) == math.ceil(needed)
    assert achieved_power(se, effect, alpha=alpha) == pytest.approx(Z_TEST.power(effect, n, alpha, ratio=0), abs=1e-12)
    detectable = Z_TEST.solve_power(nobs1=n, alpha=alpha, power=power, ratio=0)
    assert detectable_size(se, alpha=alpha, power=power) == pytest.approx(detectable, rel=1e-5)


@pytest.mark.parametrize("margin", [0.1, 0.3])
def test_non_inferiority_against_statsmodels(margin):
    """At no true difference, staying above −margin is a one-sided test of a difference of the margin."""
    needed = Z_TEST.solve_power(effect_size=margin, alpha=0.025, power=0.9, ratio=0, alternative="larger")
    assert patients_needed(0.1, 100, margin, goal="non-inferiority", alpha=0.025, power=0.9) == math.ceil(needed)
    expected = Z_TEST.power(margin, 100, 0.025, ratio=0, alternative="larger")
    assert achieved_power(0.1, margin, goal="non-inferiority", alpha=0.025) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("goal", "test"), [("non-inferiority", noninferiority), ("equivalence", tost)])
@pytest.mark.parametrize("margin", [0.01, 0.02, 0.03])
def test_a_margin_against_the_test_itself(margin, goal, test):
    """The share of 2,000 normal estimates, one at each quantile, of a true difference of 0 that the test rejects."""
    estimates = norm.ppf((np.arange(2000) + 0.5) / 2000) * 0.01
    rejected = np.mean([test(float(one), 0.01, margin).p_value < 0.05 for one in estimates])
    assert achieved_power(0.01, margin, goal=goal) == pytest.approx(rejected, abs=2 / 2000)


def test_many_patients_against_the_t_test():
    """With hundreds of patients, that their spread is estimated costs one or two of them."""
    needed = TTestPower().solve_power(effect_size=0.1, alpha=0.05, power=0.8)
    assert 0 < needed - patients_needed(0.1, 100, 0.1) < 3


@pytest.mark.parametrize("n_patients", [10, 20, 60])
def test_simulated_power_against_the_t_test(n_patients):
    """Signs flipped at random reject normal differences about as often as the t-test does, fewer than the formula."""
    effect = 2.2 / math.sqrt(n_patients)
    found = simulate_power(
        *standard_pilot(4000),
        difference=effect,
        n_patients=n_patients,
        n_simulations=2000,
        rng=np.random.default_rng(2),
    )
    assert abs(found.power - TTestPower().power(effect, n_patients, 0.05)) < 4 * found.error
    if n_patients < 20:
        assert achieved_power(1 / math.sqrt(n_patients), effect) > found.power + 4 * found.error


def test_simulated_power_against_plain_loops():
    """8 patients of a skewed pilot, every pattern counted by itself."""
    pilot = np.random.default_rng(3).exponential(size=40)
    found = simulate_power(
        *alike(pilot), difference=0.6, n_patients=8, n_simulations=1000, rng=np.random.default_rng(4), n_draws=256
    )
    rng, rejected = np.random.default_rng(5), 0
    for _ in range(600):
        drawn = [pilot[i] - pilot.mean() + 0.6 for i in rng.integers(0, 40, 8)]
        rejected += oracle.sign_flip_exact([one / 8 for one in drawn]) < 0.05
    assert 0.2 < found.power < 0.99
    assert abs(found.power - rejected / 600) < 4 * found.error * math.sqrt(1 + 1000 / 600)


@pytest.mark.parametrize(("alpha", "power"), [(2 / 2**6, 0), (2 / 2**6 + 1e-9, 1)])
def test_a_p_value_at_the_level_is_no_rejection(alpha, power):
    """Six patients of equal parts: two of 2^6 patterns are as extreme, whoever is drawn."""
    found = simulate_power(
        *alike(np.ones(6)), difference=1.0, n_patients=6, n_simulations=20, alpha=alpha, rng=np.random.default_rng(1)
    )
    assert found.power == power


def test_brute_force_of_a_paired_mean():
    """60 new patients each time, not the pilot's: formula, resampled pilot and new studies agree."""
    rng = np.random.default_rng(6)
    effect = 0.35
    studies = (effect + rng.standard_t(8, size=(60, 1000)) * math.sqrt(6 / 8)) / 60
    rejected = np.mean(sign_flip_p_values(studies, n_draws=999, rng=rng) <= 0.05)
    error = math.sqrt(0.8 * 0.2 / 1000)
    pilot = rng.standard_t(8, size=2000)
    resampled = simulate_power(
        *alike(pilot / pilot.std()), difference=effect, n_patients=60, n_simulations=1000, rng=rng
    )
    assert abs(rejected - achieved_power(1 / math.sqrt(60), effect)) < 4 * error
    assert abs(rejected - resampled.power) < 4 * error * math.sqrt(2)


def test_without_a_difference_the_level_is_simulated():
    found = simulate_power(
        *standard_pilot(300), difference=0, n_patients=150, n_simulations=2000, rng=np.random.default_rng(7)
    )
    assert abs(found.power - 0.05) < 4 * found.error


def test_few_patients_that_carry_the_contrast_do_not_keep_the_level():
    """Three patients of 300 move the contrast: sums are not normal, and simulation shows that no figure holds."""
    pilot = np.append([1.0, 0.8, 1.2], np.zeros(297))
    found = simulate_power(*alike(pilot), difference=0, n_patients=300, n_simulations=500, rng=np.random.default_rng(8))
    assert found.power > 0.05 + 4 * found.error


def test_simulation_repeats_and_no_unit_matters():
    """×8 is exact in floating point."""
    pilot, shares = standard_pilot(50)

    def of(influences, difference):
        return simulate_power(
            influences, shares, difference=difference, n_patients=40, n_simulations=300, rng=np.random.default_rng(9)
        )

    first = of(pilot, 0.4)
    assert of(pilot, 0.4) == first
    assert of(8 * pilot, 3.2).power == of(-pilot, -0.4).power == first.power
    assert (first.difference, first.n_patients, first.n_simulations) == (0.4, 40, 300)


def test_all_rejections_still_have_an_error():
    found = simulate_power(
        *standard_pilot(50), difference=9, n_patients=40, n_simulations=98, rng=np.random.default_rng(1)
    )
    assert found.power == 1
    assert found.error == pytest.approx(math.sqrt(0.99 * 0.01 / 98))


@pytest.mark.parametrize("goal", GOALS)
def test_sizes_powers_and_patients_are_one_curve(goal):
    """What is detectable has the wanted power, needs the pilot's patients, and one patient fewer is too few."""
    detectable = detectable_size(0.01, goal=goal, power=0.9)
    assert achieved_power(0.01, detectable, goal=goal) == pytest.approx(0.9, abs=1e-4)
    assert patients_needed(0.01, 400, detectable, goal=goal, power=0.9) == 400
    needed = patients_needed(0.01, 400, 0.02, goal=goal, power=0.9)
    at, below = (achieved_power(0.01 * math.sqrt(400 / n), 0.02, goal=goal) for n in (needed, needed - 1))
    assert below < 0.9 <= at


@pytest.mark.parametrize("goal", GOALS)
def test_neither_unit_nor_sign_matters(goal):
    one, other = planned(goal=goal), planned(0.08, goal=goal, size=-0.16)
    assert other.detectable == pytest.approx(8 * one.detectable)
    assert (other.achieved, other.patients_needed, other.size) == (one.achieved, one.patients_needed, 0.16)


def test_a_pilot_of_four_times_the_patients_plans_the_same():
    one = planned()
    other = planned(0.005, n_patients=1600, n_images=4000, n_positive_patients=400)
    assert other.patients_needed == one.patients_needed == 785
    assert (other.images_needed, other.positive_patients_expected) == (1962, 196)
    assert other.detectable == pytest.approx(one.detectable / 2)


def test_comparisons_divide_the_level():
    one, other = planned(comparisons=15), planned(alpha=0.05 / 15)
    assert (one.alpha, one.detectable, one.patients_needed) == (other.alpha, other.detectable, other.patients_needed)
    assert one.patients_needed > planned().patients_needed


def test_without_a_size_only_the_smallest_is_planned():
    one = planned(size=None)
    assert one.detectable == planned().detectable
    assert (one.size, one.achieved, one.patients_needed, one.images_needed, one.positive_patients_expected) == (
        (None,) * 5
    )


@pytest.mark.parametrize("goal", ["non-inferiority", "equivalence"])
def test_a_margin_needs_two_patients_since_one_has_no_standard_error(goal):
    assert linearised_se(np.zeros(1)) == 0
    assert patients_needed(0.01, 400, 0.9, goal=goal) == 1
    one = planned(size=0.9, goal=goal)
    assert (one.patients_needed, one.images_needed) == (2, 5)


@pytest.mark.parametrize("test", ["delong", "delong-clustered"])
@pytest.mark.parametrize(("n_patients", "n_positive"), [(400, 100), (400, 7), (6187, 3), (50, 50), (300, 299)])
def test_delongs_tests_need_two_positive_patients(test, n_patients, n_positive):
    """With one positive patient there is no variance; the fewest are counted up to, in exact fractions."""
    one_positive = contrast_variance([1, 0, 0, 0], [[0.5, 0.1, 0.7, 0.2]], [1.0], clusters=[0, 1, 2, 3])
    assert math.isnan(one_positive.variance)
    fewest = next(n for n in count(2) if Fraction(n * n_positive, n_patients) >= 2)
    pilot = {"n_patients": n_patients, "n_images": 2 * n_patients, "n_positive_patients": n_positive, "test": test}
    for size in (5.0, 0.01, 0.3 / math.sqrt(fewest)):
        by_formula = patients_needed(0.3 / math.sqrt(n_patients), n_patients, size)
        one = planned(0.3 / math.sqrt(n_patients), size=size, **pilot)
        assert one.patients_needed == max(fewest, by_formula)
        assert one.positive_patients_expected >= 2
    assert planned(size=5.0, **{**pilot, "n_positive_patients": 0}).patients_needed == 2


@pytest.mark.parametrize(
    ("goal", "so"),
    [
        ("difference", "power may be less than the formula says"),
        ("non-inferiority", "noninferiority claims too often"),
        ("equivalence", "tost claims too often"),
    ],
)
@pytest.mark.parametrize("n_positive", [0, 4, 40, 400])
def test_few_patients_that_are_needed_are_noted(goal, so, n_positive):
    """Sizes at which the formula needs 5, 19, 20, 199, 200 and 2,000 patients."""
    for n in (5, 19.5, 20.5, 150, 199.5, 200.5, 2000):
        size = detectable_size(0.01 * math.sqrt(400 / n), goal=goal)
        one = planned(size=size, goal=goal, n_positive_patients=n_positive, alpha=0.05)
        needed, positive = one.patients_needed, Fraction(one.patients_needed * n_positive, 400)
        few = "patients needed" if needed < 20 else "positive patients expected among those needed"
        is_few = needed < 20 or (n_positive > 0 and positive < 20)
        assert one.note == (f"fewer than 20 {few}: with so few, {so}" if is_few else "")
    assert planned(size=None, goal=goal, n_positive_patients=n_positive).note == ""


@pytest.mark.parametrize("needed", [195, 199, 200])
def test_nearly_twenty_positive_patients_are_fewer_than_twenty(needed):
    """One of 10 patients is positive: 19.5 and 19.9 are expected, which round to 20."""
    size = detectable_size(0.01 * math.sqrt(400 / (needed - 0.5)))
    one = planned(size=size, n_positive_patients=40)
    assert (one.patients_needed, one.positive_patients_expected) == (needed, 20)
    assert ("fewer than 20 positive patients" in one.note) == (needed < 200)


@pytest.mark.parametrize("se", [None, 0.0, 7.2e-16, math.nan, math.inf])
def test_a_pilot_without_spread_plans_nothing_and_says_so(se):
    one = planned(se)
    assert one.note == "no plan: the pilot's standard error is 0 or not estimable"
    assert (one.detectable, one.achieved, one.patients_needed, one.images_needed) == (None,) * 4
    assert planned(se, n_patients=0, n_images=0, n_positive_patients=0).note == one.note


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.05 / 7])
def test_no_fewer_patients_are_needed_than_reach_the_level(alpha):
    """Of n patients every pattern of signs is counted: of contributions that are all alike 2 of 2^n are as extreme."""
    fewest = next(n for n in range(1, 20) if oracle.sign_flip_exact([1.0] * n) < alpha)
    wanted = norm.isf(alpha / 2) + norm.isf(0.2)
    for size in (1, 0.2 * wanted / math.sqrt(fewest - 1.5), 0.2 * wanted / math.sqrt(fewest + 1.5)):
        one = planned(size=size, alpha=alpha)
        by_formula = math.ceil((0.2 * wanted / size) ** 2)
        assert one.patients_needed == max(fewest, by_formula)
        assert (one.images_needed, one.note) == (round(2.5 * one.patients_needed), FEW)
        assert one.positive_patients_expected == round(one.patients_needed / 4)
    equivalent = planned(size=1, alpha=alpha, goal="equivalence")
    by_formula = patients_needed(0.01, 400, 1, goal="equivalence", alpha=alpha)
    assert equivalent.patients_needed == max(2, by_formula) < fewest


def test_signs_of_one_patient_are_named_in_the_singular():
    one = planned(n_patients=1, n_images=2, n_positive_patients=1, size=None)
    assert one.note == "signs of 1 patient have too few patterns to reach the level of 0.05: p is at least 1"


@pytest.mark.parametrize("n_patients", [3, 5])
def test_a_study_of_too_few_patients_detects_no_size(n_patients):
    """Whatever their data: of 3 and 5 patients every sign pattern is counted, and none reaches 0.05."""
    rng = np.random.default_rng(n_patients)
    tried = [oracle.sign_flip_exact(list(rng.normal(3, 1, n_patients))) for _ in range(50)]
    assert min(tried) == 2.0 ** (1 - n_patients) > 0.05
    one = planned(n_patients=n_patients, n_images=n_patients, n_positive_patients=1, size=None)
    assert one.detectable is None
    assert one.note == (
        f"signs of {n_patients} patients have too few patterns to reach the level of 0.05: "
        f"p is at least {min(tried):.3g}"
    )
    sized = planned(n_patients=n_patients, n_images=n_patients, n_positive_patients=1, size=0.001)
    assert (sized.detectable, sized.achieved) == (None, None)
    assert sized.patients_needed == patients_needed(0.01, n_patients, 0.001) > 1000
    assert planned(n_patients=n_patients, n_positive_patients=1, goal="equivalence").detectable is not None


@pytest.mark.parametrize("test", ["permutation", "permutation (exact)"])
def test_signs_of_five_positive_patients_detect_no_size_of_a_sensitivity(test):
    """The other 95 contribute 0, and their signs change nothing; six positive ones are expected of 120."""
    pilot = {"n_patients": 100, "n_images": 150, "n_positive_patients": 5, "by_positives": True, "test": test}
    signs = [np.append(np.ones(n), np.zeros(95))[:, None] for n in (5, 6)]
    five, six = (sign_flip_p_values(one, n_draws=1000, rng=np.random.default_rng(1))[0] for one in signs)
    assert six < 0.05 < five
    one = planned(**pilot, size=0.2)
    assert (one.detectable, one.achieved) == (None, None)
    assert one.note.startswith(
        f"signs of 5 positive patients have too few patterns to reach the level of 0.05: p is at least {five:.3g}; "
    )
    assert (one.patients_needed, one.images_needed, one.positive_patients_expected) == (120, 180, 6)
    by_formula = patients_needed(0.01, 100, 0.002)
    assert planned(**pilot, size=0.002).patients_needed == by_formula > 120
    of_all = planned(**{**pilot, "by_positives": False}, size=None)
    assert (of_all.detectable, of_all.note) == (planned().detectable, "")


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.05 / 7])
@pytest.mark.parametrize(("n_patients", "n_positive"), [(100, 5), (6187, 3), (300, 299), (97, 31), (50, 50)])
def test_patients_needed_for_a_sensitivity_have_positives_enough_to_reach_the_level(n_patients, n_positive, alpha):
    """The fewest are counted up to, in exact fractions, and one that expects part of a patient has no such patient."""
    signs = next(n for n in count(1) if oracle.sign_flip_exact([1.0] * n) < alpha)
    fewest = next(n for n in count(1) if Fraction(n * n_positive, n_patients) >= signs)
    pilot = {"n_patients": n_patients, "n_images": n_patients, "n_positive_patients": n_positive}
    assert planned(**pilot, size=100, by_positives=True, alpha=alpha).patients_needed == fewest
    with_margin = planned(**pilot, size=100, by_positives=True, alpha=alpha, goal="equivalence")
    assert with_margin.patients_needed == 2


def test_swaps_and_pilots_without_positives_are_of_all_patients():
    few = {"n_patients": 100, "n_images": 150, "by_positives": True}
    assert planned(**few, n_positive_patients=5, test="permutation (swaps)").detectable is not None
    assert planned(**few, n_positive_patients=0).detectable is not None


def test_comparisons_take_patients_out_of_reach():
    """Eight patients reach 2/2^8 = 0.0078: the level of 6 comparisons, and not of 7."""
    few = {"n_patients": 8, "n_images": 16, "n_positive_patients": 4, "size": None}
    assert planned(**few, comparisons=6).detectable is not None
    one = planned(**few, comparisons=7)
    assert one.detectable is None
    assert "to reach the level of 0.00714: p is at least 0.00781" in one.note


def test_draws_too_few_for_the_level_detect_no_size_of_any_number_of_patients():
    """Of 199 draws p is at least 1/200: that of none beyond the sample."""
    assert sign_flip_p_values(np.ones((400, 1)), n_draws=199, rng=np.random.default_rng(1)) == 1 / 200
    one = planned(n_draws=199, comparisons=20)
    assert (one.detectable, one.achieved, one.patients_needed, one.images_needed) == (None,) * 4
    assert one.note == "199 draws of signs are too few to reach the level of 0.0025: ask for more resamples"
    assert planned(n_draws=199, comparisons=9).detectable is not None


TESTS = {
    "mcnemar": lambda d, _: mcnemar_exact(d > 0, d < 0),
    "mcnemar-midp": lambda d, _: mcnemar_midp(d > 0, d < 0),
    "mcnemar-clustered": lambda d, patients: mcnemar_clustered(d > 0, d < 0, patients, weighting="images"),
    "mcnemar-durkalski": lambda d, patients: mcnemar_clustered(d > 0, d < 0, patients, weighting="patients"),
    "wilcoxon": lambda d, _: signed_rank(d),
    "wilcoxon-clustered": signed_rank_clustered,
}


@pytest.mark.parametrize("name", TESTS)
def test_the_least_p_value_against_all_data_of_few_patients(name):
    """3 patients with two images each: every pattern of −1, 0 and 1, and for ranks sizes that do not tie."""
    patients = np.repeat(np.arange(3), 2)
    sizes = np.linspace(1, 2, 6) if name == "wilcoxon" else np.ones(6)
    found = [TESTS[name](np.array(signs) * sizes, patients).p_value for signs in product((-1, 0, 1), repeat=6)]
    least = least_p(name, n_patients=3, n_images=6, n_draws=100)
    assert np.nanmin(found) == pytest.approx(least, rel=1e-12)
    unit = "6 images" if name in {"mcnemar", "mcnemar-midp", "wilcoxon"} else "3 patients"
    at = planned(n_patients=3, n_images=6, n_positive_patients=2, test=name, alpha=least, size=1)
    assert at.detectable is None
    assert at.note.startswith(f"{name} of {unit} cannot reach the level of ")
    assert at.patients_needed == 4
    above = planned(n_patients=3, n_images=6, n_positive_patients=2, test=name, alpha=1.01 * least, size=1)
    assert (above.detectable is None, above.patients_needed, above.note) == (False, 3, FEW)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "size is 0, expected a finite number other than 0"),
        ({"size": math.nan}, "size is nan"),
        ({"alpha": 1}, "alpha is 1, expected a number between 0 and 1"),
        ({"power": 0.05}, r"power is 0.05, expected a number between alpha, 0.05, and 1"),
        ({"comparisons": 0}, "comparisons is 0, expected a whole number of at least 1"),
    ],
)
def test_wrong_input_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        planned(**changes)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.05 / 15, 0.0001])
def test_draws_leave_fifty_beyond_the_level(alpha):
    draws = draws_for(alpha, most=10**6)
    assert alpha * (draws + 1) >= 50 - 1e-9
    assert draws_for(alpha, most=500) == 500
