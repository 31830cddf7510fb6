"""The sign-flip test, against enumeration, scipy, an independent Monte Carlo and hand arithmetic."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cxrobust.analysis.permutation import (
    is_exact,
    joint_sign_flips,
    max_t_p_values,
    n_exact_signs,
    sign_flip_p_values,
)

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


@pytest.mark.parametrize("n_others", [0, 1, 4])
@pytest.mark.parametrize("n_contributing", [1, 2, 5])
def test_the_floor_is_that_of_who_contributes_against_enumeration(n_contributing, n_others):
    """No contributions of so many patients have a smaller p-value, whatever the others' signs."""
    rng = np.random.default_rng(18)
    found = [oracle.sign_flip_exact([*rng.normal(size=n_contributing), *np.zeros(n_others)]) for _ in range(40)] + [
        oracle.sign_flip_exact([1.0] * n_contributing + [0.0] * n_others)
    ]
    assert min(found) == found[-1] == 2.0 ** (1 - n_contributing)


@pytest.mark.parametrize("n_contributing", [0, 1, 4, 9])
def test_few_who_contribute_among_many_against_enumeration(n_contributing):
    """400 patients of whom all but a few contribute 0: every pattern of these few, whatever the draws."""
    rng = np.random.default_rng(19)
    few = rng.normal(0.5, 1, (n_contributing, 3)).round(1)
    d = np.zeros((400, 3))
    d[rng.choice(400, n_contributing, replace=False)] = few
    found = sign_flip_p_values(d, n_draws=600, rng=rng)
    assert found == pytest.approx([oracle.sign_flip_exact(column) for column in few.T.tolist()], abs=1e-15)
    n = np.count_nonzero(few, axis=0)  # a contribution that rounds to 0 is none
    np.testing.assert_array_equal(n_exact_signs(d, n_draws=600), n)


def test_exact_hypotheses_leave_the_signs_of_the_others_as_they_are():
    """A hypothesis of few stands beside those of many, whose signs are drawn for them alone."""
    rng = np.random.default_rng(20)
    d = rng.normal(0.1, 1, (60, 3))
    d[5:, 1] = 0
    found = sign_flip_p_values(d, n_draws=500, rng=np.random.default_rng(1))
    assert n_exact_signs(d, n_draws=500).tolist() == [-1, 5, -1]
    assert found[1] == pytest.approx(oracle.sign_flip_exact(d[:5, 1].tolist()), abs=1e-15)
    assert found[[0, 2]].tolist() == [p_value(d[:, k], n_draws=500, seed=1) for k in (0, 2)]


def test_what_rounding_leaves_of_a_sum_of_columns_contributes_nothing():
    """a − b − c + d is 0 of who has the same in both regimes, but for rounding; of three it is not."""
    rng = np.random.default_rng(21)
    d = rng.random((300, 4))
    d[:, 3] = d[:, 1] + d[:, 2] - d[:, 0]
    d[[7, 90, 200], 3] += (0.3, 0.2, 0.1)
    sums = [[(0, 1.0), (1, -1.0), (2, -1.0), (3, 1.0)]]
    assert np.count_nonzero(d @ [1, -1, -1, 1]) > 10
    assert n_exact_signs(d, n_draws=8, sums=sums).tolist() == [3]
    assert n_exact_signs(d, n_draws=7, sums=sums).tolist() == [-1]
    assert sign_flip_p_values(d, n_draws=8, rng=rng, sums=sums).tolist() == [oracle.sign_flip_exact([0.3, 0.2, 0.1])]


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


# ------------------------------------------------------- weighted sums of columns


def test_sums_of_columns_against_their_own_column():
    """A hypothesis on a weighted sum is that on the column which is the sum, with the same signs."""
    d = np.random.default_rng(9).normal(0.1, 1, (30, 4))
    sums = [[(0, 1.0)], [(1, 1.0), (0, -1.0)], [(3, 1.0), (2, -1.0), (1, -1.0), (0, 1.0)], [(2, 0.25), (3, 0.5)]]
    found = sign_flip_p_values(d, n_draws=2000, rng=np.random.default_rng(1), sums=sums)
    for p, one in zip(found, sums, strict=True):
        assert p == p_value(sum(weight * d[:, column] for column, weight in one), n_draws=2000, seed=1)


def test_sums_of_few_patients_against_enumeration():
    d = np.random.default_rng(10).normal(size=(8, 3))
    sums = [[(0, 1.0), (1, -1.0)], [(0, 0.5), (1, -0.25), (2, 0.75)]]
    found = sign_flip_p_values(d, n_draws=256, rng=np.random.default_rng(1), sums=sums)
    for p, one in zip(found, sums, strict=True):
        column = sum(weight * d[:, c] for c, weight in one)
        assert p == pytest.approx(oracle.sign_flip_exact(column.tolist()), abs=1e-15)


