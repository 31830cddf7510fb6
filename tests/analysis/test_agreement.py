"""Coefficients of agreement against scikit-learn, published values and brute force, and their intervals."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from cxrobust.analysis.agreement import (
    MISSING,
    agreement_of_all,
    agreement_of_two,
    cohens_kappa,
    coincidences,
    contingencies,
    estimated,
    krippendorffs_alpha,
    share_agreed,
)

KRIPPENDORFF = """
* * * * * 3 4 1 2 1 1 3 3 * 3
1 * 2 1 3 3 4 3 * * * * * * *
* * 2 1 3 4 4 * 2 1 1 3 3 * 4
"""
"""Three observers, fifteen units (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability")."""


def krippendorffs_ratings():
    rows = [[-1 if v == "*" else int(v) - 1 for v in line.split()] for line in KRIPPENDORFF.split("\n") if line]
    return np.array(rows, np.int8).T


def judged(seed, *, n=300, agree=0.6, missing=0.1):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 3, n)
    second = np.where(rng.random(n) < agree, first, rng.integers(0, 3, n))
    ratings = np.stack([first, second], axis=1).astype(np.int8)
    ratings[rng.random((n, 2)) < missing] = MISSING
    return ratings, np.sort(rng.integers(0, n // 3, n))


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_against_scikit_learn(weights):
    ratings, patients = judged(1)
    counts = contingencies(ratings, patients, n_categories=3).sum(axis=0)
    both = (ratings != MISSING).all(axis=1)
    wanted = cohen_kappa_score(*ratings[both].T, labels=[0, 1, 2], weights=None if weights == "none" else weights)
    assert cohens_kappa(counts, weights=weights) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.691), ("interval", 0.811)])
def test_alpha_against_published_values(level, published):
    ratings = krippendorffs_ratings()
    together = coincidences(ratings, np.arange(len(ratings)), n_categories=4).sum(axis=0)
    assert krippendorffs_alpha(together, level=level) == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_against_its_definition_over_pairs_of_values(level):
    ratings = krippendorffs_ratings()
    units = [[v for v in row if v != MISSING] for row in ratings.tolist()]
    units = [unit for unit in units if len(unit) > 1]
    values = [v for unit in units for v in unit]

    def delta(a, b):
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (a - b) ** 2
        low, high = min(a, b), max(a, b)
        between = sum(values.count(g) for g in range(low, high + 1))
        return (between - (values.count(a) + values.count(b)) / 2) ** 2

    observed = sum(sum(delta(a, b) for a, b in permutations(unit, 2)) / (len(unit) - 1) for unit in units) / len(values)
    expected = sum(delta(a, b) for a, b in permutations(values, 2)) / (len(values) * (len(values) - 1))
    together = coincidences(ratings, np.arange(len(ratings)), n_categories=4).sum(axis=0)
    assert krippendorffs_alpha(together, level=level) == pytest.approx(1 - observed / expected, abs=1e-12)


def test_intervals_draw_patients_and_not_units():
    ratings, patients = judged(3, missing=0.0)
    parts = contingencies(ratings, patients, n_categories=3)
    twice = contingencies(np.repeat(ratings, 4, axis=0), np.repeat(patients, 4), n_categories=3)
    one = estimated("kappa", cohens_kappa, parts, n_units=300, n_resamples=640, seed=5)
    same = estimated("kappa", cohens_kappa, twice, n_units=1200, n_resamples=640, seed=5)
    assert (same.ci_low, same.ci_high) == pytest.approx((one.ci_low, one.ci_high))
    rng = np.random.default_rng(0)
    drawn = [cohens_kappa(parts[rng.integers(0, len(parts), len(parts))].sum(axis=0)) for _ in range(4000)]
    assert one.se == pytest.approx(np.std(drawn), rel=0.08)
    assert one.n_patients == len(np.unique(patients))


def test_the_interval_of_kappa_covers_as_often_as_it_says():
    rng = np.random.default_rng(11)
    truth = 0.6  # a copy with probability 0.6, else uniform over three categories
    held = []
    for seed in range(200):
        first = rng.integers(0, 3, 200)
        copied = np.repeat(rng.random(50) < 0.6, 4)  # whole patients agree
        second = np.where(copied, first, rng.integers(0, 3, 200))
        ratings = np.stack([first, second], axis=1).astype(np.int8)
        parts = contingencies(ratings, np.repeat(np.arange(50), 4), n_categories=3)
        one = estimated("kappa", cohens_kappa, parts, n_units=200, n_resamples=320, seed=seed)
        held.append(one.ci_low <= truth <= one.ci_high)
    assert 0.90 <= np.mean(held) <= 0.99


def test_what_is_not_defined_is_said_and_never_a_number():
    same = np.zeros((6, 2), np.int8)
    found = {
        one.coefficient: one for one in agreement_of_two(same, np.arange(6), n_categories=3, n_resamples=64, seed=0)
    }
    assert found["kappa"].estimate is None
    assert found["alpha-nominal"].estimate is None
    assert found["share-agreed"].estimate == 1
    assert found["share-agreed"].ci_low is None  # equal resamples say nothing
    nothing = np.full((4, 2), MISSING, np.int8)
    assert all(
        one.estimate is None for one in agreement_of_two(nothing, np.arange(4), n_categories=3, n_resamples=64, seed=0)
    )
    assert agreement_of_all(nothing, np.arange(4), n_categories=3, n_resamples=64, seed=0) == ()


def test_share_agreed_and_full_disagreement_by_hand():
    counts = np.array([3.0, 1, 0, 0, 2, 0, 1, 0, 3])
    assert share_agreed(counts) == pytest.approx(0.8)
    assert cohens_kappa(np.array([0.0, 5, 5, 0])) == pytest.approx(-1)
