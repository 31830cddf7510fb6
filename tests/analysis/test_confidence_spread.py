"""Distributions of confidence against plain loops, and their means against the metrics of the package."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from cxrobust.analysis import analyze
from cxrobust.analysis.confidence_spread import N_BINS, confidence_index, confidence_spread
from cxrobust.analysis.metrics.confidence import confidence
from cxrobust.analysis.resampling import patient_counts

from . import oracle
from .made import make_cell, make_predictions, make_settings, one_run, weights_of

LEVEL = 0.9


def spread_of(cell, counts, *, n_resamples=100, shifted=True):
    return confidence_spread(
        [cell], regime="lora", condition="pgd", shifted=shifted, counts=counts, drawn_runs=one_run(n_resamples),
        level=LEVEL, most_undefined=0.2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def example():
    rng = np.random.default_rng(5)
    patients = np.append(np.arange(12), rng.integers(0, 12, 60))
    p, clean = np.round(rng.random(72), 2), np.round(rng.random(72), 2)
    cell = make_cell(p, rng.integers(0, 2, 72), patients, threshold=0.4, clean=clean)
    counts = patient_counts(12, n_resamples=100, rng=np.random.default_rng(1))
    return cell, counts, spread_of(cell, counts)


def decided(p, y):
    """(confidence, whether wrong) of each image at threshold 0.4."""
    return [(oracle.sure(a), (a >= 0.4) != (b == 1)) for a, b in zip(p.tolist(), y.tolist(), strict=True)]


def mean_of(decisions, wrong, weights):
    return oracle.mean(
        [float(c) for c, w in decisions if w == wrong],
        [n for (_, w), n in zip(decisions, weights, strict=True) if w == wrong],
    )


def test_bins_against_plain_loops(example):
    cell, counts, (right, wrong) = example
    decisions = decided(cell.probabilities, cell.labels)
    weights = [weights_of(counts, cell.patients, r) for r in range(100)]
    for one in (right, wrong):
        for b, found in enumerate(one.bins):
            low, high = Fraction(20 + b, 40), Fraction(21 + b, 40)
            inside = [(low <= c < high or (b == N_BINS - 1 and c == 1)) and w == (one is wrong) for c, w in decisions]
            assert (found.low, found.high, found.n) == (float(low), float(high), sum(inside))
            assert found.share == pytest.approx(sum(inside) / 72, abs=1e-12)
            drawn = [w[inside].sum() / w.sum() for w in weights]
            ends = np.quantile(drawn, [0.05, 0.95])
            assert (found.ci_low, found.ci_high) == pytest.approx(tuple(ends), abs=1e-12)
    assert right.n + wrong.n == 72 == sum(b.n for b in (*right.bins, *wrong.bins))


@pytest.mark.parametrize("decimals", [2, 3])
def test_every_decimal_falls_into_its_bin(decimals):
    """As 0.85 does, which begins a bin; against whole numbers."""
    wholes = np.arange(10**decimals + 1)
    p = np.array([float(Decimal(int(k)).scaleb(-decimals)) for k in wholes])
    expected = [min((40 * int(max(k, wholes[-1] - k)) - 20 * wholes[-1]) // wholes[-1], N_BINS - 1) for k in wholes]
    assert confidence_index(confidence(p)).tolist() == expected


def test_means_and_shifts_against_plain_loops(example):
    cell, _, found = example
    now, before = decided(cell.probabilities, cell.labels), decided(cell.clean, cell.labels)
    for one in found:
        wrong, whole = one.decisions == "wrong", np.ones(72)
        assert one.n == sum(w == wrong for _, w in now)
        assert one.mean == pytest.approx(mean_of(now, wrong, whole), abs=1e-12)
        assert one.shift == pytest.approx(one.mean - mean_of(before, wrong, whole), abs=1e-12)
        assert one.ci_low < one.mean < one.ci_high
        assert one.shift_low < one.shift < one.shift_high


def test_all_runs_have_a_clean_side_and_a_perturbed_one():
    """Means and shifts of three runs against plain loops over all their decisions together."""
    rng = np.random.default_rng(7)
    patients, y = np.repeat(np.arange(12), 4), rng.integers(0, 2, 48)
    cells = [make_cell(rng.random(48), y, patients, threshold=0.4, clean=rng.random(48) ** (r + 1)) for r in range(3)]
    found = confidence_spread(
        cells, regime="lora", condition="pgd", shifted=True, drawn_runs=rng.integers(0, 3, (3, 100)), level=LEVEL,
        counts=patient_counts(12, n_resamples=100, rng=np.random.default_rng(1)), most_undefined=0.2,
    )  # fmt: skip
    now, before = ([d for one in cells for d in decided(getattr(one, p), y)] for p in ("probabilities", "clean"))
    first = decided(cells[0].clean, y)
    for one in found:
        wrong = one.decisions == "wrong"
        mean, clean = (mean_of(some, wrong, np.ones(144)) for some in (now, before))
        assert one.n == sum(w == wrong for _, w in now)
        assert (one.mean, one.shift) == pytest.approx((mean, mean - clean), abs=1e-12)
        assert one.shift_low < one.shift < one.shift_high
        assert abs(clean - mean_of(first, wrong, np.ones(48))) > 0.01


def test_of_many_patients_an_interval_is_that_of_plain_resamples():
    """With many patients Student's t is the normal distribution, and expanded intervals are percentile intervals."""
    rng = np.random.default_rng(2)
    n = 4000
    cell = make_cell(rng.random(n), rng.integers(0, 2, n), threshold=0.4, clean=rng.random(n))
    counts = patient_counts(n, n_resamples=192, rng=np.random.default_rng(1))
    now, before = decided(cell.probabilities, cell.labels), decided(cell.clean, cell.labels)
    weights = [weights_of(counts, cell.patients, r) for r in range(192)]
    for one in spread_of(cell, counts, n_resamples=192):
        wrong = one.decisions == "wrong"
        means = np.array([mean_of(now, wrong, w) for w in weights])
        shifts = means - [mean_of(before, wrong, w) for w in weights]
        assert (one.ci_low, one.ci_high) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])), abs=2e-4)
        assert (one.shift_low, one.shift_high) == pytest.approx(tuple(np.quantile(shifts, [0.05, 0.95])), abs=2e-4)