def test_a_column_less_itself_has_p_1():
    d = np.random.default_rng(11).normal(1, 1, (50, 1))
    assert sign_flip_p_values(d, n_draws=500, rng=np.random.default_rng(1), sums=[[(0, 1.0), (0, -1.0)]]) == 1


# ------------------------------------------------------------------------ max-T


def max_t(d, *, n_draws=4096, seed=0):
    return max_t_p_values(np.asarray(d, dtype=float), n_draws=n_draws, rng=np.random.default_rng(seed))


def max_t_by_enumeration(d):
    """Step-down: each statistic against the largest of those no larger, over all sign patterns."""
    d = np.asarray(d, dtype=float)
    n, m = d.shape
    scale = [math.sqrt(math.fsum(d[:, j] ** 2)) for j in range(m)]
    observed = [abs(math.fsum(d[:, j])) / scale[j] for j in range(m)]
    order = sorted(range(m), key=lambda j: -observed[j])
    hits = [0] * m
    for signs in itertools.product((-1, 1), repeat=n):
        t = [abs(math.fsum(s * x for s, x in zip(signs, d[:, j], strict=True))) / scale[j] for j in range(m)]
        for step, j in enumerate(order):
            hits[step] += max(t[other] for other in order[step:]) >= observed[j] - 1e-9
    found, largest = [0.0] * m, 0.0
    for step, j in enumerate(order):
        largest = max(largest, hits[step] / 2**n)
        found[j] = largest
    return found


@pytest.mark.parametrize("seed", range(4))
def test_max_t_against_enumeration(seed):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(9, 1))
    d = rng.normal(0.5, 1, (9, 4)) + seed * shared * [1, 1, -1, 0]
    d[:, 3] = d[:, 3].round()  # ties
    assert max_t(d) == pytest.approx(max_t_by_enumeration(d), abs=1e-15)


def test_max_t_of_few_who_contribute_among_many_against_enumeration():
    """Signs of nine patients are shared by hypotheses that other six, seven and eight of them contribute to."""
    rng = np.random.default_rng(22)
    few = rng.normal(0.6, 1, (9, 3))
    few[:3, 0] = few[4:6, 1] = few[8, 2] = 0
    d = np.zeros((200, 3))
    d[rng.choice(200, 9, replace=False)] = few
    found = max_t(d, n_draws=512)
    assert found == pytest.approx(max_t_by_enumeration(few), abs=1e-15)
    assert (found >= sign_flip_p_values(d, n_draws=512, rng=rng)).all()
    assert (max_t(d, n_draws=511) != found).any()  # signs of all 200 are drawn, and shared again


def test_max_t_of_one_hypothesis_is_the_sign_flip_test():
    for n, n_draws in ((9, 512), (40, 2000)):
        d = np.random.default_rng(n).normal(0.3, 1, n)
        assert max_t(d[:, None], n_draws=n_draws)[0] == p_value(d, n_draws=n_draws)


def test_max_t_of_copies_needs_no_adjustment():
    """Twenty times the same hypothesis, at twenty scales and both signs, is one."""
    d = np.random.default_rng(12).normal(0.4, 1, (60, 1))
    found = max_t(d * np.linspace(-3, 4, 20), n_draws=3000)
    assert set(found) == {p_value(d[:, 0], n_draws=3000)}


def test_max_t_is_no_larger_than_holm_where_hypotheses_depend_on_one_another():
    rng = np.random.default_rng(13)
    for rho, most in ((0.5, 1), (0.9, 0.8), (0.99, 0.4)):
        shared = rng.normal(size=(80, 1))
        d = math.sqrt(rho) * shared + math.sqrt(1 - rho) * rng.normal(size=(80, 12)) + 0.22
        raw = sign_flip_p_values(d, n_draws=4000, rng=np.random.default_rng(1))
        found, holm = max_t(d, n_draws=4000, seed=1), np.array(oracle.holm(raw.tolist()))
        assert (found >= raw).all()
        assert (found <= holm + 4 * np.sqrt(holm * (1 - holm) / 4000)).all()
        assert found.sum() < most * holm.sum()


def test_max_t_keeps_the_order_of_studentised_sums():
    d = np.random.default_rng(14).normal(0.2, 1, (50, 9))
    t = np.abs(d.sum(axis=0)) / np.sqrt((d**2).sum(axis=0))
    assert (np.diff(max_t(d, n_draws=999)[np.argsort(-t)]) >= 0).all()


def test_max_t_does_not_depend_on_the_order_of_hypotheses_or_their_scale():
    d = np.random.default_rng(15).normal(0.3, 1, (30, 5))
    found = max_t(d, n_draws=999)
    order = [3, 1, 4, 0, 2]
    np.testing.assert_array_equal(max_t(d[:, order] * [1e-9, 2, 3, -1, 1e9], n_draws=999), found[order])


