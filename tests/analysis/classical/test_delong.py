"""Variance of AUROCs and contrasts, against pROC, survival, Obuchowski's example and equations, simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cxrobust.analysis.classical.delong import auroc_variance, contrast_test, contrast_variance
from cxrobust.analysis.intervals import Draws, delong

from . import oracle
from .conftest import REFERENCE

SCORES = ["a", "b", "c", "d"]
DIFFERENCES = np.array([1.0, -1.0, -1.0, 1.0])


def scores_of(data):
    return data[SCORES].to_numpy().T


def clustered_null(rng, *, n_patients=40, n_images=5):
    """Two scores with equal AUROC; a patient's images share the label and, mostly, their scores' errors."""
    patients = np.repeat(np.arange(n_patients), n_images)
    labels = (np.arange(n_patients) % 2)[patients]
    first, second = (
        labels + rng.normal(size=n_patients)[patients] + 0.3 * rng.normal(size=len(patients)) for _ in range(2)
    )
    return labels, first, second, patients


def paired_test(labels, first, second, patients=None):
    return contrast_test(labels, np.stack([first, second]), [1, -1], patients)


def interval(labels, scores, weights, patients=None, *, bounds=(-math.inf, math.inf)):
    """The interval of `[analysis] interval = "delong"`; on the logit scale within the bounds of one AUROC."""
    found = contrast_variance(labels, scores, weights, patients)
    unused = np.zeros((1, 2))
    draws = Draws(
        value=np.array([found.estimate]),
        resampled=unused,
        influences=unused,
        normal_se=np.array([found.standard_error]),
        bounds=bounds,
    )
    (one,) = delong(draws, 0.95)
    return one


def test_variance_against_proc(data, r):
    for i, name in enumerate(SCORES):
        found = auroc_variance(data["label"], data[name])
        assert found.estimate == pytest.approx(r["delong_auc"][i], rel=1e-12)
        assert found.variance == pytest.approx(r["delong_var"][i], rel=1e-10)


def test_paired_test_against_proc(data, r):
    found = paired_test(data["label"], data["a"], data["b"])
    assert found.statistic == pytest.approx(r["delong_z"], rel=1e-10)
    assert found.p_value == pytest.approx(r["delong_p"], rel=1e-10)


def test_intervals_against_proc(data, r):
    identity = interval(data["label"], scores_of(data)[:1], [1])
    assert (identity.low, identity.high) == pytest.approx(r["delong_ci_identity"], rel=1e-10)
    on_logit = interval(data["label"], scores_of(data)[:1], [1], bounds=(0, 1))
    assert (on_logit.low, on_logit.high) == pytest.approx(r["delong_ci_logit"], rel=1e-10)
    difference = interval(data["label"], scores_of(data)[:2], [1, -1])
    assert (difference.low, difference.high) == pytest.approx(r["delong_ci_difference"], rel=1e-9)


def test_difference_of_differences_against_proc_matrix(data, r):
    """pROC's variances and covariances, put together as w'Σw in R."""
    found = contrast_variance(data["label"], scores_of(data), DIFFERENCES)
    assert found.estimate == pytest.approx(r["delong_did"], rel=1e-10)
    assert found.variance == pytest.approx(r["delong_did_var"], rel=1e-10)


def test_clustered_variance_against_survival(data, r):
    """survival sums squared influences; where all patients have both classes, Obuchowski's factor is I / (I − 1)."""
    patients = data["patient"]
    both = set(patients[data["label"] == 1]) & set(patients[data["label"] == 0])
    kept = data[patients.isin(both)]
    covariance = np.reshape(r["both_influence_cov"], (4, 4))
    factor = r["both_patients"] / (r["both_patients"] - 1)
    for weights in (*np.eye(4), np.array([1.0, -1, 0, 0]), DIFFERENCES):
        found = contrast_variance(kept["label"], scores_of(kept), weights, kept["patient"])
        assert found.variance == pytest.approx(factor * weights @ covariance @ weights, rel=1e-10)


def test_clustered_variance_of_all_patients_near_survival(data, r):
    """With patients of one class only, Obuchowski's factors are larger than I / (I − 1), not by much."""
    covariance = np.reshape(r["cluster_influence_cov"], (4, 4))
    labels, patients = data["label"], data["patient"]
    n = [patients.nunique(), *(patients[labels == k].nunique() for k in (0, 1))]
    for weights in (*np.eye(4), DIFFERENCES):
        ratio = contrast_variance(labels, scores_of(data), weights, patients).variance / (
            weights @ covariance @ weights
        )
        assert n[0] / (n[0] - 1) <= ratio < 1.3