def test_where_no_decision_is_wrong_there_is_no_mean_and_no_interval():
    cell = make_cell([0.9, 0.8, 0.1], [1, 1, 0], clean=[0.9, 0.2, 0.3])
    counts = patient_counts(3, n_resamples=100, rng=np.random.default_rng(1))
    right, wrong = spread_of(cell, counts)
    assert (wrong.n, wrong.mean, wrong.ci_low, wrong.shift, wrong.shift_low) == (0, None, None, None, None)
    assert right.n == 3
    assert right.mean == pytest.approx((0.9 + 0.8 + 0.9) / 3)


def test_a_study_has_spreads_that_agree_with_its_metrics():
    predictions = make_predictions(seed=2, missing=0.2)
    settings = make_settings(metrics=("confidence-right", "confidence-wrong"))
    found = analyze(predictions, settings, reference="supervised", seed=1)
    primary = predictions.conditions[1]
    assert [(one.regime, one.condition, one.decisions) for one in found.confidence] == [
        (regime, condition, decisions)
        for regime in predictions.regimes
        for condition in ("clean", primary)
        for decisions in ("right", "wrong")
    ]
    for one in found.confidence:
        wanted = {
            (e.estimand): e
            for e in found.estimates
            if (e.metric, e.regime, e.condition, e.finding)
            == (f"confidence-{one.decisions}", one.regime, one.condition, "micro")
        }
        value = wanted["value"]
        assert (one.mean, one.ci_low, one.ci_high) == pytest.approx((value.estimate, value.ci_low, value.ci_high))
        if one.condition == "clean":
            assert (one.shift, one.shift_low, one.shift_high) == (None, None, None)
        else:
            shift = wanted["perturbed-clean"]
            assert (one.shift, one.shift_low, one.shift_high) == pytest.approx(
                (shift.estimate, shift.ci_low, shift.ci_high)
            )
