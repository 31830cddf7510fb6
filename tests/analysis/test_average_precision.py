"""Average precision: value, every resample and contributions, against scikit-learn, loops and the bootstrap."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from cxrobust.analysis.metrics import metric
from cxrobust.analysis.resampling import LANES, patient_counts

from .made import duplicated, make_cell, odd_cells, random_cell, weights_of

AP = metric["average-precision"]
ONE_CLASS_IN_SOME = {"rare-positive", "rare-negative", "three-images", "patients-without-this-label"}


def sklearn_ap(cell, weights):
    """scikit-learn's weighted average precision; NaN where images of one class only have weight."""
    kept = weights > 0
    if len(set(cell.labels[kept])) < 2:
        return math.nan
    return float(average_precision_score(cell.labels[kept], cell.probabilities[kept], sample_weight=weights[kept]))


def loop_ap(p, y, weights):
    """Mean over positives of the share of positives among images that score no lower, in exact fractions."""
    images = list(zip(p, y, weights, strict=True))
    n_positive = sum(w for _, b, w in images if b == 1)
    if n_positive in {0, sum(weights)}:
        return math.nan
    total = Fraction(0)
    for at, b, w in images:
        if b == 1 and w > 0:
            total += w * Fraction(
                sum(v for a, c, v in images if a >= at and c == 1), sum(v for a, _, v in images if a >= at)
            )
    return float(total / n_positive)


@pytest.mark.parametrize(("name", "cell"), list(odd_cells()), ids=[name for name, _ in odd_cells()])
def test_every_resample_against_sklearn(name, cell):
    counts = patient_counts(cell.n_patients, n_resamples=2 * LANES, rng=np.random.default_rng(1))
    resampled = AP.resample([cell], counts)[0]
    expected = [sklearn_ap(cell, weights_of(counts, cell.patients, r)) for r in range(2 * LANES)]
    np.testing.assert_allclose(resampled, expected, rtol=0, atol=1e-12, equal_nan=True)
    assert AP.value(cell) == pytest.approx(sklearn_ap(cell, np.ones(len(cell.labels))), abs=1e-12)
    assert np.isnan(resampled).any() == (name in ONE_CLASS_IN_SOME)


def test_a_resample_against_sklearn_on_duplicated_images():
    cell = random_cell(np.random.default_rng(3), levels=6)
    counts = patient_counts(cell.n_patients, n_resamples=LANES, rng=np.random.default_rng(1))
    resampled = AP.resample([cell], counts)[0]
    for r in range(LANES):
        rows = duplicated(counts, cell.patients, r)
        expected = average_precision_score(cell.labels[rows], cell.probabilities[rows])
        assert resampled[r] == pytest.approx(expected, abs=1e-12)


def test_a_patient_drawn_more_than_255_times_against_sklearn():
    cell = random_cell(np.random.default_rng(5), n_patients=4, n_images=20, levels=6)
    counts = np.random.default_rng(6).integers(0, 60_000, (1, 4, LANES)).astype(np.uint16)
    assert counts.max() > 255
    expected = [sklearn_ap(cell, weights_of(counts, cell.patients, r)) for r in range(LANES)]
    np.testing.assert_allclose(AP.resample([cell], counts)[0], expected, rtol=0, atol=1e-12)


def test_each_cell_among_several_is_as_alone():
    rng = np.random.default_rng(7)
    cells = [random_cell(rng, levels=levels) for levels in (None, 3, 8)]
    counts = patient_counts(12, n_resamples=5 * LANES, rng=rng)
    together = AP.resample(cells, counts)
    for cell, row in zip(cells, together, strict=True):
        assert (AP.resample([cell], counts)[0] == row).all()


