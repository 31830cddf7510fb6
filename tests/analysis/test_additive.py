"""Metrics of sums over images, against hand arithmetic, scikit-learn, netcal and explicit duplication of images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss

from cxrobust.analysis import metrics
from cxrobust.analysis.metrics import measure, metric
from cxrobust.analysis.metrics.ece import N_BINS, bin_index
from cxrobust.analysis.resampling import LANES, patient_counts, resampled_sums

from . import oracle
from .made import make_cell, random_cell

ACCURACY, CONFIDENCE, BRIER, ECE = (metric[name] for name in ("accuracy", "confidence", "brier", "ece"))
EDGES = [float(edge) for edge in np.linspace(0, 1, N_BINS + 1)]
BELOW_EDGES = [float(np.nextafter(edge, 0)) for edge in EDGES[1:]]

probability = st.one_of(st.floats(0, 1), st.sampled_from([*EDGES, *BELOW_EDGES, 0.5]))
images = st.lists(st.tuples(probability, st.integers(0, 1), st.integers(0, 4)), min_size=1, max_size=20)


def test_by_hand():
    cell = make_cell([0.0, 0.2, 0.7, 0.7, 1.0], [0, 1, 1, 0, 1], threshold=0.7)
    assert ACCURACY.value(cell) == pytest.approx((1 + 0 + 1 + 0 + 1) / 5)
    assert CONFIDENCE.value(cell) == pytest.approx((1.0 + 0.8 + 0.7 + 0.7 + 1.0) / 5)
    assert BRIER.value(cell) == pytest.approx((0 + 0.64 + 0.09 + 0.49 + 0) / 5)
    assert ECE.value(cell) == pytest.approx((0 + 0.8 + abs(0.7 + 0.7 - 1) + 0) / 5)


def test_a_probability_at_the_threshold_is_positive():
    cell = make_cell([0.5, 0.5], [1, 0], threshold=0.5)
    assert (ACCURACY.score(cell) == [1, 0]).all()


@pytest.mark.parametrize("levels", [None, 15, 4])
def test_values_against_sklearn(levels):
    cell = random_cell(np.random.default_rng(3), levels=levels, threshold=0.6)
    p, y = cell.probabilities, cell.labels
    assert BRIER.value(cell) == pytest.approx(brier_score_loss(y, p), abs=1e-12)
    assert ACCURACY.value(cell) == pytest.approx(accuracy_score(y, p >= 0.6), abs=1e-12)
    assert CONFIDENCE.value(cell) == pytest.approx(oracle.confidence(p.tolist()), abs=1e-12)


def test_ece_against_netcal(netcal_ece):
    """The same convention: bins [low, high) at the edges that `numpy.linspace` gives, the last bin closed."""
    rng = np.random.default_rng(4)
    drawn = [rng.random(200), rng.beta(0.1, 0.1, 200), np.full(7, 0.4), np.array([0.0, 1.0, 0.0, 1.0])]
    at_edges = [np.array(EDGES), np.array(BELOW_EDGES), np.arange(16) / 15, rng.integers(0, 31, 100) / 30]
    for p in [*drawn, *at_edges, np.concatenate(at_edges)]:
        for y in (rng.integers(0, 2, len(p)), np.zeros(len(p), int), np.ones(len(p), int)):
            assert ECE.value(make_cell(p, y)) == pytest.approx(netcal_ece(p, y), abs=1e-9)


def test_bins_at_every_edge():
    assert bin_index(np.array(EDGES)).tolist() == [*range(15), 14]
    assert bin_index(np.array(BELOW_EDGES)).tolist() == list(range(15))


@given(probability)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_bins_against_comparisons(p):
    assert bin_index(np.array([p]))[0] == oracle.bin_of(p)


@given(images=images, draws=st.lists(st.integers(0, 300), min_size=5, max_size=5), threshold=probability)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_value_resample_and_contributions_against_loops(images, draws, threshold):
    p, y, patients = zip(*images, strict=True)
    cell = make_cell(p, y, patients, n_patients=5, threshold=threshold)
    counts = np.zeros((1, 5, LANES), np.uint16)
    counts[0, :, 7] = draws
    weights = [draws[patient] for patient in patients]
    for one, expected in (
        (ACCURACY, lambda w: oracle.accuracy(p, y, threshold, w)),
        (CONFIDENCE, lambda w: oracle.confidence(p, w)),
        (BRIER, lambda w: oracle.brier(p, y, w)),
        (ECE, lambda w: oracle.ece(p, y, w)),
    ):
        assert one.value(cell) == pytest.approx(expected(None), abs=1e-12)
        found = one.resample([cell], counts)[0]
        assert found[7] == pytest.approx(expected(weights), abs=1e-12, nan_ok=True)
        assert np.isnan(np.delete(found, 7)).all()  # nobody is drawn in the other lanes
        assert one.contributions(cell).sum() == pytest.approx(one.value(cell), abs=1e-12)


def test_several_cells_in_several_blocks_of_lanes_are_resampled_as_each_alone():
    rng = np.random.default_rng(5)
    cells = [random_cell(rng, levels=levels, threshold=0.45) for levels in (None, 10, 3)]
    counts = patient_counts(12, n_resamples=2 * LANES, rng=rng)
    for one in (ACCURACY, CONFIDENCE, BRIER, ECE):
        together = one.resample(cells, counts)
        assert together.shape == (3, 2 * LANES)
        for cell, found in zip(cells, together, strict=True):
            alone = np.concatenate([one.resample([cell], block[None])[0] for block in counts])
            np.testing.assert_allclose(found, alone, rtol=0, atol=1e-12)


def test_contributions_of_means_are_each_patients_part_of_the_sum():
    cell = make_cell([0.2, 0.9, 0.6, 0.1], [0, 1, 0, 1], [0, 0, 2, 3], n_patients=5)
    np.testing.assert_allclose(BRIER.contributions(cell), [0.05 / 4, 0, 0.36 / 4, 0.81 / 4, 0], atol=1e-15)
    np.testing.assert_allclose(ACCURACY.contributions(cell), [2 / 4, 0, 0, 0, 0], atol=1e-15)
    np.testing.assert_allclose(CONFIDENCE.contributions(cell), [1.7 / 4, 0, 0.6 / 4, 0.9 / 4, 0], atol=1e-15)


def test_contributions_of_ece_by_hand():
    """The bin of 0.2 holds 0.2 − 0 and 0.2 − 1, a sum of −0.6; that of 0.9 holds 0.9 − 0."""
    cell = make_cell([0.2, 0.2, 0.9], [0, 1, 0], [0, 1, 1], n_patients=2)
    np.testing.assert_allclose(ECE.contributions(cell), [-0.2 / 3, (0.8 + 0.9) / 3], atol=1e-15)


def test_a_resample_without_a_labelled_image_is_undefined():
    cell = make_cell([0.3, 0.4], [0, 1], [1, 1], n_patients=3)
    counts = np.zeros((1, 3, LANES), np.uint8)
    counts[0, 0] = 3
    counts[0, :, 0] = 1
    for one in (ACCURACY, CONFIDENCE, BRIER, ECE):
        found = one.resample([cell], counts)[0]
        assert np.isfinite(found[0])
        assert np.isnan(found[1:]).all()


def test_undefined_says_why():
    empty = make_cell([], [], [], n_patients=2)
    for one in (ACCURACY, CONFIDENCE, BRIER, ECE):
        assert one.undefined(empty) == "no labelled image"
        assert one.undefined(make_cell([0.3], [1])) is None


def test_sums_in_parts_against_each_block_alone():
    """Blocks are taken a few at a time; what is yielded covers every lane once."""
    rng = np.random.default_rng(6)
    counts = patient_counts(3, n_resamples=2 * LANES, rng=rng)
    sums = rng.normal(size=(3, 140_000))  # so many statistics that one block is a step
    parts = list(resampled_sums(sums, counts))
    assert [(lanes.start, lanes.stop) for lanes, _ in parts] == [(0, LANES), (LANES, 2 * LANES)]
    for (_, found), block in zip(parts, counts, strict=True):
        assert np.abs(found - block.T.astype(float) @ sums).max() < 1e-12


@pytest.mark.parametrize("name", ["brier", "calibration-slope", "auroc", "aurc", "ece-smooth"])
def test_counts_that_do_not_lie_in_a_row_are_counted_as_those_that_do(name):
    """A resample's counts may stand in a row of memory, and not a patient's."""
    cell = random_cell(np.random.default_rng(7))
    counts = patient_counts(12, n_resamples=2 * LANES, rng=np.random.default_rng(8))
    turned = np.ascontiguousarray(counts.transpose(0, 2, 1)).transpose(0, 2, 1)
    assert not turned.flags.c_contiguous
    found, expected = (metric[name].resample([cell], some) for some in (turned, counts))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("bytes_at_once", [1, 2**28])
@pytest.mark.parametrize("name", ["ece", "mce", "brier"])
def test_dense_and_sparse_tables_measured_together_against_products_of_each(monkeypatch, name, bytes_at_once):
    """One patient's images fill few bins, a hundred of each patient most of them."""
    monkeypatch.setattr(metrics, "BYTES_AT_ONCE", bytes_at_once)
    rng = np.random.default_rng(6)
    cells = [random_cell(rng, n_images=n) for n in (40, 1200, 12, 1100)]
    counts = patient_counts(12, n_resamples=100, rng=rng)
    found = measure([metric[name]], cells, counts, defined=np.ones((1, len(cells)), np.bool_))
    for cell, (one,) in zip(cells, found, strict=True):
        assert one.value == pytest.approx(metric[name].value(cell), abs=1e-14)
        sums = np.concatenate([block.T.astype(float) for block in counts]) @ metric[name].sums(cell)
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(one.resampled, metric[name].finish(sums), atol=1e-12)
        np.testing.assert_allclose(one.contributions, metric[name].contributions(cell), atol=1e-14)
