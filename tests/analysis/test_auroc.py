"""AUROC: value, every resample and contributions, against scikit-learn, all pairs, DeLong, Obuchowski and jackknife."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cxrobust.analysis.metrics import metric
from cxrobust.analysis.metrics.auroc import placements
from cxrobust.analysis.resampling import LANES, patient_counts

from . import oracle
from .made import make_cell, odd_cells, random_cell, weights_of

AUROC = metric["auroc"]


@pytest.mark.parametrize(("name", "cell"), list(odd_cells()), ids=[name for name, _ in odd_cells()])
def test_every_resample_against_sklearn(name, cell):
    counts = patient_counts(cell.n_patients, n_resamples=2 * LANES, rng=np.random.default_rng(1))
    resampled = AUROC.resample([cell], counts)[0]
    expected = [oracle.sklearn_auroc(cell, weights_of(counts, cell.patients, r)) for r in range(2 * LANES)]
    np.testing.assert_allclose(resampled, expected, rtol=0, atol=1e-12, equal_nan=True)
    assert AUROC.value(cell) == pytest.approx(oracle.sklearn_auroc(cell, np.ones(len(cell.labels))), abs=1e-12)
    assert np.isnan(resampled).any() == (
        name in {"rare-positive", "rare-negative", "three-images", "patients-without-this-label"}
    )


def test_a_patient_drawn_more_than_255_times_against_sklearn():
    cell = random_cell(np.random.default_rng(5), n_patients=4, n_images=20, levels=6)
    counts = np.random.default_rng(6).integers(0, 60_000, (1, 4, LANES)).astype(np.uint16)
    assert counts.max() > 255
    expected = [oracle.sklearn_auroc(cell, weights_of(counts, cell.patients, r)) for r in range(LANES)]
    np.testing.assert_allclose(AUROC.resample([cell], counts)[0], expected, rtol=0, atol=1e-12)


def test_large_counts_are_exact_whole_numbers():
    cell = make_cell([0.1, 0.2, 0.2, 0.9], [0, 0, 1, 1])
    counts = np.broadcast_to(np.array([60_000, 50_000, 40_000, 30_000], np.uint16)[:, None], (4, LANES))[None]
    won = 40_000 * (60_000 + 50_000 / 2) + 30_000 * 110_000
    assert AUROC.resample([cell], np.ascontiguousarray(counts))[0, 0] == won / (70_000 * 110_000)


def test_lanes_beyond_the_resamples_are_undefined():
    cell = random_cell(np.random.default_rng(7))
    counts = patient_counts(cell.n_patients, n_resamples=10, rng=np.random.default_rng(1))
    assert np.isnan(AUROC.resample([cell], counts)[0, 10:]).all()


scores = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
images = st.lists(st.tuples(scores, st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=25)


@given(images=images, draws=st.lists(st.integers(0, 300), min_size=6, max_size=6))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_value_and_a_resample_against_all_pairs(images, draws):
    p, y, patients = zip(*images, strict=True)
    cell = make_cell(p, y, patients, n_patients=6)
    counts = np.zeros((1, 6, LANES), np.uint16)
    counts[0, :, 3] = draws
    weights = [draws[patient] for patient in patients]
    found = AUROC.resample([cell], counts)[0]
    assert found[3] == pytest.approx(oracle.auroc(p, y, weights), abs=1e-12, nan_ok=True)
    assert np.isnan(np.delete(found, 3)).all()
    assert (AUROC.undefined(cell) is None) == (len(set(y)) == 2)
    if len(set(y)) == 2:
        assert AUROC.value(cell) == pytest.approx(oracle.auroc(p, y), abs=1e-12)
        assert AUROC.contributions(cell).sum() == pytest.approx(AUROC.value(cell), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 5])
def test_placements_against_delong_components(levels):
    cell = random_cell(np.random.default_rng(8), levels=levels)
    positive, negative = placements(cell)
    v10, v01 = oracle.components(cell.probabilities.tolist(), cell.labels.tolist())
    np.testing.assert_allclose(positive, v10, atol=1e-12)
    np.testing.assert_allclose(negative, v01, atol=1e-12)


def influence(cell):
    """Contributions less each patient's share of the value."""
    return AUROC.contributions(cell) - AUROC.value(cell) * AUROC.share(cell)