scores = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
images = st.lists(st.tuples(scores, st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=25)


@given(images=images, draws=st.lists(st.integers(0, 300), min_size=6, max_size=6))
def test_value_and_a_resample_against_loops(images, draws):
    p, y, patients = zip(*images, strict=True)
    cell = make_cell(p, y, patients, n_patients=6)
    counts = np.zeros((1, 6, LANES), np.uint16)
    counts[0, :, 3] = draws
    found = AP.resample([cell], counts)[0]
    assert found[3] == pytest.approx(loop_ap(p, y, [draws[patient] for patient in patients]), abs=1e-12, nan_ok=True)
    assert np.isnan(np.delete(found, 3)).all()
    assert (AP.undefined(cell) is None) == (len(set(y)) == 2)
    if len(set(y)) == 2:
        assert AP.value(cell) == pytest.approx(loop_ap(p, y, [1] * len(p)), abs=1e-12)
        assert AP.contributions(cell).sum() == pytest.approx(AP.value(cell), abs=1e-12)


def influence(cell):
    """Contributions less each patient's part of the positives times the value."""
    is_positive = cell.labels == 1
    return AP.contributions(cell) - AP.value(cell) * cell.by_patient(is_positive / is_positive.sum())


@pytest.mark.parametrize("levels", [None, 5])
def test_influence_against_a_slightly_heavier_patient(levels):
    """The rate at which scikit-learn's value changes with the weight of a patient's images."""
    cell, step = random_cell(np.random.default_rng(9), levels=levels), 1e-5
    for patient in range(cell.n_patients):
        tilt = step * (cell.patients == patient)
        rate = (sklearn_ap(cell, 1 + tilt) - sklearn_ap(cell, 1 - tilt)) / (2 * step)
        assert influence(cell)[patient] == pytest.approx(rate, abs=1e-9)
    assert influence(cell).sum() == pytest.approx(0, abs=1e-12)


def test_contributions_by_hand():
    """From the top: positive (precision 1), negative, positive (2/3). S = 2; the last has N = 3 and T/N = 2/3."""
    found = AP.contributions(make_cell([0.9, 0.5, 0.1], [1, 0, 1]))
    first = (1 + (1 - 1) / 1 + (1 - 2 / 3) / 3) / 2
    second = (0 + (0 - 2 / 3) / 3) / 2
    third = (2 / 3 + (1 - 2 / 3) / 3) / 2
    np.testing.assert_allclose(found, [first, second, third], atol=1e-15)


def test_variance_of_contributions_against_the_bootstrap():
    rng = np.random.default_rng(12)
    patients = np.repeat(np.arange(150), rng.integers(1, 5, 150))
    y = rng.random(len(patients)) < 0.3
    p = (rng.random(150)[patients] + rng.random(len(patients)) + 0.6 * y) / 2.6
    cell = make_cell(p, y, patients)
    counts = patient_counts(cell.n_patients, n_resamples=4096, rng=rng)
    bootstrap = AP.resample([cell], counts)[0].var(ddof=1)
    assert (influence(cell) ** 2).sum() == pytest.approx(bootstrap, rel=0.12)  # relative standard error 2.2 %


def test_resamples_are_undefined_where_cells_are():
    """One patient has the positive images, another the negative ones; scikit-learn calls positives alone 1."""
    cell = make_cell([0.1, 0.4, 0.3, 0.9], [0, 1, 0, 1], [0, 1, 0, 1])
    counts = np.zeros((1, 2, LANES), np.uint8)
    counts[0, :, :3] = [[2, 0, 1], [0, 2, 1]]
    found = AP.resample([cell], counts)[0]
    for lane in range(4):
        drawn = duplicated(counts, cell.patients, lane)
        alone = make_cell(cell.probabilities[drawn], cell.labels[drawn], cell.patients[drawn], n_patients=2)
        assert np.isnan(found[lane]) == (AP.undefined(alone) is not None)
    assert found[2] == AP.value(cell)


def test_perfect_constant_and_undefined():
    assert AP.value(make_cell([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])) == 1
    assert AP.value(make_cell([0.5] * 4, [0, 0, 0, 1])) == 0.25
    assert AP.undefined(make_cell([0.1, 0.2], [0, 0])) == "one class only"
    assert AP.undefined(make_cell([0.1, 0.2], [1, 1])) == "one class only"
    assert AP.undefined(make_cell([], [], [], n_patients=3)) == "no labelled image"