@pytest.mark.parametrize("weights", [(1, 0, 0, 0), (1, -1, 0, 0), (1, -1, -1, 1), (0.5, 0.5, -0.3, 2)], ids=str)
def test_clustered_variance_against_obuchowski_in_loops(data, weights):
    labels, patients = data["label"].tolist(), data["patient"].tolist()
    scores = scores_of(data)
    expected = oracle.contrast_variance(labels, scores.tolist(), weights, patients)
    found = contrast_variance(labels, scores, weights, patients)
    assert found.variance == pytest.approx(expected, rel=1e-9)
    z = found.estimate / math.sqrt(expected)
    test = contrast_test(labels, scores, weights, patients)
    assert (test.statistic, test.p_value) == pytest.approx((z, oracle.normal_p(z)), rel=1e-6)


def test_clustered_against_obuchowski_1997():
    """MR angiography of the arteries of 36 patients read twice, the data of Obuchowski 1997, table 3, at second hand.

    Data and results are as the Cleveland Clinic prints them in the help of its R functions for clustered ROC curves
    (clusteredROC_help.pdf), from a public transcription that calls them a reproduction of this table. The paper was not
    at hand, so that its page is not known. The 65 arteries with both readings; M = 29 diseased, N = 36 not.
    """
    arteries = pd.read_csv(REFERENCE / "obuchowski_1997.csv")
    labels, patients, scores = arteries["label"], arteries["patient"], arteries[["first", "second"]].to_numpy().T
    s10, s01, s11 = (0.0013151307, 0.0009284122), (0.0022375873, 0.0022598583), (0.0051785478, -0.0005015760)
    s10_both, s01_both, s11_both = 0.0008484357, 0.0019241250, 0.0028648340 - 0.0015136931
    variances = [s10[i] / 29 + s01[i] / 36 + 2 * s11[i] / (29 * 36) for i in (0, 1)]
    covariance = s10_both / 29 + s01_both / 36 + s11_both / (29 * 36)
    for i, (auroc, error) in enumerate([(0.9837, 0.0108), (0.9852, 0.0097)]):
        found = auroc_variance(labels, scores[i], patients)
        assert found.estimate == pytest.approx(auroc, abs=5e-5)
        assert found.standard_error == pytest.approx(error, abs=5e-5)
        assert found.variance == pytest.approx(variances[i], abs=1e-11)
    difference = contrast_variance(labels, scores, [-1, 1], patients)
    assert difference.estimate == pytest.approx(0.0014, abs=5e-5)
    assert difference.standard_error == pytest.approx(0.0066, abs=5e-5)
    assert difference.variance == pytest.approx(sum(variances) - 2 * covariance, abs=1e-11)
    assert contrast_test(labels, scores, [-1, 1], patients).p_value == pytest.approx(0.8271, abs=5e-5)
    one, both = interval(labels, scores[:1], [1], patients), interval(labels, scores, [-1, 1], patients)
    assert (one.low, one.high) == pytest.approx((0.9625, 1.005), abs=5e-4)
    assert (both.low, both.high) == pytest.approx((-0.0115, 0.0143), abs=5e-5)
    assert auroc_variance(labels, scores[0]).standard_error != pytest.approx(0.0108, abs=5e-5)


def test_patients_of_one_class_only_against_obuchowski_in_loops():
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(20), 3)
    labels = (np.arange(20) % 2)[patients]
    scores = np.round(rng.random((2, 60)) + 0.3 * labels, 1)
    expected = oracle.contrast_variance(labels.tolist(), scores.tolist(), (1, -1), patients.tolist())
    assert contrast_variance(labels, scores, [1, -1], patients).variance == pytest.approx(expected, rel=1e-9)


def test_one_image_a_patient_is_delong(data):
    """Obuchowski's factors are then DeLong's m / (m − 1) and n / (n − 1), and there is no other."""
    labels, names = data["label"], np.arange(len(data))[::-1]
    for weights in (np.array([1.0, 0, 0, 0]), DIFFERENCES):
        plain = contrast_variance(labels, scores_of(data), weights)
        clustered = contrast_variance(labels, scores_of(data), weights, names)
        assert clustered.variance == pytest.approx(plain.variance, rel=1e-12)


def test_duplicates_within_patients_change_nothing(data):
    twice = data.loc[np.repeat(data.index, 2)]
    once = contrast_test(data["label"], scores_of(data), DIFFERENCES, data["patient"])
    again = contrast_test(twice["label"], scores_of(twice), DIFFERENCES, twice["patient"])
    assert again.statistic == pytest.approx(once.statistic, rel=1e-10)
    plain = [contrast_test(one["label"], scores_of(one), DIFFERENCES).statistic for one in (data, twice)]
    assert abs(plain[1]) > 1.35 * abs(plain[0])  # the plain test takes copies for evidence


