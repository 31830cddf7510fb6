"""Leaving out one patient at a time, against subsets of the images."""

import numpy as np
import pytest

from cxrobust.analysis.jackknife import jackknife_contributions
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.resampling import LANES

from . import oracle
from .made import each_left_out, random_cell

NAMES = ("auroc", "average-precision", "accuracy", "brier", "ece", "aurc", "coverage-at-risk-5")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_patients", [5, LANES, LANES + 6])
def test_resamples_without_a_patient_against_the_images_that_are_left(name, n_patients):
    cell = random_cell(np.random.default_rng(1), n_patients=n_patients, n_images=3 * n_patients, levels=20)
    counts = np.ones((-(-n_patients // LANES), n_patients, LANES), dtype=np.uint8)
    block, lane = np.divmod(np.arange(n_patients), LANES)
    counts[block, np.arange(n_patients), lane] = 0
    found = metric[name].resample([cell], counts)[0, :n_patients]
    np.testing.assert_allclose(found, each_left_out(metric[name], cell), rtol=0, atol=1e-12)


def test_contributions_to_a_mean_are_each_patients_part():
    """With one image each, the jackknife splits a mean exactly."""
    cell = random_cell(np.random.default_rng(3), n_patients=30, n_images=30)
    one = metric["brier"]
    found = jackknife_contributions(one.value(cell), each_left_out(one, cell), np.full(30, 1 / 30))
    np.testing.assert_allclose(found, one.contributions(cell), atol=1e-12)


def test_squared_influences_against_the_jackknife_variance():
    cell = random_cell(np.random.default_rng(4), n_patients=20, n_images=60)
    influence = jackknife_contributions(0.0, each_left_out(metric["auroc"], cell), np.full(20, 1 / 20))
    p, y = cell.probabilities.tolist(), cell.labels.tolist()

    def statistic(kept):
        return oracle.auroc(p, y, kept.astype(int))

    expected = oracle.jackknife_variance(statistic, cell.patients)
    assert (influence**2).sum() * 20 / 19 == pytest.approx(expected, rel=1e-9)


def test_who_has_no_share_contributes_nothing_and_a_single_patient_everything():
    np.testing.assert_array_equal(jackknife_contributions(0.7, np.array([0.7, np.nan]), np.array([0.0, 1.0])), [0, 0.7])
