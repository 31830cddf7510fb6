"""The sign-flip test, against enumeration, scipy, an independent Monte Carlo and hand arithmetic."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cxrobust.analysis.permutation import is_exact, sign_flip_p_values

from . import oracle


def p_value(contributions, *, n_draws=4096, seed=0):
    contributions = np.asarray(contributions, dtype=float)[:, None]
    return float(sign_flip_p_values(contributions, n_draws=n_draws, rng=np.random.default_rng(seed))[0])


contribution = st.one_of(st.integers(-10, 10).map(lambda n: n / 10), st.integers(-1000, 1000).map(lambda n: n / 1000))
"""Sums of these are equal, up to rounding, or differ by at least 0.001, so that what is a tie is beyond dispute."""


@given(st.lists(contribution, min_size=1, max_size=9))
@settings(max_examples=120, deadline=None, derandomize=True, database=None)
def test_few_patients_against_enumeration(contributions):
    assert p_value(contributions) == pytest.approx(oracle.sign_flip_exact(contributions), abs=1e-15)


@pytest.mark.parametrize("n_patients", [1, 2, 3, 5, 8])
def test_the_smallest_exact_p_value_is_two_patterns(n_patients):
    """All of one sign is as extreme as it gets: only that pattern and its mirror image reach it."""
    assert p_value(np.arange(1, n_patients + 1)) == 2 / 2**n_patients


def test_five_patients_cannot_be_significant():
    assert p_value([9.0, 7.0, 8.0, 6.0, 9.5]) == 0.0625


def test_patients_without_the_finding_do_not_sharpen_the_test():
    assert p_value([1, 2, 3, 4, 5, 0, 0, 0]) == 0.0625


@pytest.mark.parametrize("n_draws", [100, 1000])
def test_random_signs_never_give_0(n_draws):
    rng = np.random.default_rng(1)
    assert p_value(1 + rng.random(200), n_draws=n_draws) == 1 / (n_draws + 1)


def test_random_signs_against_enumeration():
    """12 patients have 4,096 patterns; 4,000 draws of them are within 4 binomial standard errors."""
    rng = np.random.default_rng(2)
    contributions = rng.normal(0.3, 1, size=(12, 6))
    exact = np.array([oracle.sign_flip_exact(column.tolist()) for column in contributions.T])
    found = sign_flip_p_values(contributions, n_draws=4000, rng=rng)
    assert (np.abs(found - exact) < 4 * np.sqrt(exact * (1 - exact) / 4000) + 1 / 4000).all()
    assert (found != exact).any()


def test_random_signs_against_an_independent_monte_carlo():
    rng = np.random.default_rng(3)
    contributions = rng.standard_t(3, size=(60, 5)) + np.linspace(0, 0.6, 5)
    found = sign_flip_p_values(contributions, n_draws=10_000, rng=rng)
    for p, column in zip(found, contributions.T, strict=True):
        other = oracle.sign_flip_monte_carlo(column, draws=10_000, seed=99)
        assert abs(p - other) < 4 * math.sqrt(2 * other * (1 - other) / 10_000) + 2e-4


def test_means_of_one_image_a_patient_against_scipy():
    """`scipy.stats.permutation_test` of paired samples swaps each pair, which flips the sign of its difference."""
    rng = np.random.default_rng(4)
    perturbed, clean = rng.random(10), rng.random(10) + 0.15
    expected = stats.permutation_test(
        (perturbed, clean), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert p_value((perturbed - clean) / 10) == pytest.approx(expected.pvalue, abs=1e-15)


def test_studentised_sums_give_the_same_p_value():
    """The squares of s d do not depend on s, so the t statistic rises with the absolute sum."""
    d = np.random.default_rng(5).normal(0.4, 1, 10)
    signs = 1 - 2 * ((np.arange(2**10)[:, None] >> np.arange(10)) & 1)
    t = np.abs(stats.ttest_1samp(signs * d, 0, axis=1).statistic)
    assert p_value(d) == np.mean(t >= abs(stats.ttest_1samp(d, 0).statistic) - 1e-9)


def test_no_difference_at_all_has_p_1():
    assert p_value(np.zeros(7)) == 1
    assert p_value(np.zeros(100)) == 1


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_neither_scale_nor_sign_matters(scale):
    d = np.random.default_rng(6).normal(0.2, 1, 30)
    assert p_value(scale * d) == p_value(d) == p_value(-d)


def test_ties_up_to_rounding_count():
    """0.1 + 0.2 - 0.3 is not 0 in floating point; both orders of the signs reach the same sum."""
    assert p_value([0.1, 0.2, -0.3]) == 1
    assert p_value([0.1, 0.2, 0.3]) == 0.25


def test_contrasts_share_their_signs():
    """A contrast's p-value depends neither on its column nor on the others beside it."""
    d = np.random.default_rng(7).normal(0.2, 1, (40, 3))
    together = sign_flip_p_values(d, n_draws=500, rng=np.random.default_rng(8))
    for p, column in zip(together, d.T, strict=True):
        assert p == p_value(column, n_draws=500, seed=8)


@pytest.mark.parametrize(("n_patients", "n_draws", "exact"), [(7, 128, True), (7, 127, False), (400, 10_000, False)])
def test_is_exact(n_patients, n_draws, exact):
    assert is_exact(n_patients, n_draws=n_draws) == exact