def test_order_monotone_change_and_exchange(data):
    labels, first, second, patients = (data[name].to_numpy() for name in ("label", "a", "b", "patient"))
    expected = paired_test(labels, first, second, patients).statistic
    order = np.random.default_rng(0).permutation(len(labels))
    moved = paired_test(labels[order], first[order], second[order], 5 - patients[order])
    assert moved.statistic == pytest.approx(expected, rel=1e-10)
    assert paired_test(labels, first**3, np.exp(second), patients).statistic == pytest.approx(expected, rel=1e-10)
    assert paired_test(labels, second, first, patients).statistic == pytest.approx(-expected, rel=1e-10)
    assert paired_test(1 - labels, -first, -second, patients).statistic == pytest.approx(expected, rel=1e-10)


def test_rejections_and_coverage_under_a_clustered_null():
    """Obuchowski keeps 5 % and covers 95 %; DeLong, which takes the images for independent, does neither."""
    rng = np.random.default_rng(2)
    truth = float(norm.cdf(1 / math.sqrt(2 * 1.09)))
    rejected, covered, n = np.zeros(2), np.zeros(2), 600
    for _ in range(n):
        labels, first, second, patients = clustered_null(rng)
        for k, clusters in enumerate([patients, None]):
            rejected[k] += paired_test(labels, first, second, clusters).p_value < 0.05
            found = interval(labels, first[None], [1], clusters, bounds=(0, 1))
            covered[k] += found.low <= truth <= found.high
    assert 0.03 < rejected[0] / n < 0.08
    assert rejected[1] / n > 0.25
    assert 0.92 < covered[0] / n < 0.98
    assert covered[1] / n < 0.75


@pytest.mark.parametrize("scores", [[1, 2, 3, 4], [4, 3, 2, 1], [7, 7, 7, 7]], ids=["perfect", "reversed", "constant"])
def test_extremes_have_no_interval(scores):
    found = interval([0, 0, 1, 1], [scores], [1], bounds=(0, 1))
    assert (math.isnan(found.low), math.isnan(found.high)) == (True, True)
    assert found.note == "its estimated variance is 0"


def test_scores_that_order_alike_do_not_differ():
    labels, scores = [0, 1, 0, 1, 1], np.array([0.1, 0.3, 0.5, 0.2, 0.9])
    found = paired_test(labels, scores, scores**2)
    assert (found.statistic, found.p_value) == (0.0, 1.0)
    assert "variance is 0" in found.note
    reverse = contrast_test([0, 0, 1, 1], [[1, 2, 3, 4], [4, 3, 2, 1]], [1, -1])
    assert math.isnan(reverse.p_value)  # 1 against 0, and no variance to judge it by
    four = contrast_variance(labels, [scores, scores, 1 - scores, 1 - scores], DIFFERENCES * [1, 1, -1, -1])
    assert (four.estimate, four.variance) == (pytest.approx(0, abs=1e-12), 0.0)


@pytest.mark.parametrize(
    ("labels", "clusters", "note"),
    [
        ([1, 1, 1, 1], None, "one class only"),
        ([0, 0, 0, 0], [0, 0, 1, 1], "one class only"),
        ([1, 0, 0, 0], None, "one image only is positive"),
        ([1, 1, 0, 0], [0, 0, 1, 2], "one patient only is positive"),
        ([1, 1, 0, 0], [0, 1, 2, 2], "one patient only is negative"),
    ],
)
def test_not_estimable_is_said(labels, clusters, note):
    found = auroc_variance(labels, [0.1, 0.4, 0.3, 0.2], clusters)
    assert math.isnan(found.variance)
    assert math.isnan(found.standard_error)
    assert found.note == note
    assert paired_test(labels, [1, 2, 3, 4], [2, 1, 4, 3], clusters).note == note


def test_interval_stays_in_range():
    labels, scores = [0, 0, 1, 1, 1, 0], [0.1, 0.6, 0.5, 0.8, 0.9, 0.2]
    assert interval(labels, [scores], [1], bounds=(0, 1)).high < 1


@pytest.mark.parametrize(
    ("labels", "scores", "weights", "message"),
    [
        ([0, 1], [[0.1, np.nan]], [1], "scores holds values that are not finite"),
        ([0, 2], [[0.1, 0.2]], [1], "labels holds values other than 0 and 1"),
        ([0, 1], [[0.1, 0.2]], [1, -1], r"scores has shape \(1, 2\), expected \(2, 2\)"),
        ([0, 1], [0.1, 0.2], [1], "scores has shape"),
    ],
)
def test_wrong_input_is_refused(labels, scores, weights, message):
    with pytest.raises(ValueError, match=message):
        contrast_variance(labels, scores, weights)
