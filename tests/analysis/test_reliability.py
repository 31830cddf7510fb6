"""Reliability bins, against plain loops over the images of each resample."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from cxrobust.analysis.reliability import reliability_bins
from cxrobust.analysis.resampling import LANES, patient_counts

from . import oracle
from .made import make_predictions, one_run, weights_of


@pytest.fixture(scope="module")
def example():
    predictions = make_predictions(seed=3, missing=0.2)
    counts = patient_counts(12, n_resamples=100, rng=np.random.default_rng(1))
    bins = reliability_bins(
        predictions.labels,
        [predictions.probabilities[0, 1]],
        predictions.patients,
        counts=counts,
        drawn_runs=one_run(100),
        level=0.9,
        most_undefined=0.2,
    )
    return predictions, counts, bins


def in_bin(predictions, b):
    """(probability, label, image) of each prediction of one bin, findings pooled, missing labels left out."""
    n, k = predictions.labels.shape
    cells = [(float(predictions.probabilities[0, 1, i, f]), int(predictions.labels[i, f]), i)
             for i in range(n) for f in range(k)]  # fmt: skip
    return [one for one in cells if one[1] >= 0 and oracle.bin_of(one[0]) == b]


def test_bins_against_plain_loops(example):
    predictions, counts, bins = example
    assert counts.shape[0] * LANES > 100  # surplus lanes must not enter the quantiles
    weights = [weights_of(counts, predictions.patients, r) for r in range(100)]
    for b, found in enumerate(bins):
        members = in_bin(predictions, b)
        assert (found.low, found.high) == (pytest.approx(b / 15), pytest.approx((b + 1) / 15))
        assert found.n == len(members)
        if not members:
            assert (found.mean_probability, found.observed, found.ci_low, found.ci_high) == (None,) * 4
            continue
        p, y, rows = zip(*members, strict=True)
        assert found.mean_probability == pytest.approx(sum(p) / len(p), abs=1e-12)
        assert found.observed == pytest.approx(sum(y) / len(y), abs=1e-12)
        resampled = [oracle.mean(y, [w[i] for i in rows]) for w in weights]
        if np.isnan(resampled).mean() > 0.2:
            assert (found.ci_low, found.ci_high) == (None, None)
            continue
        if sum(y) in {0, len(y)}:
            n_patients = len({int(predictions.patients[i]) for i in rows})
            low, high = proportion_confint(n_patients * (sum(y) > 0), n_patients, alpha=0.1, method="wilson")
            assert (found.ci_low, found.ci_high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
            continue
        low, high = np.nanquantile(resampled, [0.05, 0.95])
        assert (found.ci_low, found.ci_high) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))


def test_every_labelled_prediction_is_in_one_bin(example):
    predictions, _, bins = example
    assert sum(one.n for one in bins) == (predictions.labels >= 0).sum()
    gap = sum(abs(one.mean_probability - one.observed) * one.n for one in bins if one.n)
    labelled = predictions.labels >= 0
    pooled = oracle.ece(predictions.probabilities[0, 1][labelled].tolist(), predictions.labels[labelled].tolist())
    assert gap / labelled.sum() == pytest.approx(pooled, abs=1e-12)
