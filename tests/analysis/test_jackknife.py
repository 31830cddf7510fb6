"""Leaving out one patient at a time, against subsets of the images."""

import numpy as np
import pytest

from cxrobust.analysis import jackknife
from cxrobust.analysis.jackknife import jackknife_contributions, leave_one_out
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.resampling import LANES

from . import oracle
from .made import make_cell, random_cell

NAMES = ("auroc", "average-precision", "accuracy", "brier", "ece", "aurc", "coverage-at-risk-5")


def without(cell, patient):
    kept = cell.patients != patient
    return make_cell(
        cell.probabilities[kept],
        cell.labels[kept],
        cell.patients[kept],
        n_patients=cell.n_patients,
        threshold=cell.threshold,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_patients", [5, LANES, LANES + 6])
def test_every_metric_against_the_images_that_are_left(name, n_patients):
    cell = random_cell(np.random.default_rng(1), n_patients=n_patients, n_images=3 * n_patients, levels=20)
    found = leave_one_out(lambda counts: metric[name].resample([cell], counts)[0], n_patients)
    expected = [metric[name].value(without(cell, patient)) for patient in range(n_patients)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_several_cells_at_once_and_a_bound_on_memory(monkeypatch):
    cells = [random_cell(np.random.default_rng(seed), n_patients=150, n_images=200) for seed in (1, 2)]
    one = metric["auroc"]
    together = leave_one_out(lambda counts: one.resample(cells, counts), 150)
    sizes = []

    def alone(counts):
        sizes.append(counts.nbytes)
        return one.resample(cells, counts)

    monkeypatch.setattr(jackknife, "BYTES_AT_ONCE", 150 * LANES)
    np.testing.assert_array_equal(leave_one_out(alone, 150), together)
    assert together.shape == (2, 150)
    assert sizes == [150 * LANES] * 3


def test_nothing_is_left_without_the_only_patient_who_is_positive():
    cell = make_cell([0.1, 0.4, 0.8], [0, 0, 1])
    found = leave_one_out(lambda counts: metric["auroc"].resample([cell], counts)[0], 3)
    np.testing.assert_array_equal(found, [1, 1, np.nan])


def test_contributions_to_a_mean_are_each_patients_part():
    """With one image each, the jackknife splits a mean exactly."""
    cell = random_cell(np.random.default_rng(3), n_patients=30, n_images=30)
    one = metric["brier"]
    left = leave_one_out(lambda counts: one.resample([cell], counts)[0], 30)
    found = jackknife_contributions(one.value(cell), left, np.full(30, 1 / 30))
    np.testing.assert_allclose(found, one.contributions(cell), atol=1e-12)


def test_squared_influences_against_the_jackknife_variance():
    cell = random_cell(np.random.default_rng(4), n_patients=20, n_images=60)
    left = leave_one_out(lambda counts: metric["auroc"].resample([cell], counts)[0], 20)
    influence = jackknife_contributions(0.0, left, np.full(20, 1 / 20))
    p, y = cell.probabilities.tolist(), cell.labels.tolist()

    def statistic(kept):
        return oracle.auroc(p, y, kept.astype(int))

    expected = oracle.jackknife_variance(statistic, cell.patients)
    assert (influence**2).sum() * 20 / 19 == pytest.approx(expected, rel=1e-9)


def test_who_has_no_share_contributes_nothing_and_a_single_patient_everything():
    np.testing.assert_array_equal(jackknife_contributions(0.7, np.array([0.7, np.nan]), np.array([0.0, 1.0])), [0, 0.7])