@pytest.mark.parametrize("levels", [None, 5])
def test_contributions_against_an_oracle(levels):
    cell = random_cell(np.random.default_rng(9), levels=levels)
    expected = oracle.auroc_contributions(
        cell.probabilities.tolist(), cell.labels.tolist(), cell.patients.tolist(), cell.n_patients
    )
    np.testing.assert_allclose(AUROC.contributions(cell), expected, atol=1e-12)
    assert influence(cell).sum() == pytest.approx(0, abs=1e-12)


def test_variance_of_contributions_against_obuchowski():
    """Where every patient has both classes, Obuchowski's variance is I / (I − 1) times the squared influences' sum."""
    rng = np.random.default_rng(10)
    patients = np.repeat(np.arange(15), 4)
    cell = make_cell((rng.beta(2, 2, 60) + rng.random(15)[patients]) / 2, [0, 0, 1, 1] * 15, patients)
    expected = oracle.obuchowski_variance(cell.probabilities.tolist(), cell.labels.tolist(), patients.tolist())
    assert 15 / 14 * (influence(cell) ** 2).sum() == pytest.approx(expected, rel=1e-12)


def test_variance_of_contributions_against_delong():
    """With one image a patient: m / (m - 1) times the squares of the positives, and likewise the negatives."""
    cell = random_cell(np.random.default_rng(11), n_patients=50, n_images=50)
    m, n = int((cell.labels == 1).sum()), int((cell.labels == 0).sum())
    squares = influence(cell)[cell.patients] ** 2
    found = m / (m - 1) * squares[cell.labels == 1].sum() + n / (n - 1) * squares[cell.labels == 0].sum()
    p, y = cell.probabilities.tolist(), cell.labels.tolist()
    assert found == pytest.approx(oracle.delong_variance(p, y), rel=1e-12)


def test_clustered_variances_agree_approximately():
    """Influences, Obuchowski 1997, the jackknife over patients and the bootstrap are four routes to one variance."""
    rng = np.random.default_rng(12)
    patients = np.repeat(np.arange(80), rng.integers(1, 6, 80))
    y = (np.arange(80) % 2)[patients] ^ (rng.random(len(patients)) < 0.1)  # a patient's labels are alike, mostly
    cell = make_cell((rng.random(80)[patients] + 0.3 * rng.random(len(patients)) + 0.2 * y) / 2, y, patients)
    p, y, patients = cell.probabilities.tolist(), cell.labels.tolist(), cell.patients.tolist()
    obuchowski = oracle.obuchowski_variance(p, y, patients)
    jackknife = oracle.jackknife_variance(
        lambda kept: roc_auc_score(cell.labels[kept], cell.probabilities[kept]), patients
    )
    counts = patient_counts(cell.n_patients, n_resamples=4096, rng=rng)
    bootstrap = AUROC.resample([cell], counts)[0].var(ddof=1)
    assert obuchowski == pytest.approx(jackknife, rel=0.08)
    assert (influence(cell) ** 2).sum() == pytest.approx(jackknife, rel=0.08)
    assert bootstrap == pytest.approx(jackknife, rel=0.12)  # of 4,096 resamples: relative standard error 2.2 %
    assert jackknife > 1.3 * oracle.delong_variance(p, y)  # images of a patient resemble one another


def test_perfect_reversed_and_empty():
    assert AUROC.value(make_cell([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])) == 1
    assert AUROC.value(make_cell([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1])) == 0
    assert AUROC.undefined(make_cell([0.1, 0.2], [0, 0])) == "one class only"
    assert AUROC.undefined(make_cell([], [], [], n_patients=3)) == "no labelled image"