def test_a_hypothesis_without_difference_neither_rejects_nor_costs():
    d = np.random.default_rng(16).normal(0.5, 1, (30, 2))
    found = max_t(np.column_stack([np.zeros(30), d, np.zeros(30)]), n_draws=999)
    assert found.tolist() == [1, *max_t(d, n_draws=999), 1]


def test_max_t_holds_the_familywise_level():
    """200 studies of 10 true, dependent hypotheses: 5 % of them reject any, give or take 3 binomial errors."""
    rng = np.random.default_rng(17)
    rejected = 0
    for study in range(200):
        d = rng.normal(size=(25, 1)) + rng.normal(size=(25, 10))
        rejected += max_t(d, n_draws=400, seed=study).min() <= 0.05
    assert rejected / 200 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


# --------------------------------------------------------------- several sums


def joint(contributions, *, n_draws=4096, seed=0):
    (one,) = joint_sign_flips(np.asarray(contributions)[None], n_draws=n_draws, rng=np.random.default_rng(seed))
    return one


@pytest.mark.parametrize("n_sums", [1, 2, 3])
@pytest.mark.parametrize("n_patients", [4, 7, 10])
def test_several_sums_of_few_patients_against_enumeration(n_sums, n_patients):
    d = np.random.default_rng([20, n_sums, n_patients]).normal(0.4, 1, size=(n_sums, n_patients))
    within = np.linalg.inv(d @ d.T)
    t2 = [(d @ signs) @ within @ (d @ signs) for signs in itertools.product([1, -1], repeat=n_patients)]
    found = joint(d)
    assert found.statistic == pytest.approx(t2[0], rel=1e-9)
    assert found.p_value == np.mean(np.array(t2) >= t2[0] * (1 - 1e-9))
    assert found.n_exact == n_patients


def test_random_patterns_of_several_sums_against_enumeration():
    d = np.random.default_rng(21).normal(0.3, 1, size=(2, 12))
    exact, drawn = joint(d).p_value, joint(d, n_draws=4000)
    assert drawn.n_exact == -1
    assert drawn.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))
    assert drawn.p_value * 4001 == pytest.approx(round(drawn.p_value * 4001))


@pytest.mark.parametrize("n_draws", [300, 4096])
def test_one_sum_is_the_test_of_that_sum(n_draws):
    """Also where many patterns tie with the sample's, and where patterns are drawn for some hypotheses alone."""
    rng = np.random.default_rng(22)
    d = np.concatenate([rng.integers(-1, 2, size=(20, 9)), np.zeros((20, 50))], axis=1).astype(float)
    d[10:, 9:] = rng.integers(-1, 2, size=(10, 50))
    alone = sign_flip_p_values(d.T, n_draws=n_draws, rng=np.random.default_rng(3))
    together = joint_sign_flips(d[:, None], n_draws=n_draws, rng=np.random.default_rng(3))
    np.testing.assert_allclose([one.p_value for one in together], alone, rtol=1e-12)
    counted = n_exact_signs(d.T, n_draws=n_draws)
    assert [one.n_exact for one in together] == counted.tolist()
    assert len(set(counted.tolist())) > 2


def test_how_several_sums_are_combined_does_not_matter():
    """Nor their units, nor one that follows from the others, which counts once."""
    rng = np.random.default_rng(23)
    d = rng.normal(0.2, 1, size=(3, 40))
    expected = joint(d)
    for mixed in (rng.normal(size=(3, 3)) @ d, d * [[1e-9], [1], [1e9]], np.vstack([d, d[0] - 2 * d[1], d[2]])):
        found = joint(mixed)
        assert (found.statistic, found.p_value) == (pytest.approx(expected.statistic, rel=1e-6), expected.p_value)


def test_sums_that_nobody_contributes_to_are_no_evidence():
    d = np.random.default_rng(24).normal(0.5, 1, size=(1, 30))
    with_nothing, alone = joint(np.vstack([d, np.zeros((1, 30))])), joint(d)
    assert with_nothing.statistic == pytest.approx(alone.statistic, rel=1e-12)
    assert with_nothing.p_value == alone.p_value
    nothing = joint(np.zeros((2, 30)))
    assert (nothing.statistic, nothing.p_value, nothing.n_exact) == (0, 1, 0)


def test_several_sums_reject_true_nulls_as_often_as_they_may():
    """Three gaps that share a side, of skewed and unequal patients: at most 5 % of 2,000 ± 1 %."""
    rng = np.random.default_rng(25)
    sizes = rng.gamma(0.7, size=(2000, 4, 25)) * rng.choice([-1, 1], size=(2000, 4, 25))
    found = joint_sign_flips(sizes[:, 1:] - sizes[:, :1], n_draws=199, rng=rng)
    assert 0.035 < np.mean([one.p_value <= 0.05 for one in found]) < 0.06
