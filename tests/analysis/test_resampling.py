"""The matrix of counts: what a patient-level resample is."""

import numpy as np
import pytest

from cxrobust.analysis.resampling import LANES, patient_counts, resampled_sums


class AlwaysTheFirst:
    """A generator whose every draw is patient 0."""

    def integers(self, low, high, shape):
        return np.zeros(shape, dtype=np.int64)


@pytest.mark.parametrize("n_patients", [1, 2, 13])
@pytest.mark.parametrize("n_resamples", [1, LANES, LANES + 1])
def test_each_resample_draws_as_many_patients_as_there_are(n_patients, n_resamples):
    counts = patient_counts(n_patients, n_resamples=n_resamples, rng=np.random.default_rng(0))
    totals = counts.sum(axis=1).ravel()
    assert counts.shape == (-(-n_resamples // LANES), n_patients, LANES)
    assert (totals[:n_resamples] == n_patients).all()
    assert (totals[n_resamples:] == 0).all()


def test_one_patient_against_binomial_moments():
    """A count is binomial(n, 1/n): mean 1, variance 1 − 1/n; two counts have covariance −1/n."""
    n = 8
    counts = patient_counts(n, n_resamples=16_384, rng=np.random.default_rng(1)).transpose(0, 2, 1).reshape(-1, n)
    covariance = np.cov(counts.astype(float).T)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.035)  # 5 standard errors of √(7/8 / 16,384)
    np.testing.assert_allclose(np.diag(covariance), 1 - 1 / n, atol=0.06)
    np.testing.assert_allclose(covariance[~np.eye(n, dtype=bool)], -1 / n, atol=0.04)


def test_a_patient_drawn_more_than_255_times_is_not_wrapped():
    counts = patient_counts(300, n_resamples=LANES, rng=AlwaysTheFirst())
    assert counts.dtype == np.uint16
    assert (counts[0, 0] == 300).all()
    assert counts[0, 1:].sum() == 0


def test_few_draws_take_one_byte_and_follow_the_generator():
    first, again, other = (patient_counts(9, n_resamples=64, rng=np.random.default_rng(seed)) for seed in (2, 2, 3))
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert (first != other).any()


def test_more_resamples_begin_with_the_fewer():
    few, many = (patient_counts(9, n_resamples=n, rng=np.random.default_rng(4)) for n in (LANES, 3 * LANES))
    assert (few[0] == many[0]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("whole", [0, 1, 3, 5])
def test_sums_against_a_product_of_matrices(dtype, whole):
    """Whole numbers, negative and past 32 bits too, and others; patients without any; blocks in several goes."""
    rng = np.random.default_rng(whole)
    sums = rng.normal(size=(90, 5)) * (rng.random((90, 5)) < 0.5)
    sums[:, :whole] = rng.integers(-40, 40, (90, whole))
    sums[::7] = 0
    if whole == 5:
        sums[3, 4] = 2.0**31
    counts = rng.integers(0, np.iinfo(dtype).max, (3, 90, LANES), endpoint=True).astype(dtype)
    expected = np.einsum("bpl,ps->bls", counts.astype(float), sums).reshape(-1, 5)
    for lanes, found in resampled_sums(sums, counts):
        np.testing.assert_array_equal(found[:, :whole], expected[lanes, :whole])
        np.testing.assert_allclose(found, expected[lanes], rtol=1e-12, atol=1e-9)


def test_a_number_that_is_not_whole_among_late_patients_counts():
    sums = np.ones((200, 2))
    sums[150, 0] = 0.5
    [(_, found)] = resampled_sums(sums, np.ones((1, 200, LANES), np.uint8))
    assert found[0].tolist() == [199.5, 200]


@pytest.mark.parametrize(("heaviest", "most"), [(32_767, 1), (128, 255), (129, 255), (-32_767, 1), (1, 255)])
def test_whole_sums_at_the_edges_of_what_16_bits_hold(heaviest, most):
    """So many of them that they do not fit in all: they are added up in parts."""
    sums = np.full((300, 1), float(heaviest))
    sums[::2] = np.sign(heaviest)
    counts = np.full((1, 300, LANES), most, np.uint8)
    [(_, found)] = resampled_sums(sums, counts)
    assert (found == most * sums.sum()).all()


def test_sums_that_are_known_are_left_at_0():
    """Of two cells' statistics side by side, whole ones and others, the last of each."""
    sums = np.random.default_rng(3).normal(size=(20, 6))
    sums[:, 2::3] = 1
    counts = patient_counts(20, n_resamples=LANES, rng=np.random.default_rng(4))
    [(_, found)], [(_, every)] = resampled_sums(sums, counts, but_last_of=3), resampled_sums(sums, counts)
    assert (found[:, 2::3] == 0).all()
    assert (every[:, 2::3] == 20).all()
    np.testing.assert_array_equal(found[:, [0, 1, 3, 4]], every[:, [0, 1, 3, 4]])


def test_sums_of_many_statistics_side_by_side_are_those_of_each_alone():
    """To the last bit, past how many patients' counts are turned into numbers at once."""
    rng = np.random.default_rng(5)
    sums = rng.normal(size=(301, 70)) * (rng.random((301, 70)) < 0.4)
    sums[:, ::5] = rng.integers(0, 9, (301, 14))
    counts = patient_counts(301, n_resamples=3 * LANES, rng=rng)
    for lanes, found in resampled_sums(sums, counts):
        for column in range(70):
            alone = np.concatenate([one[:, 0] for _, one in resampled_sums(sums[:, [column]], counts)])
            np.testing.assert_array_equal(found[:, column], alone[lanes])
