"""The lane kernels: stretches, blocks and threads must not show in what they compute."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrobust.analysis import parallel
from cxrobust.analysis.metrics import metric
from cxrobust.analysis.ranks import last_of_ties, resample_ranked, resampled_auroc
from cxrobust.analysis.resampling import LANES, patient_counts

from . import oracle
from .made import make_cell, random_cell, weights_of

KERNELS = ("auroc", "average-precision", "aurc", "coverage-at-risk-5")


def ascending(cell):
    order = np.argsort(cell.probabilities)
    return cell.patients[order], cell.labels[order] == 1, last_of_ties(cell.probabilities[order])


def auroc(cell, counts):
    return resample_ranked(resampled_auroc, ascending, [cell], counts)[0]


@pytest.mark.parametrize("levels", [None, 500, 40, 1])
@pytest.mark.parametrize(
    ("dtype", "largest"), [(np.uint8, 1), (np.uint8, 9), (np.uint8, 255), (np.uint16, 300), (np.uint16, 65_535)]
)
def test_auroc_over_many_stretches_against_sklearn(dtype, largest, levels):
    """Stretches end where sums could pass the counts' type: 255, 28 or 1 images, 218 or 1; with ties in between."""
    rng = np.random.default_rng(largest)
    cell = random_cell(rng, n_patients=30, n_images=700, levels=levels)
    counts = rng.integers(0, largest, (1, 30, LANES), endpoint=True).astype(dtype)
    counts[0, :, 1] = largest
    found = auroc(cell, counts)
    for lane in (0, 1, 2, LANES - 1):
        expected = oracle.sklearn_auroc(cell, weights_of(counts, cell.patients, lane))
        assert found[lane] == pytest.approx(expected, abs=1e-12)


def test_auroc_of_the_largest_counts_is_exact():
    """All positives outscore all negatives but one, over 8 stretches of one image."""
    counts = np.full((1, 8, LANES), 65_535, np.uint16)
    cell = make_cell(np.arange(8) / 10, [0, 0, 0, 1, 0, 1, 1, 1])
    assert (auroc(cell, counts) == 15 / 16).all()
    few = np.full((1, 254, LANES), 1, np.uint8)
    one_stretch = make_cell(np.arange(254) / 254, [0] * 127 + [1] * 127)
    assert (auroc(one_stretch, few) == 1).all()


scores = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
images = st.lists(st.tuples(scores, st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=40)


@given(images=images, draws=st.lists(st.integers(0, 200), min_size=4, max_size=4))
@settings(max_examples=60)
def test_auroc_against_all_pairs(images, draws):
    p, y, patients = zip(*images, strict=True)
    counts = np.zeros((1, 4, LANES), np.uint8)
    counts[0, :, 5] = draws
    found = auroc(make_cell(p, y, patients, n_patients=4), counts)
    expected = oracle.auroc(p, y, [draws[patient] for patient in patients])
    assert found[5] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert np.isnan(np.delete(found, 5)).all()


@pytest.mark.parametrize("name", KERNELS)
def test_blocks_are_independent(name):
    cell = random_cell(np.random.default_rng(2), n_patients=20, n_images=90, levels=30)
    counts = patient_counts(20, n_resamples=5 * LANES, rng=np.random.default_rng(3))
    together = metric[name].resample([cell], counts)[0]
    apart = np.concatenate([metric[name].resample([cell], counts[block : block + 1])[0] for block in range(5)])
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("cores", [1, 3, 16])
def test_the_number_of_cores_and_cells_does_not_matter(monkeypatch, name, cores):
    cells = [random_cell(np.random.default_rng(seed), n_patients=20, n_images=60) for seed in range(3)]
    counts = patient_counts(20, n_resamples=4 * LANES, rng=np.random.default_rng(3))
    expected = np.stack([metric[name].resample([cell], counts)[0] for cell in cells])
    monkeypatch.setattr(parallel, "CORES", cores)
    np.testing.assert_array_equal(metric[name].resample(cells, counts), expected)
    np.testing.assert_array_equal(metric[name].resample(cells[:1], counts), expected[:1])


@pytest.mark.parametrize("name", KERNELS)
def test_counts_of_two_bytes_give_the_same(name):
    cell = random_cell(np.random.default_rng(4), levels=12)
    counts = patient_counts(cell.n_patients, n_resamples=LANES, rng=np.random.default_rng(3))
    wide = metric[name].resample([cell], counts.astype(np.uint16))
    np.testing.assert_array_equal(metric[name].resample([cell], counts), wide)


@pytest.mark.parametrize("name", KERNELS)
def test_the_order_of_images_does_not_matter(name):
    rng = np.random.default_rng(6)
    cell = random_cell(rng, n_patients=15, n_images=80, levels=10)
    order = rng.permutation(80)
    shuffled = make_cell(cell.probabilities[order], cell.labels[order], cell.patients[order])
    counts = patient_counts(15, n_resamples=LANES, rng=rng)
    one = metric[name]
    np.testing.assert_array_equal(one.resample([shuffled], counts), one.resample([cell], counts))
    np.testing.assert_allclose(one.contributions(shuffled), one.contributions(cell), atol=1e-14)


def test_an_error_in_a_kernel_is_raised():
    def broken(*_):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        resample_ranked(broken, ascending, [make_cell([0.1, 0.2], [0, 1])], np.ones((1, 2, LANES), np.uint8))
